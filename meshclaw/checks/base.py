"""A Check judges a Candidate; what it found is a CheckResult, with evidence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from meshclaw.frozen import dataclass
from meshclaw.messages import Response
from meshclaw.runs import Candidate
from meshclaw.sandbox.base import CommandResult

CheckStatus = Literal["passed", "failed", "error", "pending", "skipped"]
"""`error`: the check could not judge, and never counts as passed. `pending`: a person has to decide.
`skipped`: nobody was asked, because a check before had settled it; it says nothing about the candidate."""

MAX_EVIDENCE = 4_000
"""Characters of evidence that a result keeps, from its beginning and its end."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found. `label` names the check as a person reads it (`run: pytest -q`).

    `reason` says in one line why it did not pass, `evidence` is what a worker needs to mend it.
    `seconds` is how long it took, `model` names the model that was asked.
    """

    kind: str
    label: str
    status: CheckStatus
    reason: str = ""
    evidence: str = ""
    seconds: float = 0.0
    model: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As it stands in `run.json` and in the `run` entry; the evidence stays in the transcript."""
        said = {"kind": self.kind, "check": self.label, "status": self.status, "reason": self.reason}
        return {**said, "model": self.model} if self.model else said

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Self:
        """What `as_dict` gave, and the evidence if it is there."""
        evidence, model = said.get("evidence", ""), said.get("model", "")
        return cls(said["kind"], said["check"], said["status"], said["reason"], evidence, model=model)


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file that differs from before the start; `path` is relative, lines are None for binary files."""

    path: str
    kind: Literal["added", "changed", "deleted"]
    added: int | None = 0
    removed: int | None = 0


@dataclass(frozen=True, slots=True)
class Question:
    """What a judge is asked: its own instructions, the material, and the form of its answer."""

    system: str
    prompt: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What a check may look at and do.

    `files` is the folder of the candidate's files, where a run works in a copy those that its patch would
    bring; `changes` are those that differ from before the start,
    None when nobody kept track (no check of the task needs it). `execute(script, timeout)` runs a command,
    contained, in a copy of the candidate in which protected files are as they were before the start; it
    raises SandboxError or OSError. `ask(question, model)` is one metered call of this run to another model
    (None: the task's judge); it raises ProviderError, BudgetError or LedgerError. `patch` is the change as
    text.
    """

    files: Path
    prompt: str = ""
    schema: Mapping[str, Any] | None = None
    changes: Sequence[FileChange] | None = None
    patch: str | None = None
    execute: Callable[[str, float], Awaitable[CommandResult]] | None = None
    ask: Callable[[Question, str | None], Awaitable[Response]] | None = None
    results: Sequence[CheckResult] = field(default_factory=tuple)
    """What the checks before this one found."""


class Check(Protocol):
    """One item of a task's `accept:`; made by its factory from what the task says.

    A factory is called with the item's argument (None: there is none) and its options as keywords, plain
    data both, and raises ValueError with a sentence for whoever wrote the task. It only looks at what it is
    given: it is called for every task that is listed or checked, before anybody trusts it. An option cannot
    have the name of a kind of check.
    """

    kind: str
    label: str
    needs_changes: bool
    """Whether it looks at `context.changes` or `context.patch`: only then is the tree before the start
    kept."""
    asks: bool
    """Whether it asks a model or a person, who are spared once an earlier check has not passed."""
    # Three more count where a check has them: `reads_files` (True unless stated) says whether it looks at
    # `context.files`, `files_read` are the paths that it looks at there (all may be unless stated: others
    # need not be there), and `script` is the command that it runs: files named there are guarded like
    # tests.

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        """Raises nothing but what `context.ask` does, and cancellation; what goes wrong is `error`."""
        ...


def passed(check: Check, evidence: str = "") -> CheckResult:
    return CheckResult(check.kind, check.label, "passed", "", evidence)


def failed(check: Check, reason: str, evidence: str = "") -> CheckResult:
    """The candidate is not what it should be; the evidence helps to mend it."""
    return CheckResult(check.kind, check.label, "failed", reason, evidence)


def error(check: Check, reason: str, evidence: str = "") -> CheckResult:
    """The check could not tell."""
    return CheckResult(check.kind, check.label, "error", reason, evidence)
