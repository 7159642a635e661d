"""One fold, from entries to facts, that feeds every view.

A call is counted once, whatever the ledger holds of it: settled by its first `call` entry; without
one it is in flight until its reserve expires and possibly billed from then on. What is unknown stays
None; whoever adds up says "at least". Budgets charge what is not known with what was reserved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from datetime import datetime

from meshclaw.errors import Problem
from meshclaw.frozen import dataclass
from meshclaw.ledger.codec import BrokenChain, Correctable, corrected
from meshclaw.ledger.entry import Call, Correction, CostState, Entry, Reserve, RunEnd, Verdict

MAX_PROBLEMS = 100
"""Problems kept; `Facts.problem_count` counts them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFact:
    """One call. Tokens in disjoint buckets (usage.py) and money in 10^-9 USD; None is unknown.

    `at` is when it ended, or was reserved. `partial`: its tokens are a lower bound. `charged_*` is
    what a budget counts: what is known, else the whole reservation, None when there is none.
    """

    call: str
    run: str
    at: datetime
    model: str
    provider: str
    status: str | None
    in_flight: bool = False
    possibly_billed: bool = False
    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None
    partial: bool = False
    cost_nusd: int | None = None
    cost_state: CostState = "unknown"
    charged_nusd: int | None = None
    charged_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFact:
    """One run. A run with calls and no `run` entry is `running` until its last reserve has expired and
    `interrupted` after; its task, runner and project are then unknown.

    `outcome` is what a later verdict says, else what the run's own checks said.
    """

    run: str
    started: datetime
    status: str
    outcome: str | None
    model: str
    task: str | None = None
    runner: str | None = None
    project: str | None = None
    verdict: Verdict | None = None
    end: RunEnd | None = None

    @property
    def provider(self) -> str:
        return self.model.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a ledger says. `problems` are lines that could not be understood or do not fit the rest.

    `in_order`: no chain that was followed is broken. `whole`: every line could be read.
    """

    runs: Mapping[str, RunFact]
    calls: tuple[CallFact, ...]
    problems: tuple[Problem, ...] = ()
    problem_count: int = 0
    in_order: bool = True
    whole: bool = True


@dataclass(slots=True)
class _Seen:
    """Entries by their ids, before facts are made of them."""

    reserves: dict[str, Reserve] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    ends: dict[str, RunEnd] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    corrections: list[Correction] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    in_order: bool = True
    whole: bool = True

    def add(self, entry: Entry | Problem) -> None:
        match entry:
            case Reserve():
                if entry.call in self.reserves:
                    self.complain(f"call {entry.call} was reserved twice; the first counts")
                self.reserves.setdefault(entry.call, entry)
            case Call():
                if entry.call in self.calls:
                    self.complain(f"call {entry.call} was settled twice; the first counts")
                self.calls.setdefault(entry.call, entry)
            case RunEnd():
                self.ends[entry.run] = entry
            case Verdict():
                self.verdicts[entry.run] = entry
            case Correction():
                self.corrections.append(entry)
            case Problem():
                if isinstance(entry, BrokenChain):
                    self.in_order = False
                else:
                    self.whole = False
                self.keep(entry)

    def complain(self, message: str) -> None:
        self.keep(Problem("ledger", 0, 0, message))

    def keep(self, problem: Problem) -> None:
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def correct(self) -> None:
        """Puts the corrections' fields in place, in the order they were written."""
        if not self.corrections:
            return
        by_hash: dict[str, Correctable] = {
            entry.h: entry
            for table in (self.reserves, self.calls, self.ends)
            for entry in table.values()
            if entry.h
        }
        for correction in self.corrections:
            entry = by_hash.get(correction.entry)
            if entry is None:
                self.complain(f"a correction names entry {correction.entry}, which does not count here")
                continue
            changed = corrected(entry, correction.fields)
            if isinstance(changed, str):
                self.complain(f"the correction of entry {correction.entry} is left out: {changed}")
                continue
            by_hash[correction.entry] = changed
            if isinstance(changed, RunEnd):
                self.ends[changed.run] = changed
            elif isinstance(changed, Call):
                self.calls[changed.call] = changed
            else:
                self.reserves[changed.call] = changed


def fold(entries: Iterable[Entry | Problem], now: datetime) -> Facts:
    """Facts from entries, oldest first; Problems among them are passed on. `now` must know its zone.

    Of several ends of a run (it was resumed) and several verdicts the last counts. An entry whose
    time cannot be read is left out, and said to be.
    """
    seen = _Seen()
    for entry in entries:
        seen.add(entry)
    seen.correct()
    calls: list[CallFact] = []
    for call in seen.calls.values():
        at = _moment(call.at)
        if at is None:
            seen.complain(f"call {call.call} is left out: {call.at!r} is no time with a zone")
        else:
            calls.append(_settled(call, seen.reserves.get(call.call), at))
    for name, reserve in seen.reserves.items():
        if name in seen.calls:
            continue
        at, expires = _moment(reserve.at), _moment(reserve.expires)
        if at is None or expires is None:
            seen.complain(f"call {name} is left out: its reserve has a time that cannot be read")
        else:
            calls.append(_open(reserve, at, in_flight=now < expires))
    runs = _runs(seen, calls, now)
    return Facts(runs, tuple(calls), tuple(seen.problems), seen.problem_count, seen.in_order, seen.whole)


def _settled(call: Call, reserve: Reserve | None, at: datetime) -> CallFact:
    writes = None if call.cache_write is None else sum(call.cache_write.values())
    charged_tokens = None if reserve is None else reserve.tokens
    if None not in (call.input, call.cache_read, writes, call.output):
        charged_tokens = (call.input or 0) + (writes or 0) + (call.output or 0)
    charged_nusd = None if reserve is None else reserve.cost_nusd
    if call.cost_nusd is not None:
        charged_nusd = call.cost_nusd
    return CallFact(
        call=call.call,
        run=call.run,
        at=at,
        model=call.model,
        provider=call.provider,
        status=call.status,
        possibly_billed=call.possibly_billed,
        input=call.input,
        cache_read=call.cache_read,
        cache_write=writes,
        output=call.output,
        reasoning=call.reasoning,
        partial=call.usage_source == "partial",
        cost_nusd=call.cost_nusd,
        cost_state=call.cost_state,
        charged_nusd=charged_nusd,
        charged_tokens=charged_tokens,
    )


def _open(reserve: Reserve, at: datetime, *, in_flight: bool) -> CallFact:
    return CallFact(
        call=reserve.call,
        run=reserve.run,
        at=at,
        model=reserve.model,
        provider=reserve.model.partition("/")[0],
        status=None,
        in_flight=in_flight,
        possibly_billed=not in_flight and reserve.cost_nusd != 0,
        cost_nusd=0 if reserve.cost_nusd == 0 else None,
        cost_state="priced" if reserve.cost_nusd == 0 else "unknown",
        charged_nusd=reserve.cost_nusd,
        charged_tokens=reserve.tokens,
    )


def _runs(seen: _Seen, calls: Iterable[CallFact], now: datetime) -> dict[str, RunFact]:
    runs: dict[str, RunFact] = {}
    for end in seen.ends.values():
        started = _moment(end.started) or _moment(end.at)
        if started is None:
            seen.complain(f"run {end.run} is left out: it has no time that can be read")
            continue
        verdict = seen.verdicts.get(end.run)
        runs[end.run] = RunFact(
            run=end.run,
            started=started,
            status=end.status,
            outcome=end.outcome if verdict is None else verdict.verdict,
            model=end.model,
            task=end.task,
            runner=end.runner,
            project=end.project,
            verdict=verdict,
            end=end,
        )
    alive = {reserve.run for reserve in seen.reserves.values() if now < (_moment(reserve.expires) or now)}
    unfinished: dict[str, list[CallFact]] = {}
    for call in calls:
        if call.run not in runs:
            unfinished.setdefault(call.run, []).append(call)
    for run, its_calls in unfinished.items():
        first = min(its_calls, key=lambda call: call.at)
        verdict = seen.verdicts.get(run)
        runs[run] = RunFact(
            run=run,
            started=first.at,
            status="running" if run in alive else "interrupted",
            outcome=None if verdict is None else verdict.verdict,
            model=first.model,
            verdict=verdict,
        )
    for run in seen.verdicts.keys() - runs.keys():
        seen.complain(f"a verdict names run {run}, which is not in this ledger")
    return runs


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment
