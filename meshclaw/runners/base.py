"""A Runner carries out one Attempt and hands back a Candidate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from meshclaw.budgets import BudgetMeter
from meshclaw.frozen import dataclass
from meshclaw.messages import DEFAULT_MAX_OUTPUT, Effort, Request, ToolSpec
from meshclaw.providers.base import Provider
from meshclaw.runs import Candidate, Step
from meshclaw.tools.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class Job:
    """All that a Runner needs to know of the work.

    `model` is the provider's own id. `system` is the task's text, `prompt` fully rendered.
    `max_output` is in tokens; `timeout` bounds one call, and `stall_timeout` the wait for its next piece
    of content, both in seconds. `history` holds the Steps that are recorded already, the last perhaps
    incomplete: the attempt goes on where they end. `begun`: the transcript holds the beginning already.
    """

    model: str
    prompt: str
    system: str = ""
    effort: Effort | None = None
    schema: Mapping[str, Any] | None = None
    max_output: int = DEFAULT_MAX_OUTPUT
    timeout: float = 600.0
    stall_timeout: float = 180.0
    cache_key: str = ""
    history: tuple[Step, ...] = ()
    begun: bool = False

    @property
    def asked(self) -> str:
        """All that the model is told of the work."""
        return f"{self.system}\n{self.prompt}"


@dataclass(frozen=True, slots=True)
class RunContext:
    """The doors that a Runner may use; nothing unmetered is ever handed out.

    `record(kind, durable=True, **data)` writes one transcript line and tells whoever watches. When it
    returns, the line is on the disk, with all lines before it; with `durable=False` it may be lost with
    the machine as long as no later line is durable.
    """

    provider: Provider
    toolbox: Toolbox
    budget: BudgetMeter
    record: Callable[..., Awaitable[None]]


class Runner(Protocol):
    def first_request(self, job: Job, tools: tuple[ToolSpec, ...], provider: Provider) -> Request:
        """The request with which `run` begins, for a dry run. Asks nobody."""
        ...

    async def run(self, job: Job, context: RunContext) -> Candidate:
        """Works until an answer, a limit or a refusal. Raises ProviderError and LedgerError only."""
        ...


def output_limit(job: Job, provider: Provider) -> int:
    """The job's output limit, at most a quarter of the model's window: the prompt needs room too."""
    window = provider.window(job.model)
    return job.max_output if window is None else max(1, min(job.max_output, window // 4))
