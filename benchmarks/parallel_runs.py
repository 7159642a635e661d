"""Two hundred runs side by side in one process: throughput against the ideal, and memory a run.

    python benchmarks/parallel_runs.py [--runs 200] [--steps 6] [--latency 0.5]

Every run is a whole one: run directory, transcript, durable ledger, tools, budget. Only the model is a
script that answers after LATENCY seconds. The ideal is steps x latency: what the runs would take if
everything but the waiting cost nothing.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import uuid6

from meshclaw.budgets import Budget
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


def delegation(project: Path, steps: int, latency: float) -> Delegation:
    turns = [
        Say(calls=call("read", path="notes.txt", start_line=step, end_line=step + 1).calls, latency=latency)
        for step in range(1, steps)
    ]
    return Delegation(
        task=Task("parallel", "Read the notes."),
        params={},
        project=project,
        prompt="Read the notes.",
        system="",
        model="scripted/m",
        model_id="m",
        provider=ScriptedProvider([*turns, Say("done", latency=latency)]),
        retrying=lambda provider, _: provider,
        runner=AgentRunner(),
        tools=[ReadTool()],
        policy=TaskPolicy((), (), (), shell_enabled=False, source="task"),
        sandbox=None,
        budget=Budget(),
        max_output=1_000,
        timeout=60,
    )


async def measure(count: int, steps: int, latency: float, folder: Path) -> None:
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
    await dispatcher.run(delegation(project, 2, 0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, started = time.process_time(), time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(dispatcher.run, delegation(project, steps, latency))
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    await ledger.aclose()
    verified = verify(folder / "ledger.jsonl")
    ideal = steps * latency
    print(f"{count} runs x {steps} steps, {latency} s a response: {took:.2f} s, ideal {ideal:.2f} s")
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
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--latency", type=float, default=0.5)
    options = parser.parse_args()
    os.umask(0o077)
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(measure, options.runs, options.steps, options.latency, Path(folder))


if __name__ == "__main__":
    main()
