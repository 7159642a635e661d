"""What a run is made from: the bound Task, the house it runs in, and the hand that can stop it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio

from meshclaw.budgets import Budget, BudgetMeter
from meshclaw.checks.base import Check
from meshclaw.dispatch.reuse import AcceptedWork
from meshclaw.errors import ExitCode, Problem, ProviderError
from meshclaw.frozen import dataclass
from meshclaw.ledger.entry import Entry, Ledger
from meshclaw.messages import Effort
from meshclaw.policies import Policy
from meshclaw.pricing import Prices
from meshclaw.providers.base import Provider
from meshclaw.recordings import RecordedInput
from meshclaw.redaction import Redactor
from meshclaw.runners.base import Runner
from meshclaw.runs import Event
from meshclaw.sandbox.base import Confinement, Sandbox
from meshclaw.tasks import Task
from meshclaw.threads import Threads
from meshclaw.tools.base import Tool

DISK_THREADS = 8


@dataclass(frozen=True, slots=True)
class Rung:
    """One model and its provider; `model` is `provider/model-id`, `model_id` what the provider is asked
    for.
    """

    model: str
    model_id: str
    provider: Provider


@dataclass(frozen=True, slots=True)
class RecordTo:
    """`run --record`: the recording's file, and the inputs as the prompt holds them."""

    path: Path
    inputs: Mapping[str, RecordedInput]


@dataclass(frozen=True, slots=True)
class Isolation:
    """`isolate: copy`: where from, and what becomes of the patch.

    `shares` are names of the project's that are bound into the copy, read-only; None: the usual ones.
    `apply` and `branch` say what is done with an accepted patch: put into the project, or left as a branch
    of that name.
    """

    include_dirty: bool = False
    shares: tuple[str, ...] | None = None
    apply: bool = False
    branch: str | None = None


@dataclass(frozen=True, slots=True)
class Delegation:
    """A Task bound to all that one run needs; nothing has been spent yet.

    `model` is `provider/model-id`, `model_id` what the provider is asked for; `stronger` are the models of
    further attempts, of which there are at most `attempts` in all. `judges` are the models that checks ask,
    by the name in the task, "" for the one that is asked when it names none. `work_digest` is the same for
    work that is the same, and with `reuse` its accepted result is handed back instead of doing it; `saved`
    what `resume` needs to make this Delegation again. `prompt` and `system` are rendered. `input_files` are
    the bytes of the gathered inputs by name. `environment` is what commands get. `retrying` wraps the
    metered provider, so that every try is a call of its own. `timeout` bounds one call, `stall_timeout` the
    wait for its next piece of content, both in seconds. `risks` says what the run has of the rule of two,
    `accepted_risk` the task's reason for having all of it. `batch` is the id of the batch that the run is
    part of, `above` the meter that bounds all of that batch. `problems` are sentences for the run's record.
    `hidden` are files that tools may not open, whatever a policy says: the operator's keys.
    """

    task: Task
    params: Mapping[str, str | int | float | bool]
    project: Path
    prompt: str
    system: str
    model: str
    model_id: str
    provider: Provider
    retrying: Callable[[Provider, Callable[[int, ProviderError, float], None]], Provider]
    runner: Runner
    tools: Sequence[Tool]
    policy: Policy
    sandbox: Sandbox | None
    budget: Budget
    max_output: int
    timeout: float
    stall_timeout: float = 180.0
    effort: Effort | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    input_files: Mapping[str, bytes] = field(default_factory=dict)
    output_file: str | None = None
    output_root: Path | None = None
    confinement: Confinement = field(default_factory=Confinement)
    hidden: Sequence[Path] = ()
    git_commit: str | None = None
    risks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    accepted_risk: str | None = None
    stronger: Sequence[Rung] = ()
    attempts: int = 1
    checks: Sequence[Check] = ()
    judges: Mapping[str, Rung] = field(default_factory=dict)
    protect: Sequence[str] | None = None
    isolation: Isolation | None = None
    work_digest: str = ""
    saved: Mapping[str, Any] = field(default_factory=dict)
    reuse: bool = False
    recorded: RecordTo | None = None
    batch: str | None = None
    above: BudgetMeter | None = None
    problems: Sequence[str] = ()

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The models, in the order in which attempts climb them."""
        return (Rung(self.model, self.model_id, self.provider), *self.stronger)

    def judge_of(self, check: Check) -> Rung | None:
        """The model that a `judge` asks."""
        return self.judges.get(getattr(check, "model", None) or "") if check.kind == "judge" else None


@dataclass(slots=True)
class Stop:
    """A hand on a running run: `now()` ends it cleanly, and the exit code says why."""

    exit_code: ExitCode = ExitCode.INTERRUPTED
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def now(self, exit_code: ExitCode) -> None:
        self.exit_code = exit_code
        self.scope.cancel()


@dataclass(frozen=True, slots=True)
class House:
    """What all runs of one process share. `runs` is the folder of run directories.

    `history` gives all entries, those of rotated files included. `now` is the wall clock in UTC,
    `new_id` gives run ids (UUIDv7, as text), `listen` is told every Event. `who` and `host` are
    written into `run` entries. `ledger_file` names the ledger in run records: runs of several ledgers
    may share one folder, and a killed run is closed in its own. `disk` are the threads that write run
    directories, few of them: more threads wait for each other longer than for the disk.
    """

    ledger: Ledger
    history: Callable[[], Iterator[Entry | Problem]]
    prices: Prices
    runs: Path
    redactor: Redactor
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    who: str
    host: str
    listen: Callable[[Event], None] = lambda event: None
    accepted: AcceptedWork | None = None
    ledger_file: str | None = None
    disk: Threads = field(default_factory=lambda: Threads(DISK_THREADS))
