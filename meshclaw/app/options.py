"""What an operator says on the command line, and where tasks come from: plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path

from meshclaw.errors import ExitCode, MeshClawError, Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.policies import run_pattern_problem, write_pattern_problem


@dataclass(frozen=True, slots=True)
class Handed:
    """What a run of a batch is handed: the results of the tasks it needs, by the input that they become.

    `private` says which private data may be in them: reasons, as the rule of two gives them.
    """

    results: Mapping[str, str] = field(default_factory=dict)
    private: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the operator said on the command line for one run, and what comes to it from its batch.

    `budget` holds limits as text (`{"usd": "0.5"}`); `stdin` gives standard input's bytes and is None
    when there is none to read; `interactive` says that a person watches a terminal. `apply` puts an
    accepted patch into the project, `fresh` does work again whose accepted result is known.
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
    apply: bool = False
    fresh: bool = False
    record: bool = False
    handed: Handed = field(default_factory=Handed)


def check_patterns(options: RunOptions) -> None:
    """Raises ProblemsError for a pattern of the flags that could never match."""
    given = (
        ("--allow-write", options.allow_write, write_pattern_problem),
        ("--allow-run", options.allow_run, run_pattern_problem),
    )
    problems = [
        Problem(flag, 0, 0, f"'{pattern}' can never match: {wrong}")
        for flag, patterns, check in given
        for pattern in patterns
        if (wrong := check(pattern))
    ]
    if problems:
        raise ProblemsError(problems)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is said anew when a batch goes on; a budget counts what was spent before.

    `params` are those that held a secret and were not kept.
    """

    budget: Mapping[str, str]
    jobs: int | None = None
    fail_fast: bool = False
    params: Mapping[str, str] = field(default_factory=dict)


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


def budget_flags(budget: Mapping[str, str]) -> dict[str, str]:
    """Limits as settings take them. Raises ProblemsError for an unknown one."""
    known = ("usd", "tokens", "steps", "time")
    unknown = [key for key in budget if key not in known]
    if unknown:
        hint = f"there are {', '.join(known)}"
        raise ProblemsError([Problem("--budget", 0, 0, f"unknown limit '{key}'", hint) for key in unknown])
    return {f"budget.{key}": value for key, value in budget.items()}
