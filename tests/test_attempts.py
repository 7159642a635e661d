"""Attempts, each told what was wrong with the one before; checks decide what counts as done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from repository_place import Place
from run_bench import FakeTool, RunBench

from meshclaw.budgets import Budget
from meshclaw.checks import CheckContext, CheckResult, CheckStatus, Question
from meshclaw.dispatch import Dispatcher, Isolation, Rung, may_resume
from meshclaw.errors import FailureKind, ProviderError
from meshclaw.ledger.entry import Call, RunEnd
from meshclaw.messages import Request
from meshclaw.runners.prompt import PromptRunner
from meshclaw.runs import Candidate
from meshclaw.tasks import Output
from meshclaw.testing import Say, ScriptedProvider, call
from meshclaw.usage import Usage

NUMBER = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


@dataclass
class FakeCheck:
    """Judges by a function of the candidate's text; the evidence is the text itself."""

    judges: Callable[[str], CheckStatus]
    label: str = "fake"
    kind: str = "fake"
    needs_changes: bool = False
    asks: bool = False
    judged: int = 0

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        self.judged += 1
        status = self.judges(candidate.text)
        reason = "" if status == "passed" else f"it says {candidate.text!r}"
        return CheckResult(self.kind, self.label, status, reason, evidence=f"evidence: {candidate.text}")


def only(text: str) -> FakeCheck:
    return FakeCheck(lambda found: "passed" if found == text else "failed")


def bench_of(tmp_path: Path, turns: Sequence[Any], checks: Sequence[Any], **options: Any) -> RunBench:
    return RunBench(tmp_path, turns, options={"checks": checks, **options})


def asked(provider: Any, number: int) -> str:
    request: Request = provider.requests[number]
    return request.messages[-1].text


async def test_what_passes_its_checks_is_accepted(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, [Say("good")], [only("good"), only("good")])
    record = await bench.run()
    assert (record["status"], record["outcome"], record["exit"]) == ("succeeded", "accepted", 0)
    assert [check["status"] for check in record["checks"]] == ["passed", "passed"]
    end = bench.ledger.entries[-1]
    assert (end.outcome, end.attempts, len(end.checks)) == ("accepted", 1, 2)


async def test_what_fails_a_check_is_rejected_and_says_why_in_one_line(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, [Say("bad")], [only("good"), only("bad")], output_file="out.md")
    bench.output = Output(file="out.md")
    bench.options.pop("output_file")
    record = await bench.run()
    assert (record["outcome"], record["exit"]) == ("rejected", 3)
    assert record["reason"] == "fake: it says 'bad'"
    assert [check["status"] for check in record["checks"]] == ["failed", "passed"]
    assert not (bench.project / "out.md").exists()
    assert bench.ledger.entries[-1].outcome == "rejected"


@pytest.mark.parametrize("status", ["error", "pending"])
async def test_an_error_never_passes_and_a_person_is_waited_for(tmp_path: Path, status: Any) -> None:
    bench = bench_of(tmp_path, [Say("x")], [FakeCheck(lambda text: status)], attempts=3)
    record = await bench.run()
    assert record["outcome"] == {"error": "rejected", "pending": "pending"}[status]
    assert (record["exit"], record["attempts"], record["calls"]) == (3, 1, 1)


async def test_the_next_attempt_goes_on_with_the_history_and_the_evidence(tmp_path: Path) -> None:
    tool = FakeTool("read", lambda arguments: "the file")
    bench = bench_of(tmp_path, [call("read"), Say("bad"), Say("good")], [only("good")], attempts=3)
    bench.tools = [tool]
    record = await bench.run()
    assert (record["outcome"], record["attempts"], record["steps"]) == ("accepted", 2, 3)
    assert len(tool.calls) == 1
    before, after = bench.provider.requests[1:]
    assert after.messages[: len(before.messages)] == before.messages
    assert "evidence: bad" in asked(bench.provider, 2)
    assert bench.kinds().count("attempt") == 1
    assert bench.kinds().count("start") == 1


async def test_attempts_are_the_most_and_no_promise_to_spend(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, [Say("bad"), Say("worse"), Say("good")], [only("good")], attempts=2)
    record = await bench.run()
    assert (record["outcome"], record["attempts"], record["calls"]) == ("rejected", 2, 2)
    assert record["reason"] == "fake: it says 'worse'"


async def test_a_failed_check_climbs_the_ladder_and_the_run_pays_for_all(tmp_path: Path) -> None:
    usage = Usage(input=1_001, output=77)
    weak = ScriptedProvider([Say("bad", usage=usage)], free=False)
    strong = ScriptedProvider([Say("good", usage=usage)], free=False)
    bench = bench_of(
        tmp_path, [], [only("good")], attempts=2, stronger=[Rung("scripted/big", "big", strong)]
    )
    bench.provider = weak
    record = await bench.run()
    assert (record["outcome"], record["attempts"], record["model"]) == ("accepted", 2, "scripted/big")
    assert strong.requests[0].model == "big"
    assert "evidence: bad" in asked(strong, 0)
    calls = [entry for entry in bench.ledger.entries if isinstance(entry, Call)]
    end = bench.ledger.entries[-1]
    assert isinstance(end, RunEnd)
    assert [entry.call for entry in calls] == ["run-1/1.1.0", "run-1/2.2.0"]
    assert end.cost_nusd == sum(entry.cost_nusd or 0 for entry in calls) > 0
    assert (end.input, end.output, end.calls) == (2_002, 154, 2)


@pytest.mark.parametrize("runner", ["agent", "prompt"])
@pytest.mark.parametrize(
    ("answers", "reason"),
    [(["", ""], "the answer is empty"), (['{"n": "x"}', "{}"], "'n' is a required property")],
)
async def test_an_unfit_answer_is_rejected_where_checks_are_stated(
    tmp_path: Path, runner: str, answers: list[str], reason: str
) -> None:
    check = only("good")
    bench = bench_of(tmp_path, [Say(text) for text in answers], [check])
    if "{}" in answers:
        bench.output = Output(schema=NUMBER)
    if runner == "prompt":
        bench.runner = PromptRunner()
    record = await bench.run()
    assert (record["outcome"], record["exit"], check.judged) == ("rejected", 3, 0)
    assert reason in record["reason"]


async def test_a_refusal_is_no_reason_to_ask_the_same_model_again(tmp_path: Path) -> None:
    from meshclaw.messages import StopReason

    bench = bench_of(tmp_path, [Say("no", stop=StopReason.REFUSAL)], [only("good")], attempts=3)
    record = await bench.run()
    assert (record["exit"], record["attempts"], record["outcome"]) == (1, 1, "unchecked")


async def test_an_attempt_that_goes_in_circles_is_told_so(tmp_path: Path) -> None:
    turns = [Say("bad"), *[call("read")] * 4, Say("good")]
    bench = bench_of(tmp_path, turns, [only("good")], attempts=3)
    bench.tools = [FakeTool("read")]
    record = await bench.run()
    assert (record["outcome"], record["attempts"]) == ("accepted", 3)
    assert "went in circles" in asked(bench.provider, 5)


async def test_one_budget_holds_for_all_attempts(tmp_path: Path) -> None:
    turns = [Say("bad")] * 9
    bench = bench_of(tmp_path, turns, [only("good")], attempts=9)
    bench.budget = Budget(steps=3)
    record = await bench.run()
    assert (record["status"], record["exit"], record["calls"]) == ("over_budget", 4, 3)
    assert record["outcome"] == "rejected"


@dataclass
class FakeJudge:
    """Asks the judge whether the result is good, and takes its word."""

    kind: str = "judge"
    label: str = "judge"
    needs_changes: bool = False
    asks: bool = True

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        assert context.ask is not None
        answer = await context.ask(Question("You judge.", candidate.text, {"type": "object"}), None)
        status: CheckStatus = "passed" if answer.message.text == "yes" else "failed"
        return CheckResult(self.kind, self.label, status, evidence=answer.message.text)


async def test_a_judges_calls_are_metered_to_the_same_run(tmp_path: Path) -> None:
    judge = ScriptedProvider([Say("no: too long"), Say("yes")], free=False)
    judges = {"": Rung("scripted/judge", "judge", judge)}
    bench = bench_of(tmp_path, [Say("bad"), Say("good")], [FakeJudge()], attempts=2, judges=judges)
    record = await bench.run()
    assert (record["outcome"], record["attempts"], record["calls"]) == ("accepted", 2, 4)
    calls = [entry.call for entry in bench.ledger.entries if isinstance(entry, Call)]
    assert calls == ["run-1/1.1.0", "run-1/1.c1.0", "run-1/2.2.0", "run-1/2.c1.0"]
    assert "no: too long" in asked(bench.provider, 1)
    assert [request.model for request in judge.requests] == ["judge", "judge"]


async def test_a_judge_that_cannot_be_paid_ends_the_run_over_budget(tmp_path: Path) -> None:
    judge = ScriptedProvider([Say("yes")], free=False)
    judges = {"": Rung("scripted/judge", "judge", judge)}
    bench = bench_of(
        tmp_path, [Say("good", usage=Usage(input=900, output=300))], [FakeJudge()], judges=judges
    )
    bench.budget = replace(Budget(), tokens=1_700)
    record = await bench.run()
    assert (record["status"], record["exit"], record["calls"]) == ("over_budget", 4, 1)
    assert judge.requests == []


@pytest.mark.parametrize("copies", [False, True])
async def test_a_judges_outage_is_no_verdict_and_the_run_goes_on_from_there(
    tmp_path: Path, copies: bool
) -> None:
    lost = ProviderError(FailureKind.OVERLOADED, "busy")
    judge = ScriptedProvider([lost, Say("yes")], free=False)
    judges, check = {"": Rung("scripted/judge", "judge", judge)}, only("good")
    bench = bench_of(tmp_path, [Say("good")], [check, FakeJudge()], attempts=3, judges=judges)
    if copies:
        Place(bench.project, tmp_path).make()
        bench.options["isolation"] = Isolation()
    record = await bench.run()
    assert (record["status"], record["outcome"], record["exit"]) == ("failed", "unchecked", 7)
    assert record["reason"] == "judge: no answer: busy"
    assert may_resume(record)
    record = await Dispatcher(bench.house()).resume("run-1", bench.delegation())
    assert (record["status"], record["outcome"], record["exit"]) == ("succeeded", "accepted", 0)
    assert (check.judged, len(bench.provider.requests), len(judge.requests)) == (1, 1, 2)
    assert [one["status"] for one in record["checks"]] == ["passed", "passed"]
