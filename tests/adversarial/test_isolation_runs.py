"""Twenty whole runs side by side in one repository, whose agents plant programs in their copies' git."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import anyio
from contained import Bench, needs_bubblewrap
from planted_programs import PLANTS
from repository_place import Place, fingerprint
from run_bench import RunBench

from meshclaw.dispatch import Dispatcher
from meshclaw.dispatch.delegation import Isolation
from meshclaw.isolation import KeptPatch
from meshclaw.policies import TaskPolicy
from meshclaw.sandbox.base import Confinement
from meshclaw.testing import Say, ScriptedProvider, call
from meshclaw.tools.shell import ShellTool

pytestmark = needs_bubblewrap
RUNS = 20
WRITE = ("app.py", "new/**")


def planting(marks: Path) -> str:
    """What the agent runs: programs for git, in its copy's repository, then git itself."""
    program = f"#!/bin/sh\ntouch new/ran {shlex.quote(str(marks))}/ran\n"
    hooks = " ".join(f".git/{path}" for path in PLANTS["hooks"].files)
    return f"""
    mkdir -p .git/hooks new
    printf %s {shlex.quote(program)} > .git/evil
    chmod +x .git/evil
    for hook in {hooks}; do cp .git/evil "$hook"; done
    git config core.fsmonitor "$PWD/.git/evil"
    git config filter.evil.clean "$PWD/.git/evil"
    git config diff.evil.textconv "$PWD/.git/evil"
    git config diff.external "$PWD/.git/evil"
    echo '* filter=evil diff=evil' > .git/info/attributes
    echo four >> app.py
    git status
    git commit -qam planted
    """


async def test_the_project_stays_as_it_was_and_nothing_planted_ran_outside(
    bench: Bench, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    runs = RunBench(
        tmp_path,
        provider=ScriptedProvider([]),
        tools=[ShellTool()],
        policy=TaskPolicy(WRITE, ["*"], shell_enabled=True),
        options={
            "isolation": Isolation(),
            "confinement": Confinement(WRITE),
            "environment": bench.environment(),
        },
    )
    place = Place(runs.project, tmp_path)
    place.make()
    before = fingerprint(runs.project)
    dispatcher, records = Dispatcher(runs.house()), []

    async def run() -> None:
        provider = ScriptedProvider([call("shell", command=planting(marks)), Say("Done.")], free=False)
        sandbox = bench.sandbox()
        try:
            delegation = replace(runs.delegation(), provider=provider, sandbox=sandbox)
            records.append(await dispatcher.run(delegation))
        finally:
            await sandbox.aclose()

    async with anyio.create_task_group() as tasks:
        for _ in range(RUNS):
            tasks.start_soon(run)
    assert [record["status"] for record in records] == ["succeeded"] * RUNS
    assert fingerprint(runs.project) == before
    assert list(marks.iterdir()) == []
    for record in records:
        assert record["patch"]["files"] == ["app.py", "new/ran"], "nothing ran inside either"
        folder = Path(record["directory"])
        assert not (folder / "copy").exists()
        assert b"+four\n" in (await KeptPatch.read(folder)).patch.text
