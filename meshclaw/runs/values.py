"""A Run's states, and what its Runner hands back."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from meshclaw.frozen import dataclass


class RunStatus(StrEnum):
    """How a run ended; `running` until then."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    OVER_BUDGET = "over_budget"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


class Outcome(StrEnum):
    """What the result is worth, apart from how the run ended."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNCHECKED = "unchecked"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a Runner hands back. `status` is `succeeded` when the runner reached an answer.

    `unfit`: the model finished, but what it gave is empty or misses its form; checks reject that.
    `hopeless`: a further attempt on the same model would end alike (a refusal, a full window).
    """

    text: str
    status: RunStatus
    reason: str = ""
    steps: int = 0
    value: Any = None
    denied: tuple[str, ...] = ()
    unfit: bool = False
    hopeless: bool = False
