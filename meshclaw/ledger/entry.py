"""The facts that a ledger holds, and the contract of whoever keeps them.

Every kind of entry is one frozen dataclass; its fields are the line's keys, in this order, after
`v` (format version, 1) and `kind`. `at` is RFC 3339, UTC, milliseconds. `h` is the line's hash in the
chain, 64 hex digits: set on an entry that was read, computed (whatever was given) when one is appended,
and no part of what makes two entries equal. A `Correction` names its entry by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Annotated, Any, ClassVar, Literal, Protocol

from msgspec import Meta

from meshclaw.errors import Problem
from meshclaw.frozen import dataclass

Count = Annotated[int, Meta(ge=0)]
"""A whole number, never negative: tokens, or money in 10^-9 USD. A line that says otherwise is refused."""

CallStatus = Literal["ok", "refused", "error", "aborted"]
CostState = Literal["priced", "unpriced", "estimated", "unknown"]
UsageSourceName = Literal["final", "partial", "estimated", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """Written and synced before a call leaves. `call` is `<run id>/<attempt>.<step>.<try>`; a judge's
    has a `c` before the step, which then counts checks.

    `tokens` and `cost_nusd` are upper bounds (cost in 10^-9 USD, None when the model has no price).
    After `expires` (RFC 3339) a reserve without its call is `possibly billed` and still charged.
    """

    kind: ClassVar[str] = "reserve"
    at: str
    call: str
    run: str
    attempt: int
    step: int
    model: str
    tokens: Count
    cost_nusd: Count | None
    expires: str
    h: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Written when a call ends, however it ends. Exactly one per Reserve, never two.

    `usage` holds the disjoint buckets (usage.py), None where unknown; `wire_usage` is the provider's
    object, verbatim. `rates` are decimal strings in USD per million tokens. `possibly_billed` marks a
    call that ended without final usage after the provider had begun to answer.
    """

    kind: ClassVar[str] = "call"
    at: str
    call: str
    run: str
    attempt: int
    step: int
    status: CallStatus
    failure: str | None = None
    provider: str
    model: str
    served_model: str | None = None
    response_id: str | None = None
    input: Count | None = None
    cache_read: Count | None = None
    cache_write: Mapping[str, Count] | None = None
    output: Count | None = None
    reasoning: Count | None = None
    split_assumed: bool = False
    usage_source: UsageSourceName = "absent"
    wire_usage: Mapping[str, Any] | None = None
    tier: str | None = None
    geo: str | None = None
    cost_nusd: Count | None = None
    cost_state: CostState = "unknown"
    rates: Mapping[str, str] | None = None
    price_source: str | None = None
    possibly_billed: bool = False
    over_reserve: bool = False
    milliseconds: int | None = None
    retry: int = 0
    recovered: bool = False
    h: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """Written once, at the end of a run. Sums are over the run's calls; None when any is unknown.

    `accepted_risk` is the task's reason for a run that the rule of two would refuse. `work_digest` is the
    same for work that is the same; `reused` names the run whose accepted result was handed back instead,
    `batch` the batch that the run was part of.
    """

    kind: ClassVar[str] = "run"
    at: str
    run: str
    task: str
    task_digest: str
    params_digest: str
    status: str
    outcome: str
    reason: str = ""
    attempts: int = 1
    steps: int = 0
    calls: int = 0
    input: Count | None = 0
    cache_read: Count | None = 0
    cache_write: Mapping[str, Count] | None = field(default_factory=dict)
    output: Count | None = 0
    reasoning: Count | None = 0
    cost_nusd: Count | None = 0
    cost_state: CostState = "priced"
    checks: tuple[Mapping[str, Any], ...] = ()
    result_digest: str | None = None
    model: str
    runner: str
    project: str
    git_commit: str | None = None
    who: str
    host: str
    trigger: Literal["hand", "schedule"] = "hand"
    milliseconds: int | None = None
    started: str
    accepted_risk: str | None = None
    work_digest: str | None = None
    reused: str | None = None
    batch: str | None = None
    h: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A later judgement, by a person or by `settle`."""

    kind: ClassVar[str] = "verdict"
    at: str
    run: str
    verdict: Literal["accepted", "rejected"]
    by: str
    why: str = ""
    h: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Says which entry (by its `h`) and which fields are wrong, and why; nothing is ever rewritten."""

    kind: ClassVar[str] = "correction"
    at: str
    entry: str
    fields: Mapping[str, Any]
    why: str
    h: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """First line of a rotated ledger: the name, size and digest (hex SHA-256) of the file before."""

    kind: ClassVar[str] = "rotation"
    at: str
    previous: str
    size: Count
    sha256: str
    last_hash: str
    h: str = field(default="", compare=False, repr=False)


Entry = Reserve | Call | RunEnd | Verdict | Correction | Rotation


class Ledger(Protocol):
    """Keeps entries. `meshclaw.ledger.file` keeps them on disk, `meshclaw.testing` in memory."""

    async def append(self, *entries: Entry) -> None:
        """Durable, in order and together when it returns. Raises LedgerError; then nothing was kept."""

    def read(self, since: int = 0) -> Iterator[Entry | Problem]:
        """Entries from byte offset `since`; what cannot be understood comes as a Problem."""
        ...
