"""Kills a run at its N-th arrow and resumes it: run by test_resume.py as a program.

Every process is a forked child, so that the kill is a real end (`os._exit` runs nothing more). The model
answers by what it is asked, so a run that goes on gets the answers that it would have got. Prints one JSON
object a line: how the run ended, and what the model was asked for after the kill.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kill_driver import Bomb, TickingEvents, TickingLedger, in_child
from run_bench import FakeTool, RunBench

from meshclaw.checks import CheckContext, CheckResult, CheckStatus, Question
from meshclaw.dispatch import Dispatcher, Rung, recover
from meshclaw.ledger.chain import verify
from meshclaw.ledger.entry import Call, RunEnd
from meshclaw.ledger.file import read_entries
from meshclaw.messages import Message, Request, Response, StopReason, Text, ToolCall
from meshclaw.policies import Effects, TaskPolicy
from meshclaw.providers.base import Sink
from meshclaw.runs import Candidate, read_history
from meshclaw.testing import DEFAULT_USAGE
from meshclaw.usage import UsageSource

STEPS = 12
"""Responses of the worker: ten with a tool call, a bad answer, and a good one after the feedback."""


class Model:
    """Answers by how many responses the conversation holds; `log` gets a line for each request."""

    name = "scripted"
    free = False
    nudge = True
    overhead_tokens = 0

    def __init__(self, log: Path, bomb: Bomb) -> None:
        self._log = log
        self._bomb = bomb

    def window(self, model: str) -> int | None:
        return None

    async def complete(self, request: Request, sink: Sink) -> Response:
        self._bomb.tick()
        said = sum(message.role == "assistant" for message in request.messages)
        with self._log.open("a") as file:
            file.write(f"{request.model} {said}\n")
        self._bomb.tick()
        return Response(
            Message("assistant", (self._part(request.model, said),)),
            StopReason.TOOL_CALLS if said < STEPS - 2 else StopReason.ANSWER,
            DEFAULT_USAGE,
            UsageSource.FINAL,
        )

    def _part(self, model: str, said: int) -> Text | ToolCall:
        if model == "judge":
            return Text("yes")
        if said < STEPS - 2:
            tool = "write" if said % 2 else "read"
            return ToolCall(f"call_{said}", tool, json.dumps({"n": said}))
        return Text("bad" if said == STEPS - 2 else "good")

    async def aclose(self) -> None:
        """Nothing to give back."""


class TickingCheck:
    """Passes what is `good`, and then only if the judge agrees."""

    kind = label = "ticking"
    needs_changes = asks = False

    def __init__(self, bomb: Bomb) -> None:
        self._bomb = bomb

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        self._bomb.tick()
        status: CheckStatus = "failed"
        if candidate.text == "good":
            assert context.ask is not None
            answer = await context.ask(Question("", candidate.text, {"type": "object"}), None)
            status = "passed" if answer.message.text == "yes" else "failed"
        self._bomb.tick()
        return CheckResult(self.kind, self.label, status, evidence=candidate.text)


def bench_of(folder: Path, bomb: Bomb) -> RunBench:
    def write(arguments: Mapping[str, Any]) -> str:
        bomb.tick()
        with (folder / "written").open("a") as file:
            file.write(f"{arguments['n']}\n")
        bomb.tick()
        return "written"

    tools: Sequence[Any] = [FakeTool("read"), FakeTool("write", write, Effects(writes=("a",)))]
    model = Model(folder / "asked", bomb)
    bench = RunBench(
        folder,
        tools=tools,
        provider=model,
        ledger=TickingLedger(folder / "ledger.jsonl", bomb),
        options={
            "checks": [TickingCheck(bomb)],
            "attempts": 3,
            "judges": {"": Rung("scripted/judge", "judge", model)},
        },
    )
    bench.policy = TaskPolicy(["a"])
    bench.events = TickingEvents(bomb)
    return bench


async def begin(folder: Path, at: int) -> None:
    bench = bench_of(folder, Bomb(at))
    await bench.run()
    await bench.ledger.aclose()


async def go_on(folder: Path, at: int = 0) -> None:
    """Closes the killed run and resumes it, to be killed again at arrow `at`; 0: to its end."""
    bench = bench_of(folder, Bomb(at))
    house = bench.house()
    await recover(house)
    record = await Dispatcher(house).resume("run-1", bench.delegation())
    (folder / "record.json").write_text(json.dumps(record))
    await bench.ledger.aclose()


def responses(folder: Path) -> int:
    return len(read_history(folder / "runs" / "run-1" / "transcript.jsonl").steps)


def state(folder: Path, known: int, asked: list[str]) -> dict[str, Any]:
    """`known` is how many responses the transcript held when the run went on."""
    entries = list(read_entries(folder / "ledger.jsonl"))
    calls = [entry for entry in entries if isinstance(entry, Call)]
    ends = [entry for entry in entries if isinstance(entry, RunEnd)]
    record = json.loads((folder / "record.json").read_text())
    later = (folder / "asked").read_text().splitlines()[len(asked) :]
    written = Counter((folder / "written").read_text().split())
    return {
        "known": known,
        "asked again": [line for line in later if line.startswith("m ") and int(line.split()[1]) < known],
        "result": record["result"],
        "outcome": record["outcome"],
        "attempts": record["attempts"],
        "steps": record["steps"],
        "written twice": [n for n, count in written.items() if count > 1],
        "judged twice": sum(entry.status == "ok" for entry in calls if ".c" in entry.call) > 1,
        "calls twice": [name for name, n in Counter(entry.call for entry in calls).items() if n > 1],
        "responses": sum(entry.status == "ok" for entry in calls),
        "sum": ends[-1].cost_nusd == _sum(calls),
        "verified": verify(folder / "ledger.jsonl").ok,
        "active": len(list((folder / "active").glob("*"))),
    }


def _sum(calls: Sequence[Call]) -> int | None:
    costs = [call.cost_nusd for call in calls]
    return None if None in costs else sum(cost or 0 for cost in costs)


def main() -> None:
    root, first, step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for at in range(first, 1_000, step):
        folder = root / str(at)
        folder.mkdir()
        code = in_child(lambda folder=folder, at=at: begin(folder, at))
        if code == 0:
            sys.stdout.write(json.dumps({"at": at, "code": code}) + "\n")
            return
        if not (folder / "runs" / "run-1" / "run.json").exists():
            continue  # It had not begun: there is nothing to go on with.
        if at % 3 == 0:  # Killed again while it goes on.
            in_child(lambda folder=folder, at=at: go_on(folder, at % 29 + 1))
        (folder / "written").touch()
        (folder / "asked").touch()
        known, asked = responses(folder), (folder / "asked").read_text().splitlines()
        if (folder / "record.json").exists():
            continue  # The second process came to the end.
        resumed = in_child(lambda folder=folder: go_on(folder))
        found = {} if resumed else state(folder, known, asked)
        sys.stdout.write(json.dumps({"at": at, "code": code, "resumed": resumed, **found}) + "\n")


if __name__ == "__main__":
    main()
