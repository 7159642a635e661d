"""What an operator says on the command line, and where tasks come from: plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meshclaw.errors import ExitCode, MeshClawError


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the operator said on the command line for one run.

    `budget` holds limits as text (`{"usd": "0.5"}`); `stdin` gives standard input's bytes and is None
    when there is none to read; `interactive` says that a person watches a terminal.
    """

    params: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Path] = field(default_factory=dict)
    model: str | None = None
    runner: str | None = None
    allow_run: tuple[str, ...] = ()
    allow_write: tuple[str, ...] = ()
    no_sandbox: bool = False
    budget: Mapping[str, str] = field(default_factory=dict)
    stdin: Callable[[], bytes] | None = None
    interactive: bool = False
    output: Path | None = None


@dataclass(frozen=True, slots=True)
class TaskSource:
    """Where a task comes from: `project`, `user` or `built-in`."""

    name: str
    path: Path
    origin: str


class WeightsMissingError(MeshClawError):
    """The embedded model's weights are not here; `name` is the model's. Nothing was spent."""

    exit_code = ExitCode.USAGE

    def __init__(self, name: str, size: int) -> None:
        super().__init__(
            f"the weights of local/{name} are not on this machine ({size / 1e9:.1f} GB)",
            hint=f"fetch them once: meshclaw models pull {name}",
        )
        self.name = name
        self.size = size
