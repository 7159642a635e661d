"""Closes what a killed process left open, so that no response that was received is missing or counted
twice, and no killed run looks alive for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anyio import to_thread

from meshclaw.dispatch.delegation import House
from meshclaw.dispatch.records import marker, run_entry
from meshclaw.errors import ExitCode, LockedError, ProblemsError
from meshclaw.ledger.entry import Call, Reserve, RunEnd
from meshclaw.messages import Response, decode_response
from meshclaw.metering import settled_call, timestamp, total_cost, total_usage
from meshclaw.pricing import format_usd
from meshclaw.runs import Outcome, RunDirectory, RunStatus, read_transcript


async def recover(house: House) -> list[str]:
    """Closes every run whose process is gone: returns their ids.

    A response that the transcript holds and the ledger does not gets its `call` entry now; a reserve
    whose response never came is closed as `aborted`, possibly billed; the run is `interrupted`. Runs
    that are alive hold the lock of their folder and are left alone. Raises LedgerError.
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
            if marker(house.runs, name).exists():
                await _close(house, directory, name)
                recovered.append(name)
        finally:
            directory.close()
    return recovered


async def _close(house: House, directory: RunDirectory, run: str) -> None:
    record = await to_thread.run_sync(directory.read_record)
    reserves, calls, ended = await to_thread.run_sync(_in_ledger, house, run)
    responses = await to_thread.run_sync(_received, directory.transcript)
    missing = [
        _missing_call(house, record, reserve, responses.get(call.partition("/")[2]))
        for call, reserve in reserves.items()
        if call not in calls
    ]
    all_calls = [*calls.values(), *missing]
    usage, cost = total_usage(all_calls), total_cost(all_calls)
    if record["status"] == str(RunStatus.RUNNING):
        record |= {
            "status": str(RunStatus.INTERRUPTED),
            "outcome": str(Outcome.UNCHECKED),
            "exit": int(ExitCode.INTERRUPTED),
            "reason": "the process was killed",
            "steps": max((call.step for call in all_calls), default=0),
            "calls": len(all_calls),
            "usage": usage.as_dict(),
            "cost_usd": format_usd(cost.nusd),
            "cost_state": cost.state,
        }
        await to_thread.run_sync(directory.write_record, record)
    result = directory.path / "result.txt"
    text = result.read_text(encoding="utf-8") if result.exists() else ""
    end = run_entry(
        record, at=timestamp(house.now()), who=house.who, host=house.host, result=text, cost_nusd=cost.nusd
    )
    await house.ledger.append(*missing, *([] if ended else [end]))
    marker(house.runs, run).unlink(missing_ok=True)


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
    if response is None:
        return entry
    cost = house.prices.cost(provider, model, response.usage, at=house.now(), tier=response.tier)
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
