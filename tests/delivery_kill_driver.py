"""Kills runs while their patch is delivered, and resumes them: run by test_resume_copies.py as a program.

An audit hook of the interpreter ends the process (`os._exit` runs nothing more) right before one of the
MOMENTS, once the patch is kept. Prints one JSON object a line: where the run was killed, how it ended after
it was resumed, what the project then held, and how often the model was asked in all.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contained import git
from kill_driver import in_child
from run_bench import RunBench
from test_attempts import only

from meshclaw.dispatch import Dispatcher, Isolation, recover
from meshclaw.ledger.file import FileLedger
from meshclaw.messages import Request, Response
from meshclaw.policies import TaskPolicy
from meshclaw.providers.base import Sink
from meshclaw.sandbox.base import Confinement
from meshclaw.testing import Say, ScriptedProvider, call
from meshclaw.tools.editing import WriteTool

MOMENTS: dict[str, Callable[[str, str], bool]] = {
    "the patch is applied": lambda event, said: event == "os.rename" and "a.txt" in said,
    "the branch is made": lambda event, said: event == "subprocess.Popen" and "update-ref" in said,
    "the result is kept": lambda event, said: event == "open" and "result.txt" in said,
    "the record is written": lambda event, said: event == "os.rename" and "run.json" in said,
    "the copy is removed": lambda event, said: event == "os.remove" and "copy.json" in said,
}
"""What is about to happen when the process dies."""


class Bomb:
    """Armed by the patch's `patch.json`; ends the process before the moment."""

    def __init__(self, moment: str) -> None:
        self._is_it = MOMENTS[moment]
        self._armed = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._armed and self._is_it(event, str(arguments)):
            os._exit(77)
        self._armed = self._armed or (event == "os.rename" and "patch.json" in str(arguments[1]))


class Model(ScriptedProvider):
    """Answers by what it is asked, and leaves a line for each request."""

    log: Path

    async def complete(self, request: Request, sink: Sink) -> Response:
        with self.log.open("a") as file:
            file.write("asked\n")
        return await super().complete(request, sink)


def bench_of(folder: Path, moment: str | None) -> RunBench:
    if moment is not None:
        sys.addaudithook(Bomb(moment))
    provider = Model([call("write", path="a.txt", content="new\n"), Say("good")], free=False)
    provider.log = folder / "asked"
    return RunBench(
        folder,
        tools=[WriteTool()],
        provider=provider,
        policy=TaskPolicy(["**"]),
        ledger=FileLedger(folder / "ledger.jsonl"),
        options={
            "checks": [only("good")],
            "isolation": Isolation(include_dirty=True, apply=True, branch="mc/fix"),
            "confinement": Confinement(("**",)),
            "environment": {"PATH": os.environ["PATH"]},
        },
    )


async def begin(folder: Path, moment: str) -> None:
    bench = bench_of(folder, moment)
    await bench.run()
    await bench.ledger.aclose()


async def go_on(folder: Path) -> None:
    bench = bench_of(folder, None)
    house = bench.house()
    await recover(house)
    record = json.loads((folder / "runs" / "run-1" / "run.json").read_text())
    if record["status"] != "succeeded":
        record = await Dispatcher(house).resume("run-1", bench.delegation())
    (folder / "record.json").write_text(json.dumps(record))
    await bench.ledger.aclose()


def state(folder: Path) -> dict[str, Any]:
    record = json.loads((folder / "record.json").read_text())
    project = folder / "project"
    return {
        "end": [record["status"], record["outcome"], record["exit"], record["reason"]],
        "patch": [record["patch"]["applied"], record["patch"]["branch"]],
        "asked": len((folder / "asked").read_text().splitlines()),
        "project": (project / "a.txt").read_text(),
        "branch": git(project, "log", "--format=%s", "trunk..mc/fix").splitlines(),
        "branches": len(git(project, "branch", "--list").splitlines()),
        "left": (folder / "runs" / "run-1" / "copy").exists(),
    }


def main() -> None:
    for number, moment in enumerate(MOMENTS):
        folder = Path(sys.argv[1], str(number))
        project = folder / "project"
        project.mkdir(parents=True)
        (project / "a.txt").write_text("old\n")
        git(project, "init", "-q", "-b", "trunk")
        git(project, "add", ".")
        git(project, "commit", "-qm", "first")
        (project / "new.txt").write_text("not committed\n")
        code = in_child(lambda folder=folder, moment=moment: begin(folder, moment))
        resumed = in_child(lambda folder=folder: go_on(folder))
        found = {} if resumed else state(folder)
        sys.stdout.write(json.dumps({"moment": moment, "code": code, "resumed": resumed, **found}) + "\n")


if __name__ == "__main__":
    main()
