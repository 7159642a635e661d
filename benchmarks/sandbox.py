"""What containing a command costs: its time in a sandbox, against the same command as a plain subprocess.

    python benchmarks/sandbox.py [--runs 40]

Every way takes its turn in each round, so that a busy machine is unfair to none; medians are compared. The
command does nothing (`true`), in a project of a few files as a task with `allow.write: ["src/**"]` sees it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import anyio

from meshclaw.sandbox.base import Command, Confinement, Sandbox
from meshclaw.sandbox.bubblewrap import Bubblewrap, find_bubblewrap
from meshclaw.sandbox.landlock import Landlock, missing
from meshclaw.sandbox.mounts import Machine, survey
from meshclaw.sandbox.unconfined import Unconfined, command_environment

Way = Callable[[], Awaitable[None]]

PLAIN = "plain subprocess"


def plain(project: Path, environment: dict[str, str]) -> Way:
    argv = ["/bin/sh", "-c", "true"]

    async def run() -> None:
        await anyio.run_process(argv, stdin=subprocess.DEVNULL, cwd=project, env=environment)

    return run


def contained(sandbox: Sandbox, command: Command) -> Way:
    async def run() -> None:
        result = await sandbox.execute(command)
        if result.exit_code != 0:
            raise SystemExit(f"{sandbox.name}: exit {result.exit_code}: {result.output}")

    return run


async def measure(ways: dict[str, Way], runs: int) -> dict[str, float]:
    """The median of each in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs + 1):
        for name, run in ways.items():
            started = perf_counter()
            await run()
            # The first round looks at the machine and makes the folders, once for a run.
            if number:
                times[name].append((perf_counter() - started) * 1_000)
    return {name: median(measured) for name, measured in times.items()}


async def compare(folder: Path, runs: int) -> None:
    home, project = folder / "home", folder / "project"
    for name in ("src", "tests", "docs"):
        (project / name).mkdir(parents=True)
        (project / name / "file.txt").write_text("text\n")
    home.mkdir()
    operators = {**os.environ, "HOME": str(home)}
    environment = command_environment(operators)

    def machine() -> Machine:
        return survey(operators, home, project)

    command = partial(Command, "true", project, environment)
    held = command(confinement=Confinement(write=("src/**",)))
    reaching = command(confinement=Confinement(write=("src/**",), network=("example.com",)))
    ways = {PLAIN: plain(project, environment), "not contained": contained(Unconfined(), held)}
    sandboxes: list[Bubblewrap | Landlock] = []
    if program := find_bubblewrap():
        bubblewrap = Bubblewrap(program, machine, folder / "private")
        sandboxes.append(bubblewrap)
        ways["bubblewrap"] = contained(bubblewrap, held)
        ways["bubblewrap, one host"] = contained(bubblewrap, reaching)
    if reason := missing():
        print(f"Landlock is left out: {reason}", file=sys.stderr)
    else:
        landlock = Landlock(machine, folder / "private")
        sandboxes.append(landlock)
        ways["landlock"] = contained(landlock, held)
    try:
        found = await measure(ways, runs)
    finally:
        for sandbox in sandboxes:
            await sandbox.aclose()
    for name, milliseconds in found.items():
        ratio, more = milliseconds / found[PLAIN], milliseconds - found[PLAIN]
        print(f"{name:22} {milliseconds:6.1f} ms  {ratio:5.2f}x  {more:+6.1f} ms a command")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(compare, Path(folder), runs)


if __name__ == "__main__":
    main()
