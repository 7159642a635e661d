"""Runs git so that nothing but git runs.

Nothing that a repository, its files or the account's settings name is ever started: no hook, monitor,
filter, text conversion, external diff, pager, editor, transport or credential helper, and nothing is
fetched. Our own work happens in a private git-dir without a work tree, where git sees objects only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO

from meshclaw.errors import Problem, ProblemsError, WorkError
from meshclaw.frozen import dataclass

TIMEOUT = 600.0
"""Seconds for one command of git: it works on this machine only, so more means that it hangs."""

_OFF = {
    "advice.detachedHead": "false",
    "core.askPass": "",
    "core.attributesFile": os.devnull,
    "core.commitGraph": "false",
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "core.quotePath": "false",
    "core.untrackedCache": "false",
    "credential.helper": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.allow": "never",
    "safe.directory": "*",
    "submodule.recurse": "false",
}
_VARIABLES = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_EDITOR": ":",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


class GitError(WorkError):
    """Git failed; `said` is what it wrote to standard error."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


@dataclass(frozen=True, slots=True)
class Git:
    """One program, and where it works. Blocks: call it from a worker thread.

    `folder` is where it is started; with `git_dir` and none, that is the git-dir itself. `work_tree` is
    only for reading the user's, before an agent starts. `excludes` is a file of ignore rules. `extra` are
    variables for git; None takes one away. `timeout` is in seconds.
    """

    program: str
    path: str
    folder: Path | None = None
    git_dir: Path | None = None
    work_tree: Path | None = None
    index: Path | None = None
    excludes: Path | None = None
    timeout: float = TIMEOUT
    extra: Mapping[str, str | None] | None = None

    def within(self, git_dir: Path, work_tree: Path | None = None, index: Path | None = None) -> Git:
        """The same git with this git-dir."""
        return replace(self, git_dir=git_dir, work_tree=work_tree, index=index, folder=work_tree or git_dir)

    def run(self, *arguments: str, stdin: bytes = b"", codes: tuple[int, ...] = (0,)) -> bytes:
        """What git prints. Raises GitError when it ends with another code than `codes`."""
        done = self.finish(*arguments, stdin=stdin)
        if done.returncode not in codes:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise GitError(f"git {arguments[0]} failed: {said or done.returncode}", said)
        return done.stdout

    def finish(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Runs git to its end, whatever that is. Raises GitError when it cannot be run."""
        try:
            return subprocess.run(
                self._command(arguments),
                input=stdin,
                capture_output=True,
                cwd=self.folder,
                env=self._environment(),
                timeout=self.timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise GitError(f"git {arguments[0]} could not be run: {error}") from error

    @contextlib.contextmanager
    def talk(self, *arguments: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """Git's standard input and output, for a command that answers line by line."""
        process = subprocess.Popen(
            self._command(arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env=self._environment(),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            try:
                yield process.stdin, process.stdout
            finally:
                with contextlib.suppress(OSError):
                    process.stdin.close()
                process.kill()

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        settings = {**_OFF, **({"core.excludesFile": str(self.excludes)} if self.excludes else {})}
        given = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        return [self.program, "--no-pager", *given, *arguments]

    def _environment(self) -> dict[str, str]:
        places = {"GIT_DIR": self.git_dir, "GIT_WORK_TREE": self.work_tree, "GIT_INDEX_FILE": self.index}
        named = {name: str(place) for name, place in places.items() if place is not None}
        every = {"PATH": self.path, **_VARIABLES, **named, **(self.extra or {})}
        return {name: value for name, value in every.items() if value is not None}


def find_git(environment: Mapping[str, str], project: Path) -> Git:
    """The git on the operator's PATH; folders of the project's do not count. Raises ProblemsError."""
    path = operators_path(environment, project)
    program = shutil.which("git", path=path)
    if program is None:
        hint = "install git, or do without `isolate: copy`"
        raise ProblemsError([Problem(str(project), 0, 0, "git is not on PATH", hint)])
    return Git(program, path, folder=project)


def operators_path(environment: Mapping[str, str], project: Path) -> str:
    """The operator's PATH, as far as it is theirs: whoever made the project fills the folders in it, and in
    the repository around it."""
    listed = environment.get("PATH", os.defpath).split(os.pathsep)
    project = clone_of(project)
    return os.pathsep.join(one for one in listed if Path(one).is_absolute() and not _beneath(one, project))


def clone_of(project: Path) -> Path:
    """The folder that a project came in: the nearest repository around it, else the project itself."""
    real = Path(os.path.realpath(project))
    return next((one for one in (real, *real.parents) if os.path.lexists(one / ".git")), real)


def _beneath(folder: str, project: Path) -> bool:
    return Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(project))
