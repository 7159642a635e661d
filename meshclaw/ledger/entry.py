"""The facts that a ledger holds, and the contract of whoever keeps them.

Every kind of entry is one frozen dataclass; its fields are the line's keys, in this order, after
`v` (format version, 1), `kind`, `at` (RFC 3339, UTC, milliseconds) and `id`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from meshclaw.errors import Problem

CallStatus = Literal["ok", "refused", "error", "aborted"]
CostState = Literal["priced", "unpriced", "estimated", "unknown"]
UsageSourceName = Literal["final", "partial", "estimated", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """Written and synced before a call leaves. `call` is `<run id>/<attempt>.<step>.<try>`.

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
    tokens: int
    cost_nusd: int | None
    expires: str


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
    input: int | None = None
    cache_read: int | None = None
    cache_write: Mapping[str, int] | None = None
    output: int | None = None
    reasoning: int | None = None
    split_assumed: bool = False
    usage_source: UsageSourceName = "absent"
    wire_usage: Mapping[str, Any] | None = None
    tier: str | None = None
    cost_nusd: int | None = None
    cost_state: CostState = "unknown"
    rates: Mapping[str, str] | None = None
    price_source: str | None = None
    possibly_billed: bool = False
    over_reserve: bool = False
    milliseconds: int | None = None
    retry: int = 0
    recovered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """Written once, at the end of a run. Sums are over the run's calls; None when any is unknown."""

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
    input: int | None = 0
    cache_read: int | None = 0
    cache_write: Mapping[str, int] | None = field(default_factory=dict)
    output: int | None = 0
    reasoning: int | None = 0
    cost_nusd: int | None = 0
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A later judgement, by a person or by `settle`."""

    kind: ClassVar[str] = "verdict"
    at: str
    run: str
    verdict: Literal["accepted", "rejected"]
    by: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Says which entry (by its `h`) and which fields are wrong, and why; nothing is ever rewritten."""

    kind: ClassVar[str] = "correction"
    at: str
    entry: str
    fields: Mapping[str, Any]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """First line of a rotated ledger: the name, size and digest (hex SHA-256) of the file before."""

    kind: ClassVar[str] = "rotation"
    at: str
    previous: str
    size: int
    sha256: str
    last_hash: str


Entry = Reserve | Call | RunEnd | Verdict | Correction | Rotation


class Ledger(Protocol):
    """Keeps entries. `meshclaw.ledger.file` keeps them on disk, `meshclaw.testing` in memory."""

    async def append(self, *entries: Entry) -> None:
        """Durable, in order and together when it returns. Raises LedgerError; then nothing was kept."""

    def read(self, since: int = 0) -> Iterator[Entry | Problem]:
        """Entries from byte offset `since`; what cannot be understood comes as a Problem."""
        ...
