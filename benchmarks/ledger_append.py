"""What a durable append costs, as a ratio to a bare write + fdatasync on the same disk.

    python benchmarks/ledger_append.py [--slower MS] [FOLDER]

Writes into FOLDER (default: here). The three are taken in turn in one run, so that whatever else the
machine does hits all alike; medians. `in place`: an entry encoded, the file locked, the line chained,
written and synced, the lock given back; it is to take under 1.5 times bare. `append`: the same by
`FileLedger.append`, so with the way to the writer's thread and back, which keeps the event loop free. That
way is a fixed cost of some 0.1 ms: it weighs most on a disk that syncs in as little time. With `--slower`
every sync takes MS milliseconds more, bare or not.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import anyio

from meshclaw.ledger.codec import encode
from meshclaw.ledger.disk import DiskFile
from meshclaw.ledger.entry import Call
from meshclaw.ledger.file import FileLedger

ROUNDS = 1000
TASKS, EACH = 200, 20
BOUND = 1.5

ENTRY = Call(
    at="2026-11-20T10:00:00.000Z",
    call="01932f6e-7c1a-7c3e-8d1f-2a6b9c0d1e2f/1.1.0",
    run="01932f6e-7c1a-7c3e-8d1f-2a6b9c0d1e2f",
    attempt=1,
    step=1,
    status="ok",
    provider="acme",
    model="acme/large",
    input=1000,
    output=50,
    usage_source="final",
    wire_usage={"input_tokens": 1000, "output_tokens": 50},
    cost_nusd=1_234_567,
    cost_state="priced",
)


async def alone(folder: Path) -> tuple[float, float, float]:
    """Median seconds of an append, of one without the thread, and of a bare write + fdatasync."""
    payload = b"x" * (len(encode(ENTRY)) + 72) + b"\n"
    bare = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    file = DiskFile(folder / "in-place.jsonl", lock_timeout=30, notify=print)
    times: tuple[list[float], list[float], list[float]] = ([], [], [])
    async with FileLedger(folder / "alone.jsonl") as ledger:
        for _ in range(ROUNDS):
            start = perf_counter()
            await ledger.append(ENTRY)
            appended = perf_counter()
            file.append(file.lock(), [encode(ENTRY)])
            file.unlock()
            in_place = perf_counter()
            os.write(bare, payload)
            os.fdatasync(bare)
            end = perf_counter()
            for series, taken in zip(
                times, (appended - start, in_place - appended, end - in_place), strict=True
            ):
                series.append(taken)
    file.close()
    os.close(bare)
    return median(times[0]), median(times[1]), median(times[2])


async def together(folder: Path) -> float:
    """Appends a second by TASKS tasks at once, each waiting for its own."""

    async def work() -> None:
        for _ in range(EACH):
            await ledger.append(ENTRY)

    async with FileLedger(folder / "together.jsonl") as ledger:
        await ledger.check_tail()
        start = perf_counter()
        async with anyio.create_task_group() as group:
            for _ in range(TASKS):
                group.start_soon(work)
        return TASKS * EACH / (perf_counter() - start)


def slow_down(seconds: float) -> None:
    """Lets every sync of this process take longer."""
    sync = os.fdatasync

    def slower(fd: Any) -> None:
        sync(fd)
        time.sleep(seconds)

    os.fdatasync = slower


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slower", type=float, default=0.0, metavar="MS")
    parser.add_argument("folder", nargs="?", default=".")
    options = parser.parse_args()
    if options.slower:
        slow_down(options.slower / 1_000)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        append, in_place, bare = anyio.run(partial(alone, Path(name)))
        rate = anyio.run(partial(together, Path(name)))
    print(f"bare write + fdatasync   {bare * 1e6:8.0f} us")
    print(
        f"in place                 {in_place * 1e6:8.0f} us   {in_place / bare:.2f} x bare (bound {BOUND})"
    )
    print(f"append                   {append * 1e6:8.0f} us   {append / bare:.2f} x bare")
    print(
        f"{TASKS} tasks at once       {rate:8.0f} appends/s   {rate * bare:.1f} x what bare ones could do"
    )


if __name__ == "__main__":
    main()
