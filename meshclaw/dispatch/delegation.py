"""What a run is made from: the bound Task, the house it runs in, and the hand that can stop it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import anyio

from meshclaw.budgets import Budget
from meshclaw.errors import ExitCode, Problem, ProviderError
from meshclaw.ledger.entry import Entry, Ledger
from meshclaw.messages import Effort
from meshclaw.policies import Policy
from meshclaw.pricing import Prices
from meshclaw.providers.base import Provider
from meshclaw.redaction import Redactor
from meshclaw.runners.base import Runner
from meshclaw.runs import Event
from meshclaw.sandbox.base import Sandbox
from meshclaw.tasks import Task
from meshclaw.tools.base import Tool


@dataclass(frozen=True, slots=True)
class Delegation:
    """A Task bound to all that one run needs; nothing has been spent yet.

    `model` is `provider/model-id`, `model_id` what the provider is asked for. `prompt` and `system` are
    rendered. `input_files` are the bytes of the gathered inputs by name. `environment` is what commands
    get. `retrying` wraps the metered provider, so that every try is a call of its own. `timeout` bounds
    one call, `stall_timeout` the wait for its next piece of content, both in seconds.
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
    git_commit: str | None = None


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
    written into `run` entries.
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
