"""Accepted work is not done, or paid for, twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest
from repository_place import Place
from run_bench import FakeTool, RunBench
from test_attempts import FakeCheck, only

from meshclaw.checks import CheckContext, CheckResult
from meshclaw.dispatch import AcceptedWork, Dispatcher, Isolation, Stop, may_resume
from meshclaw.errors import ExitCode
from meshclaw.ledger.entry import RunEnd, Verdict
from meshclaw.ledger.fold import fold
from meshclaw.runs import Candidate
from meshclaw.sandbox.base import Confinement
from meshclaw.tasks import Output
from meshclaw.testing import Say, call
from meshclaw.tools.base import ToolContext, ToolOutput

NUMBER = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def bench_of(tmp_path: Path, answers: list[str], good: str = "good") -> RunBench:
    options: dict[str, Any] = {"checks": [only(good)], "reuse": True, "work_digest": "w" * 64}
    return RunBench(tmp_path, [Say(text) for text in answers], options=options)


async def run(bench: RunBench, accepted: AcceptedWork | None = None, **changes: Any) -> dict[str, Any]:
    house = replace(bench.house(), accepted=accepted or AcceptedWork(bench.ledger.read))
    return await Dispatcher(house).run(replace(bench.delegation(), **changes))


async def test_an_accepted_result_is_handed_back_at_no_cost(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, ["good"])
    bench.output = Output(file="out.md")
    first = await run(bench)
    (bench.project / "out.md").unlink()
    second = await run(bench)
    assert second["reused"] == first["run"] != second["run"]
    assert (second["result"], second["outcome"], second["exit"]) == ("good", "accepted", 0)
    assert (second["calls"], second["cost_usd"], second["usage"]["total"]) == (0, "0.0", 0)
    assert second["checks"] == first["checks"]
    assert (bench.project / "out.md").read_text() == "good\n"
    assert len(bench.provider.requests) == 1
    *_, end = bench.ledger.entries
    assert isinstance(end, RunEnd)
    assert (end.reused, end.cost_nusd, end.calls, end.outcome) == (first["run"], 0, 0, "accepted")
    facts = fold(bench.ledger.read(), bench.house().now())
    assert sum(fact.cost_nusd or 0 for fact in facts.calls) == bench.ledger.entries[2].cost_nusd


async def test_the_original_is_named_however_often_it_is_handed_back(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, ["good"])
    accepted = AcceptedWork(bench.ledger.read)
    records = [await run(bench, accepted) for _ in range(3)]
    assert [record["reused"] for record in records] == [None, "run-1", "run-1"]


async def test_a_value_comes_back_as_one(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, ['{"n": 3}'], good='{"n": 3}')
    bench.output = Output(schema=NUMBER)
    assert [(await run(bench))["result"] for _ in range(2)] == [{"n": 3}, {"n": 3}]


@pytest.mark.parametrize(
    "changes",
    [{"reuse": False}, {"work_digest": "x" * 64}],
    ids=["it is not wanted", "the work is another"],
)
async def test_work_is_done_where(tmp_path: Path, changes: dict[str, Any]) -> None:
    bench = bench_of(tmp_path, ["good", "good"])
    await run(bench)
    assert (await run(bench, **changes))["reused"] is None
    assert len(bench.provider.requests) == 2


async def test_what_was_rejected_or_unchecked_is_done_again(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, ["bad", "good", "good"])
    assert (await run(bench))["outcome"] == "rejected"
    assert (await run(bench, checks=()))["outcome"] == "unchecked"
    assert (await run(bench))["reused"] is None
    assert (await run(bench))["reused"] == "run-3"


async def test_a_person_who_rejects_it_has_the_last_word(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, ["good", "good"])
    await run(bench)
    at = "2026-11-23T13:00:00.000Z"
    await bench.ledger.append(Verdict(at=at, run="run-1", verdict="rejected", by="ada"))
    assert (await run(bench))["reused"] is None


@pytest.mark.parametrize("damage", ["gone", "changed"])
async def test_a_result_that_is_not_what_was_accepted_is_not_handed_back(
    tmp_path: Path, damage: str
) -> None:
    bench = bench_of(tmp_path, ["good", "good"])
    await run(bench)
    result = tmp_path / "runs" / "run-1" / "result.txt"
    result.unlink() if damage == "gone" else result.write_text("evil")
    record = await run(bench)
    assert (record["reused"], record["result"]) == (None, "good")


async def test_checks_judge_again_what_is_handed_back_and_nobody_is_asked(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, ["good", "better"])
    verdict: list[Any] = ["passed"]
    check, judge = FakeCheck(lambda text: verdict[0]), FakeCheck(lambda text: "passed", asks=True)
    accepted = AcceptedWork(bench.ledger.read)
    checks = [check, judge]
    first = await run(bench, accepted, checks=checks)
    second = await run(bench, accepted, checks=checks)
    assert (second["reused"], second["result"], second["checks"]) == ("run-1", "good", first["checks"])
    assert (check.judged, judge.judged) == (2, 1)
    verdict[0] = "failed"
    third = await run(bench, accepted, checks=checks)
    assert (third["reused"], third["result"], third["outcome"]) == (None, "better", "rejected")
    (told,) = [event.data for event in bench.events if event.kind == "done-again"]
    assert told == {"run": "run-1", "reason": "fake: it says 'good'"}
    assert [event.kind for event in bench.transcript(3)].count("check") == 2


@dataclass
class Stopping(FakeCheck):
    """Ends the run when it judges for the second time."""

    stop: Stop = field(default_factory=Stop)

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        if self.judged == 1:
            self.stop.now(ExitCode.INTERRUPTED)
        found = await super().judge(candidate, context)
        await anyio.lowlevel.checkpoint()
        return found


class Writing(FakeTool):
    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        context.workspace.write_bytes("app.py", b"mended\n")
        return ToolOutput("written")


async def test_work_that_was_looked_at_when_the_run_was_cut_short_is_not_there_when_it_goes_on(
    tmp_path: Path,
) -> None:
    turns = [call("write"), Say("mended"), Say("nothing to do")]
    stop = Stop()
    check = Stopping(lambda text: "passed", stop=stop)
    options = {"checks": [check], "reuse": True, "work_digest": "w" * 64}
    bench = RunBench(tmp_path, turns, [Writing("write")], options=options)
    bench.options["isolation"] = Isolation()
    bench.options["confinement"] = Confinement(write=("**",))
    Place(bench.project, tmp_path).make()
    assert (await run(bench))["patch"]["files"] == ["app.py"]
    house = replace(bench.house(), accepted=AcceptedWork(bench.ledger.read))
    cut = await Dispatcher(house).run(bench.delegation(), stop)
    assert (cut["run"], cut["status"], may_resume(cut)) == ("run-2", "interrupted", True)
    record = await Dispatcher(house).resume("run-2", bench.delegation())
    assert (record["result"], record["reused"], record["patch"]["files"]) == ("nothing to do", None, [])


async def test_a_check_that_a_person_has_overruled_does_not_count_against_it(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, ["so"])
    assert (await run(bench))["outcome"] == "rejected"
    at = "2026-11-23T13:00:00.000Z"
    await bench.ledger.append(Verdict(at=at, run="run-1", verdict="accepted", by="ada"))
    record = await run(bench)
    assert (record["reused"], record["outcome"]) == ("run-1", "accepted")
