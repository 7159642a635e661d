"""Closes what a killed process left open, so that no response that was received is missing or counted
twice, and no killed run looks alive for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from anyio import to_thread

from meshclaw.dispatch.delegation import House
from meshclaw.dispatch.purse import steps_of
from meshclaw.dispatch.records import marker, proposed, run_entry
from meshclaw.dispatch.resuming import may_resume
from meshclaw.dispatch.workplaces import clear_workplace
from meshclaw.errors import ExitCode, LockedError, MeshClawError, ProblemsError
from meshclaw.ledger.entry import Call, Reserve, RunEnd
from meshclaw.messages import Response, decode_response
from meshclaw.metering import response_cost, settled_call, timestamp, total_cost, total_usage
from meshclaw.pricing import format_usd
from meshclaw.runs import Outcome, RunDirectory, RunStatus, read_history, read_transcript


async def recover(house: House) -> list[str]:
    """Closes every run whose process is gone: returns their ids.

    A response that the transcript holds and the ledger does not gets its `call` entry now; a reserve
    whose response never came is closed as `aborted`, possibly billed; the run is `interrupted`. Runs
    that are alive hold the lock of their folder and are left alone, and so are those of another ledger:
    their next run closes them. Raises LedgerError.
    """
    active = marker(house.runs, "x").parent
    recovered: list[str] = []
    for name in await to_thread.run_sync(_listed, active):
        directory = RunDirectory(house.runs / name)
        if not directory.record.exists():
            marker(house.runs, name).unlink(missing_ok=True)
            continue
        try:
            await to_thread.run_sync(directory.open)
        except LockedError:
            continue
        try:
            if marker(house.runs, name).exists() and await _close(house, directory, name):
                recovered.append(name)
        finally:
            directory.close()
    return recovered


async def give_up(directory: RunDirectory) -> None:
    """Makes a run that cannot go on final: it is not offered any more, and what it kept for that goes.

    Raises LockedError while it is alive, LedgerError.
    """

    def work() -> None:
        with directory:
            directory.write_record(directory.read_record() | {"final": True})
            with suppress(MeshClawError):
                clear_workplace(directory.path)

    await to_thread.run_sync(work)


async def _close(house: House, directory: RunDirectory, run: str) -> bool:
    """False when the run belongs to another ledger."""
    record = await to_thread.run_sync(directory.read_record)
    if record.get("ledger", house.ledger_file) != house.ledger_file:
        return False
    reserves, calls, ended = await to_thread.run_sync(_in_ledger, house, run)
    responses = await to_thread.run_sync(_received, directory.transcript)
    missing = [
        _missing_call(house, record, reserve, responses.get(call.partition("/")[2]))
        for call, reserve in reserves.items()
        if call not in calls
    ]
    all_calls = [*calls.values(), *missing]
    usage, cost = total_usage(all_calls), total_cost(all_calls)
    alive = record["status"] == str(RunStatus.RUNNING)
    before = dict(record)
    # A run that ended because its ledger could not be written has a record without its last call.
    record |= {
        "calls": len(all_calls),
        "usage": usage.as_dict(),
        "cost_usd": format_usd(cost.nusd),
        "cost_state": cost.state,
    }
    if alive:
        history = await to_thread.run_sync(read_history, directory.transcript)
        denials = (denial for step in history.steps for one in step.done for denial in one.denials)
        record |= {
            "status": str(RunStatus.INTERRUPTED),
            "outcome": str(Outcome.UNCHECKED),
            "exit": int(ExitCode.INTERRUPTED),
            "reason": "the process was killed",
            "steps": steps_of(all_calls),
            "proposals": await to_thread.run_sync(proposed, directory.transcript),
            "denied": list(dict.fromkeys((*record["denied"], *denials))),
            "attempts": history.attempt,
            "changed_by_agent": list(history.tampered),
            "duration_s": record["duration_s"] + _seconds(record, all_calls),
        }
    if record != before:
        await to_thread.run_sync(directory.write_record, record)
    result = directory.path / "result.txt"
    text = result.read_text(encoding="utf-8") if result.exists() else ""
    end = run_entry(
        record, at=timestamp(house.now()), who=house.who, host=house.host, result=text, cost_nusd=cost.nusd
    )
    # A run that was resumed may have ended before; that end does not know of what came since.
    known = ended is not None and not alive and (ended.status, ended.calls) == (end.status, end.calls)
    await house.ledger.append(*missing, *([] if known else [end]))
    if not may_resume(record):
        with suppress(MeshClawError):
            await to_thread.run_sync(clear_workplace, directory.path)
    marker(house.runs, run).unlink(missing_ok=True)
    return True


def _seconds(record: Mapping[str, Any], calls: Sequence[Call]) -> float:
    """How long the killed process worked, as far as its calls tell."""
    began = datetime.fromisoformat(record.get("resumed_at") or record["started_at"])
    ended = max((datetime.fromisoformat(call.at) for call in calls), default=began)
    return round(max(0.0, (ended - began).total_seconds()), 3)


def _missing_call(
    house: House, record: Mapping[str, Any], reserve: Reserve, response: Response | None
) -> Call:
    provider, _, model = reserve.model.partition("/")
    entry = Call(
        at=timestamp(house.now()),
        call=reserve.call,
        run=reserve.run,
        attempt=reserve.attempt,
        step=reserve.step,
        status="aborted",
        provider=provider,
        model=reserve.model,
        possibly_billed=True,
        recovered=True,
    )
    if response is None and reserve.cost_nusd == 0:
        # What cannot cost anything has cost nothing; a model without a price was reserved with None.
        return replace(entry, cost_nusd=0, cost_state="priced", possibly_billed=False)
    if response is None:
        return entry
    cost = response_cost(house.prices, provider, model, response, house.now())
    return settled_call(entry, response, cost)


def _in_ledger(house: House, run: str) -> tuple[dict[str, Reserve], dict[str, Call], RunEnd | None]:
    reserves: dict[str, Reserve] = {}
    calls: dict[str, Call] = {}
    ended: RunEnd | None = None
    for entry in house.history():
        match entry:
            case Reserve() if entry.run == run:
                reserves[entry.call] = entry
            case Call() if entry.run == run:
                calls[entry.call] = entry
            case RunEnd() if entry.run == run:
                ended = entry
            case _:
                pass
    return reserves, calls, ended


def _received(transcript: Path) -> dict[str, Response]:
    try:
        return {
            event.data["call"]: decode_response(event.data["response"])
            for event in read_transcript(transcript)
            if event.kind == "response"
        }
    except (ProblemsError, KeyError, TypeError, ValueError):
        return {}


def _listed(active: Path) -> Sequence[str]:
    return sorted(path.name for path in active.iterdir()) if active.is_dir() else []
