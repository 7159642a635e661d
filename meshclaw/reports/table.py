"""Facts, grouped and added up.

Every run and every call falls into exactly one row, so whatever the rows are keyed by, their sums
agree. A run counts where it started; a call counts where it was made: on its own day and for its own
model. So a run over midnight is a run of its first day that spends on both, and a run that went on to
a stronger model is a run of the model it ended with that spends on both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from datetime import datetime, tzinfo
from difflib import get_close_matches

from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.ledger.entry import CostState
from meshclaw.ledger.fold import CallFact, Facts, RunFact

Key = str | None
"""What a row is keyed by: None is unknown."""

TIME_KEYS: Mapping[str, Callable[[datetime], str]] = {
    "day": lambda moment: moment.strftime("%Y-%m-%d"),
    "week": lambda moment: moment.strftime("%G-W%V"),
    "month": lambda moment: moment.strftime("%Y-%m"),
}
RUN_KEYS: Mapping[str, Callable[[RunFact], Key]] = {
    "task": lambda run: run.task,
    "runner": lambda run: run.runner,
    "project": lambda run: run.project,
    "run": lambda run: run.run,
    "status": lambda run: run.status,
    "outcome": lambda run: run.outcome,
}
MODEL_KEYS: Mapping[str, Callable[[RunFact | CallFact], Key]] = {
    "model": lambda fact: fact.model,
    "provider": lambda fact: fact.provider,
}
KEYS = (*TIME_KEYS, *RUN_KEYS, *MODEL_KEYS)
"""Everything that a report can be keyed by."""

BUCKETS = ("input", "cache_read", "cache_write", "output", "reasoning")
_STATES: tuple[CostState, ...] = ("priced", "estimated", "unpriced", "unknown")


@dataclass(slots=True)
class Row:
    """The runs and calls with the same keys.

    `runs` is the sum of the seven counts after it; the first four are outcomes of runs that
    succeeded, or that a person judged. `calls` includes those in flight and possibly billed, of which
    not everything is known. Tokens and cost (10^-9 USD) are the sum of what is known, None when
    nothing is; `tokens_at_least` and `cost_at_least` say that something is missing. `total` is all
    buckets but `reasoning`. `cost_state` is that of the least certain call. `in_order` is False when the
    ledger was changed after it was written, so that no figure is certain.
    """

    keys: tuple[Key, ...]
    runs: int = 0
    accepted: int = 0
    rejected: int = 0
    unchecked: int = 0
    pending: int = 0
    failed: int = 0
    skipped: int = 0
    running: int = 0
    calls: int = 0
    in_flight: int = 0
    possibly_billed: int = 0
    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None
    tokens_at_least: bool = False
    cost_nusd: int | None = None
    cost_at_least: bool = False
    cost_state: CostState = "priced"
    in_order: bool = True

    @property
    def total(self) -> int | None:
        known = [self.input, self.cache_read, self.cache_write, self.output]
        return None if known == [None] * 4 else sum(value or 0 for value in known)

    def add_run(self, run: RunFact) -> None:
        self.runs += 1
        if run.verdict is not None or run.status == "succeeded":
            worth = run.outcome if run.outcome in ("accepted", "rejected", "pending") else "unchecked"
        else:
            worth = run.status if run.status in ("skipped", "running") else "failed"
        setattr(self, worth, getattr(self, worth) + 1)

    def add_call(self, call: CallFact) -> None:
        self.calls += 1
        self.in_flight += call.in_flight
        self.possibly_billed += call.possibly_billed
        for bucket in BUCKETS:
            tokens = getattr(call, bucket)
            if tokens is not None:
                setattr(self, bucket, (getattr(self, bucket) or 0) + tokens)
            elif bucket != "reasoning":
                self.tokens_at_least = True
        self.tokens_at_least = self.tokens_at_least or call.partial
        if call.cost_nusd is None:
            self.cost_at_least = True
        else:
            self.cost_nusd = (self.cost_nusd or 0) + call.cost_nusd
        self.cost_state = max(self.cost_state, call.cost_state, key=_STATES.index)

    def close(self) -> None:
        """A row without calls spent nothing, and that is known."""
        if not self.calls:
            self.input = self.cache_read = self.cache_write = self.output = self.reasoning = 0
            self.cost_nusd = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A report: rows in order, their totals (whose keys are all None), and what could not be read.

    Rows are ordered by time if that is the first key, else dearest first.
    """

    by: tuple[str, ...]
    rows: tuple[Row, ...]
    totals: Row
    since: datetime | None = None
    until: datetime | None = None
    problems: tuple[Problem, ...] = ()
    problem_count: int = field(default=0)
    in_order: bool = True


def report(
    facts: Facts,
    by: Sequence[str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    tz: tzinfo,
) -> Table:
    """Groups facts by one or more of KEYS; days, weeks (ISO) and months are those of `tz`.

    Only runs that started and calls that were made in `since` <= time < `until` count; both know
    their zone. Raises ProblemsError for a key that does not exist or is named twice.
    """
    _check_keys(by)
    rows: dict[tuple[Key, ...], Row] = {}
    totals = Row((None,) * len(by))

    def row_of(moment: datetime, run: RunFact | None, fact: RunFact | CallFact) -> Row:
        local = moment.astimezone(tz)
        keys = tuple(_key(name, local, run, fact) for name in by)
        row = rows.get(keys)
        if row is None:
            row = rows[keys] = Row(keys)
        return row

    for run in facts.runs.values():
        if _within(run.started, since, until):
            row_of(run.started, run, run).add_run(run)
            totals.add_run(run)
    for call in facts.calls:
        if _within(call.at, since, until):
            row_of(call.at, facts.runs.get(call.run), call).add_call(call)
            totals.add_call(call)
    for row in (*rows.values(), totals):
        row.close()
        row.in_order = facts.in_order
        # A line that could not be read may belong to any row.
        row.tokens_at_least |= not facts.whole
        row.cost_at_least |= not facts.whole
    ordered = tuple(sorted(rows.values(), key=_order(by)))
    return Table(
        tuple(by), ordered, totals, since, until, facts.problems, facts.problem_count, facts.in_order
    )


def _check_keys(by: Sequence[str]) -> None:
    problems = []
    for position, name in enumerate(by):
        if name not in KEYS:
            close = get_close_matches(name, KEYS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(KEYS)}"
            problems.append(Problem("--by", 0, 0, f"nothing can be grouped by {name!r}", hint))
        elif name in by[:position]:
            problems.append(Problem("--by", 0, 0, f"{name!r} is named twice"))
    if problems:
        raise ProblemsError(problems)


def _key(name: str, local: datetime, run: RunFact | None, fact: RunFact | CallFact) -> Key:
    if name in TIME_KEYS:
        return TIME_KEYS[name](local)
    if name in MODEL_KEYS:
        return MODEL_KEYS[name](fact)
    return None if run is None else RUN_KEYS[name](run)


def _within(moment: datetime, since: datetime | None, until: datetime | None) -> bool:
    return (since is None or since <= moment) and (until is None or moment < until)


def _order(by: Sequence[str]) -> Callable[[Row], tuple[object, ...]]:
    def by_keys(row: Row) -> tuple[object, ...]:
        return tuple((key is None, key or "") for key in row.keys)

    if by and by[0] in TIME_KEYS:
        return by_keys
    return lambda row: (-(row.cost_nusd or 0), -(row.total or 0), by_keys(row))
