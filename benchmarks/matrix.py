"""A matrix of a thousand items: throughput against the ideal, and CPU an item.

    python benchmarks/matrix.py [--items 1000] [--jobs 32] [--latency 1]

Every item is a whole run as `meshclaw run` makes it: task and settings, run directory, transcript, durable
ledger, budget of the batch, durable log of the batch. Only the model is a script that answers after LATENCY
seconds. The ideal is what the rounds of JOBS items would take if everything but the waiting cost nothing.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from math import ceil
from pathlib import Path
from typing import Any

import anyio

from meshclaw.app import App, RunOptions
from meshclaw.app.batching import new_batch
from meshclaw.app.families import load_family
from meshclaw.app.planning import plan_batch
from meshclaw.batches.conductor import Terms
from meshclaw.dispatch import Rung
from meshclaw.ledger.chain import verify
from meshclaw.testing import Say, ScriptedProvider

MODEL = "replay/scripted"
TASK = """\
runner: prompt
params: {n: {type: integer}}
matrix: {n: {file: numbers.txt}}
prompt: "Say {{ n }}."
"""


async def measure(items: int, jobs: int, latency: float, folder: Path) -> None:
    project = folder / "project"
    (project / "tasks").mkdir(parents=True)
    (project / "tasks" / "say.yaml").write_text(TASK)
    (project / "numbers.txt").write_text("".join(f"{number}\n" for number in range(items)))
    environment = {"HOME": str(folder), "MESHCLAW_DATA_DIR": str(folder / "data"), "PATH": os.defpath}
    app = App(environment, project)
    model = ScriptedProvider([Say("said", latency=latency)] * items, name="replay")
    app.adapters[MODEL] = Rung(MODEL, "scripted", model)
    options = RunOptions(model=MODEL)
    family = load_family(app, "say")
    cpu, started = time.process_time(), time.perf_counter()
    plan = await plan_batch(app, family, options)
    async with new_batch(app, family, plan, options, Terms(jobs), listen) as batch:
        record = await batch.run()
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    await app.aclose()
    verified = verify(folder / "data" / "ledger.jsonl")
    ideal = ceil(items / jobs) * latency
    print(f"{items} items, {jobs} side by side, {latency} s a response: {took:.2f} s, ideal {ideal:.2f} s")
    print(
        f"throughput: {ideal / took:.1%} of the ideal; CPU {cpu:.2f} s, {cpu / items * 1000:.1f} ms an item"
    )
    print(f"outcomes: {record['counts']}; ledger: {verified.entries} entries, in order: {verified.ok}")


def listen(event: Any) -> None:
    """Nobody watches."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=1_000)
    parser.add_argument("--jobs", type=int, default=32)
    parser.add_argument("--latency", type=float, default=1.0)
    options = parser.parse_args()
    os.umask(0o077)
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(measure, options.items, options.jobs, options.latency, Path(folder))


if __name__ == "__main__":
    main()
