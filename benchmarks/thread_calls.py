"""CPU of handing a blocking call to a thread and back: `meshclaw.threads` to anyio's `to_thread`.

    python benchmarks/thread_calls.py [--tasks 200] [--rounds 5]

TASKS tasks of one event loop each wait, compute a little and make four short blocking calls, as runs side
by side do in every step. What that takes with the calls made in place is taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from random import Random
from statistics import median

import anyio
from anyio import to_thread

from meshclaw.threads import in_thread

Way = Callable[[Callable[[], None]], Awaitable[None]]
STEPS, CALLS = 4, 4


async def in_place(function: Callable[[], None]) -> None:
    function()


WAYS: dict[str, Way] = {"in place": in_place, "anyio": to_thread.run_sync, "meshclaw": in_thread}


def compute() -> int:
    return sum(range(8_000))


async def run(way: Way, tasks: int, function: Callable[[], None]) -> float:
    """CPU seconds a call, all else included."""

    async def work(chance: Random) -> None:
        for _ in range(STEPS):
            await asyncio.sleep(chance.uniform(0.1, 0.3))
            for _ in range(CALLS):
                compute()
                await way(function)

    before = time.process_time()
    async with anyio.create_task_group() as group:
        for number in range(tasks):
            group.start_soon(work, Random(number))
    return (time.process_time() - before) / (tasks * STEPS * CALLS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryFile() as file:

        def write() -> None:
            os.pwrite(file.fileno(), b"x" * 100, 0)

        for _ in range(options.rounds):
            for name, way in WAYS.items():
                taken[name].append(anyio.run(run, way, options.tasks, write))
    found = {name: median(series) for name, series in taken.items()}
    theirs, ours = (found[name] - found["in place"] for name in ("anyio", "meshclaw"))
    print(f"a call in anyio's threads: {theirs * 1e6:.0f} us of CPU")
    print(f"a call in ours:            {ours * 1e6:.0f} us, {ours / theirs:.2f} of that")


if __name__ == "__main__":
    main()
