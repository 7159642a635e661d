"""Two hundred runs side by side in one process: throughput against the ideal, and memory a run.

    python benchmarks/parallel_runs.py [--runs 200] [--steps 20] [--latency 0.5] [--even] [FOLDER]

Every run is a whole one: run directory, transcript, durable ledger, tools, budget, in a process set up
as the command's. Only the model is a script. Its answers take between half and one and a half times LATENCY
seconds, and those of every run together STEPS x LATENCY: that is the ideal, what the runs would take if
everything but the waiting cost nothing. With `--even` every answer takes LATENCY: all runs, begun at once,
want to go on at once. They write into FOLDER (default: here): the file system's own pace is in the figure,
and ext4 takes some forty times as long for a new file where thousands were deleted in the last minutes.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import socket
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
import uuid6

from meshclaw.budgets import Budget
from meshclaw.cli.main import COLLECT_AT
from meshclaw.dispatch import Delegation, Dispatcher, House
from meshclaw.ledger.chain import verify
from meshclaw.ledger.file import FileLedger
from meshclaw.policies import TaskPolicy
from meshclaw.pricing import FREE, Prices
from meshclaw.redaction import Redactor
from meshclaw.runners.agent import AgentRunner
from meshclaw.tasks import Task
from meshclaw.testing import Say, ScriptedProvider, call
from meshclaw.tools.files import ReadTool


def latencies(steps: int, latency: float, chance: Random | None) -> list[float]:
    """Seconds that each answer takes; their sum is steps x latency."""
    drawn = [chance.uniform(0.5, 1.5) if chance else 1.0 for _ in range(steps)]
    return [latency * steps * one / sum(drawn) for one in drawn]


def delegation(project: Path, waits: list[float]) -> Delegation:
    turns = [
        Say(calls=call("read", path="notes.txt", start_line=step, end_line=step + 1).calls, latency=wait)
        for step, wait in enumerate(waits[:-1], 1)
    ]
    return Delegation(
        task=Task("parallel", "Read the notes."),
        params={},
        project=project,
        prompt="Read the notes.",
        system="",
        model="scripted/m",
        model_id="m",
        provider=ScriptedProvider([*turns, Say("done", latency=waits[-1])]),
        retrying=lambda provider, _: provider,
        runner=AgentRunner(),
        tools=[ReadTool()],
        policy=TaskPolicy((), (), (), shell_enabled=False, source="task"),
        sandbox=None,
        budget=Budget(),
        max_output=1_000,
        timeout=60,
    )


async def measure(count: int, steps: int, latency: float, folder: Path, *, even: bool) -> None:
    project = folder / "project"
    project.mkdir()
    (project / "notes.txt").write_text("".join(f"note {number}\n" for number in range(1_000)))
    ledger = FileLedger(folder / "ledger.jsonl")
    ids: Iterator[Any] = iter(uuid6.uuid7, None)
    house = House(
        ledger=ledger,
        history=ledger.read,
        prices=Prices({"scripted": FREE}),
        runs=folder / "runs",
        redactor=Redactor([]),
        now=lambda: datetime.now(UTC),
        new_id=lambda: str(next(ids)),
        who="benchmark",
        host=socket.gethostname(),
    )
    dispatcher = Dispatcher(house)
    await dispatcher.run(delegation(project, [0, 0]))
    chance = None if even else Random(1)
    waits = [latencies(steps, latency, chance) for _ in range(count)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, started = time.process_time(), time.perf_counter()
    async with anyio.create_task_group() as group:
        for each in waits:
            group.start_soon(dispatcher.run, delegation(project, each))
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    await ledger.aclose()
    verified = verify(folder / "ledger.jsonl")
    ideal = steps * latency
    kind = "each" if even else "on average"
    print(f"{count} runs x {steps} steps, {latency} s {kind}: {took:.2f} s, ideal {ideal:.2f} s")
    print(
        f"throughput: {ideal / took:.1%} of the ideal; CPU {cpu:.2f} s, {cpu / count * 1000:.1f} ms a run"
    )
    print(f"memory: {grown / 1024 / count:.2f} MiB a run")
    print(f"ledger: {verified.entries} entries, chain intact: {verified.ok}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--latency", type=float, default=0.5)
    parser.add_argument("--even", action="store_true", help="every answer takes the same time")
    parser.add_argument("folder", nargs="?", default=".", help="where to write")
    options = parser.parse_args()
    os.umask(0o077)
    gc.set_threshold(*COLLECT_AT)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        work = partial(measure, even=options.even)
        anyio.run(work, options.runs, options.steps, options.latency, Path(folder))


if __name__ == "__main__":
    main()
