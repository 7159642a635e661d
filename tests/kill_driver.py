"""Kills a run at its N-th arrow, for every N, and recovers it: run by test_recovery.py as a program.

Every run lives in a forked child, so that the kill is a real end of a process (`os._exit` runs nothing
more). Prints one JSON object a line: what transcript and ledger held afterwards.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from run_bench import FakeTool, RunBench

from meshclaw.dispatch import recover
from meshclaw.ledger.chain import verify
from meshclaw.ledger.entry import Call, Reserve, RunEnd
from meshclaw.ledger.file import FileLedger, read_entries
from meshclaw.messages import Request, Response
from meshclaw.policies import Effects, TaskPolicy
from meshclaw.providers.base import Sink
from meshclaw.runs import Event, RunDirectory, read_transcript
from meshclaw.testing import Say, ScriptedProvider, call


class Bomb:
    """`tick` counts the arrows and ends the process at one of them, without any clean-up."""

    def __init__(self, at: int) -> None:
        self.left = at

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            os._exit(77)


class TickingLedger(FileLedger):
    def __init__(self, path: Path, bomb: Bomb) -> None:
        super().__init__(path)
        self.bomb = bomb

    async def append(self, *entries: Any) -> None:
        self.bomb.tick()
        await super().append(*entries)
        self.bomb.tick()


class TickingProvider(ScriptedProvider):
    bomb: Bomb

    async def complete(self, request: Request, sink: Sink) -> Response:
        self.bomb.tick()
        response = await super().complete(request, sink)
        self.bomb.tick()
        return response


class TickingEvents(list[Event]):
    def __init__(self, bomb: Bomb) -> None:
        super().__init__()
        self.bomb = bomb

    def append(self, event: Event) -> None:
        self.bomb.tick()


async def work(folder: Path, at: int) -> None:
    bomb = Bomb(at)

    def touch(_: Any) -> str:
        bomb.tick()
        return "written"

    provider = TickingProvider([call("read"), call("write", n=1), Say("done")], free=False)
    provider.bomb = bomb
    tools = [FakeTool("read"), FakeTool("write", touch, Effects(writes=("a",)))]
    ledger = TickingLedger(folder / "ledger.jsonl", bomb)
    bench = RunBench(folder, tools=tools, provider=provider, ledger=ledger)
    bench.policy = TaskPolicy(["a"])
    bench.events = TickingEvents(bomb)
    await bench.run()
    await ledger.aclose()


async def mend(folder: Path) -> None:
    ledger = FileLedger(folder / "ledger.jsonl")
    bench = RunBench(folder, ledger=ledger)
    for _ in range(2):  # the second time there is nothing left to do
        await recover(bench.house())
    await ledger.aclose()


def in_child(task: Any) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(task())
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def state(folder: Path) -> dict[str, Any]:
    ledger, run = folder / "ledger.jsonl", folder / "runs" / "run-1"
    entries = list(read_entries(ledger)) if ledger.exists() else []
    calls = [entry for entry in entries if isinstance(entry, Call)]
    transcript = run / "transcript.jsonl"
    events = list(read_transcript(transcript)) if transcript.exists() else []
    return {
        "responses": sorted(event.data["call"] for event in events if event.kind == "response"),
        "ok": sorted(entry.call.partition("/")[2] for entry in calls if entry.status == "ok"),
        "aborted": [entry.possibly_billed for entry in calls if entry.status == "aborted"],
        "reserves": sorted(entry.call for entry in entries if isinstance(entry, Reserve)),
        "calls": sorted(entry.call for entry in calls),
        "twice": [name for name, count in Counter(entry.call for entry in calls).items() if count > 1],
        "ends": [entry.status for entry in entries if isinstance(entry, RunEnd)],
        "sum": sum(entry.cost_nusd or 0 for entry in calls),
        "end_sum": [entry.cost_nusd for entry in entries if isinstance(entry, RunEnd)],
        "status": RunDirectory(run).read_record()["status"] if (run / "run.json").exists() else None,
        "verified": verify(ledger).ok if ledger.exists() else True,
        "active": len(list((folder / "active").glob("*"))) if (folder / "active").exists() else 0,
    }


def main() -> None:
    root = Path(sys.argv[1])
    for at in range(1, 200):
        folder = root / str(at)
        folder.mkdir()
        code = in_child(lambda folder=folder, at=at: work(folder, at))
        mended = in_child(lambda folder=folder: mend(folder))
        sys.stdout.write(json.dumps({"at": at, "code": code, "mended": mended, **state(folder)}) + "\n")
        if code == 0:
            return


if __name__ == "__main__":
    main()
