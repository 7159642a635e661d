"""What a batch comes to: its record (`run --json` of a matrix), its sums, its exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from meshclaw.batches.plan import Item, Plan
from meshclaw.errors import ExitCode, Problem
from meshclaw.ledger.entry import Call, Correction, Entry, Reserve
from meshclaw.ledger.fold import fold
from meshclaw.pricing import CostState, format_usd
from meshclaw.usage import ZERO, Usage

Record = Mapping[str, Any]
NOT_STARTED = "cancelled"
"""The status of an item that never began."""


def not_started(reason: str, exit_code: ExitCode | None = None, *, blocked: bool = False) -> dict[str, Any]:
    """The record of an item without a run. It has an exit code when the item itself is why; `blocked` says
    that another item is, which it needs.
    """
    status = {None: NOT_STARTED, ExitCode.SKIPPED: "skipped", ExitCode.REFUSED: "refused"}
    return {
        "run": None,
        "status": status.get(exit_code, "failed"),
        "outcome": None,
        "exit": None if exit_code is None else int(exit_code),
        "reason": reason,
        "result": None,
        "steps": 0,
        "calls": 0,
        "usage": ZERO.as_dict(),
        "cost_usd": "0.0",
        "cost_state": "priced",
        "problems": [],
        "blocked": blocked,
    }


def is_good(record: Record) -> bool:
    """Whether the result may be handed on: accepted, or succeeded where no checks were stated."""
    return bool(record["exit"] == ExitCode.OK)


def batch_record(
    plan: Plan,
    records: Mapping[int, Record],
    *,
    batch: str | None,
    exit_code: ExitCode,
    reason: str,
    started_at: str,
    seconds: float,
    directory: Path | None,
) -> dict[str, Any]:
    """The object that `run --json` prints for a batch; keys are only ever added.

    `items` are those of the task that was asked for, `needs` the others. A task that is one item (it has
    needs and no matrix) lends its run, status, outcome and result to the whole, as if it stood alone.
    """
    every = [_numbered(item, plan, records[item.number]) for item in plan.items]
    items = [one for item, one in zip(plan.items, every, strict=True) if plan.asked(item)]
    single = items[0] if plan.task.matrix is None and len(items) == 1 else None
    usage, (nusd, state) = total_usage(every), total_cost(every)
    return {
        "batch": batch,
        "run": single["run"] if single else None,
        "task": plan.task.name,
        "status": single["status"] if single else status_of(exit_code),
        "outcome": single["outcome"] if single else None,
        "exit": int(exit_code),
        "reason": reason or (single["reason"] if single else ""),
        "result": single["result"] if single else None,
        "counts": dict(Counter(map(word_of, items))),
        "items": items,
        "needs": [one for item, one in zip(plan.items, every, strict=True) if not plan.asked(item)],
        "steps": sum(one["steps"] or 0 for one in every),
        "calls": sum(one["calls"] or 0 for one in every),
        "usage": usage.as_dict(),
        "cost_usd": format_usd(nusd),
        "cost_state": state,
        "duration_s": round(seconds, 3),
        "started_at": started_at,
        "directory": None if directory is None else str(directory),
        "problems": [],
    }


def status_of(exit_code: ExitCode) -> str:
    """A whole matrix has no status of its own but this: whether every item is good."""
    if exit_code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        return "interrupted"
    good = {ExitCode.OK: "succeeded", ExitCode.SKIPPED: "skipped"}
    return good.get(exit_code, "failed")


def word_of(record: Record) -> str:
    """How an item ended, in one word: its outcome when it succeeded, else its status."""
    if record["run"] is None and record["exit"] is None:
        return "not started"
    if record["status"] == "succeeded" and record["outcome"]:
        return str(record["outcome"])
    return str(record["status"]).replace("_", " ")


def total_usage(records: Sequence[Record]) -> Usage:
    """All records' usage added up; a bucket that is unknown in one is unknown in the sum."""
    return sum((usage_of(record) for record in records), ZERO)


def usage_of(record: Record) -> Usage:
    found = record["usage"]
    return Usage(
        found["input"], found["cache_read"], found["cache_write"], found["output"], found["reasoning"]
    )


def total_cost(records: Sequence[Record]) -> tuple[int | None, CostState]:
    """All records' cost in nano-dollars and its state, that of the least certain; None when any is."""
    states = {record["cost_state"] for record in records}
    order: tuple[CostState, ...] = ("unknown", "unpriced", "estimated")
    state: CostState = next((one for one in order if one in states), "priced")
    if state != "priced":
        return None, state
    return sum(int(Decimal(record["cost_usd"]) * 10**9) for record in records), state


def spent_before(
    entries: Iterable[Entry | Problem], runs: Collection[str], now: datetime
) -> tuple[int, int, int]:
    """Nano-dollars, tokens and steps that `runs` have been charged, as a BudgetMeter would count them.

    A call that is unknown, or has left no entry, takes its whole reservation.
    """
    wanted = frozenset(runs)
    facts = fold(
        (
            entry
            for entry in entries
            if isinstance(entry, Correction) or (isinstance(entry, Reserve | Call) and entry.run in wanted)
        ),
        now,
    )
    nusd = sum(call.charged_nusd or 0 for call in facts.calls)
    tokens = sum(call.charged_tokens or 0 for call in facts.calls)
    # A call's id is run/attempt.step.try; those that checks make stand for no step.
    ids = (call.call.rpartition(".")[0] for call in facts.calls)
    return nusd, tokens, len({name for name in ids if name.rpartition(".")[2].isdigit()})


def _numbered(item: Item, plan: Plan, record: Record) -> dict[str, Any]:
    return {"item": item.number, "name": plan.name(item), "params": dict(item.params), **record}
