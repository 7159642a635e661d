"""Where commands run. A Sandbox contains what a Policy let through."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Protocol

from meshclaw.errors import ExitCode, MeshClawError
from meshclaw.frozen import dataclass
from meshclaw.policies import PROTECTED


class SandboxError(MeshClawError):
    """The sandbox could not hold a command, so the command did not run."""

    exit_code = ExitCode.REFUSED


@dataclass(frozen=True, slots=True)
class Limits:
    """What the processes of one command may use.

    `memory` is in bytes and `cpu` in seconds, both for all of them together, looked at ten times a
    second; one process alone is held to them by the kernel. `processes` counts all that run at once.
    `file_size` is in bytes, for each file written.
    """

    memory: int = 4 * 2**30
    cpu: float = 3_600.0
    processes: int = 512
    file_size: int = 4 * 2**30


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a contained command may do; a sandbox that contains nothing ignores it.

    `write` holds globs of the project's files, `network` the hosts that may be reached (`example.com`,
    `*.example.com`, `host:443`), `read` further files and folders. `protected` are paths of the project
    that a glob must name at its start to include.

    `appears_at` is for a workspace that stands for another folder: where a sandbox that mounts shows it.
    `shared` names files and folders of that other folder which are read there, and `bound` is more to read,
    as what it is and where it shows. The workspace's own `.git` may then be written: it is nobody else's.
    """

    write: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    read: tuple[Path, ...] = ()
    protected: tuple[str, ...] = PROTECTED
    limits: Limits = field(default_factory=Limits)
    appears_at: Path | None = None
    shared: tuple[str, ...] = ()
    bound: tuple[tuple[Path, Path], ...] = ()

    def for_checks(self) -> Confinement:
        """The same in a tree that is thrown away, of which all may be written."""
        return replace(self, write=("**",), protected=())

    def shown(self, workspace: Path) -> Path:
        """Where a sandbox that mounts shows the workspace. Symlinks are resolved."""
        return Path(os.path.realpath(self.appears_at or workspace))

    def originals(self) -> list[Path]:
        """What is shared, where it is; a link of the project's is not followed."""
        if self.appears_at is None:
            return []
        top = Path(os.path.realpath(self.appears_at))
        return [path for name in self.shared if (path := top / name).exists() and _is_real(path)]

    def own_repository(self, workspace: Path) -> list[Path]:
        """The repository of a workspace that stands for another."""
        git = workspace / ".git"
        return [git] if self.appears_at is not None and _is_real(git) and git.is_dir() else []


def _is_real(path: Path) -> bool:
    return os.path.realpath(path) == str(path)


@dataclass(frozen=True, slots=True)
class Command:
    """A shell script to run with `/bin/sh -c` in `directory`, with exactly `environment`.

    `timeout` is in seconds; `max_output` bounds each of stdout and stderr, in bytes: what is over it
    is read and dropped from the middle. `workspace` is the project's folder, `directory` unless stated.
    `apart`: stdout is data, and stderr is kept out of it.
    """

    script: str
    directory: Path
    environment: Mapping[str, str]
    timeout: float = 120.0
    max_output: int = 1_000_000
    workspace: Path | None = None
    apart: bool = False
    confinement: Confinement = field(default_factory=Confinement)

    @property
    def project(self) -> Path:
        return self.workspace or self.directory


@dataclass(frozen=True, slots=True)
class Refused:
    """A connection that a command wanted and did not get. `host` is `host:port`."""

    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class CommandResult:
    """`exit_code` is None when the command was killed by the timeout or a limit; signals give 128 + n.

    `output` is stdout and stderr interleaved as they came, decoded as UTF-8 with replacement; of a command
    whose streams are kept `apart` it is stdout alone, and `errors` is stderr. `dropped` counts the bytes of
    `output` that were left out of it.
    `stopped` says which limit ended it; `not_kept` names what was written where it may not stay, `refused`
    each host that it asked for in vain.
    """

    exit_code: int | None
    output: str
    timed_out: bool = False
    seconds: float = 0.0
    stopped: str = ""
    not_kept: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
    errors: str = ""
    dropped: int = 0


class Sandbox(Protocol):
    name: str

    def refusal(self, confinement: Confinement) -> str:
        """Why no command can be held like that, as far as its globs and hosts show; else empty."""
        ...

    async def execute(self, command: Command) -> CommandResult:
        """Runs to the end or the timeout and leaves no process behind, on cancellation too.

        Raises SandboxError when the command cannot be held, OSError when no shell can be started.
        """
        ...
