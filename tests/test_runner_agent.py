"""The agent loop: what it does with what a model says, and when it stops."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import anyio
import pytest
from run_bench import FakeTool, RunBench, failing

from meshclaw.budgets import Budget
from meshclaw.errors import FailureKind, ProviderError
from meshclaw.messages import Request, StopReason, Text, ToolResult
from meshclaw.policies import Effects, TaskPolicy
from meshclaw.runners.agent import NUDGE
from meshclaw.tasks import Output
from meshclaw.testing import Say, ScriptedProvider, call
from meshclaw.usage import Usage

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


async def test_an_answer_without_tools_ends_the_run(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [Say("42")])
    record = await bench.run()
    assert (record["status"], record["outcome"], record["exit"]) == ("succeeded", "unchecked", 0)
    assert (record["result"], record["steps"], record["calls"]) == ("42", 1, 1)
    assert bench.kinds() == ["start", "request", "response", "end"]


async def test_tool_results_go_back_in_the_order_of_the_calls(tmp_path: Path) -> None:
    tool = FakeTool("read", lambda arguments: f"file {arguments['n']}")
    bench = RunBench(
        tmp_path, [Say("looking", calls=[("read", {"n": 1}), ("read", {"n": 2})]), Say("ok")], [tool]
    )
    await bench.run()
    parts = bench.provider.requests[1].messages[-1].parts
    assert parts == (ToolResult("call_1_1", "file 1"), ToolResult("call_1_2", "file 2"))
    assert bench.kinds() == [
        *("start", "request", "response", "tool-start", "tool-start", "tool-result", "tool-result"),
        *("request", "response", "end"),
    ]


async def test_reads_run_side_by_side_and_a_write_waits_for_them(tmp_path: Path) -> None:
    order: list[str] = []

    def note(what: str) -> str:
        order.append(what)
        return what

    together = anyio.Event()

    class Slow(FakeTool):
        async def call(self, arguments, context):  # type: ignore[no-untyped-def]
            order.append(f"begin {self.spec.name}")
            if len(order) == 2:
                together.set()
            await together.wait()
            order.append(f"end {self.spec.name}")
            return await super().call(arguments, context)

    writer = FakeTool("write", lambda _: note("write"), Effects(writes=("a",)))
    bench = RunBench(
        tmp_path,
        [Say(calls=[("one", {}), ("two", {}), ("write", {})]), Say("ok")],
        [Slow("one"), Slow("two"), writer],
    )
    bench.policy = TaskPolicy(["a"])
    with anyio.fail_after(5):
        await bench.run()
    assert order[:2] == ["begin one", "begin two"]
    assert order[-1] == "write"


async def test_errors_of_tools_go_back_to_the_model(tmp_path: Path) -> None:
    tools = [FakeTool("read", failing("there is no such file"), parameters=NUMBER)]
    turns = [call("read", n=1), Say(calls=[("read", "{broken")]), call("raed"), Say("gave up")]
    bench = RunBench(tmp_path, turns, tools)
    record = await bench.run()
    assert record["status"] == "succeeded"
    results = [event.data for event in bench.transcript() if event.kind == "tool-result"]
    assert [result["is_error"] for result in results] == [True, True, True]
    assert "no such file" in results[0]["content"]
    assert "JSON" in results[1]["content"]
    assert "read" in results[2]["content"]


async def test_the_history_only_grows_so_every_request_begins_with_the_one_before(tmp_path: Path) -> None:
    tools = [FakeTool("read", lambda arguments: "x" * arguments["n"], parameters=NUMBER)]
    bench = RunBench(tmp_path, [*(call("read", n=n) for n in range(10)), Say("ok")], tools)
    await bench.run()
    for before, after in zip(bench.provider.requests, bench.provider.requests[1:], strict=False):
        assert after.messages[: len(before.messages)] == before.messages
        assert (after.system, after.tools) == (before.system, before.tools)


async def test_going_in_circles_is_told_once_and_then_ends_the_run(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [call("read", n=1) for _ in range(9)], [FakeTool("read", parameters=NUMBER)])
    record = await bench.run()
    assert (record["status"], record["exit"], record["steps"]) == ("failed", 1, 4)
    assert "circles" in record["reason"]
    notices = [event.data["why"] for event in bench.transcript() if event.kind == "notice"]
    assert notices == ["circle"]


def changing(edits: Iterable[int]) -> list[Say]:
    """Edits, each followed by the same look; then an answer."""
    return [turn for n in edits for turn in (call("edit", n=n), call("read", n=0))] + [Say("ok")]


@pytest.mark.parametrize(
    ("edits", "status", "notices"),
    [(range(6), "succeeded", []), ([0, 1] * 4, "failed", ["circle"] * 2)],
    ids=["new each time", "back and forth"],
)
async def test_looking_again_after_a_new_change_is_no_circle(
    tmp_path: Path, edits: Iterable[int], status: str, notices: list[str]
) -> None:
    write = Effects(writes=("a.py",))
    tools = [FakeTool("edit", effects=write, parameters=NUMBER), FakeTool("read", parameters=NUMBER)]
    bench = RunBench(tmp_path, changing(edits), tools, policy=TaskPolicy(["a.py"]))
    assert (await bench.run())["status"] == status
    assert [event.data["why"] for event in bench.transcript() if event.kind == "notice"] == notices


async def test_each_circle_is_told_before_it_ends_the_run(tmp_path: Path) -> None:
    calls = [call("read", n=n) for n in (1, 1, 1, 2, 2, 2)]
    tools = [FakeTool("read", parameters=NUMBER)]
    for name in ("told", "again"):
        (tmp_path / name).mkdir()
    assert (await RunBench(tmp_path / "told", [*calls, Say("ok")], tools).run())["status"] == "succeeded"
    again = RunBench(tmp_path / "again", [*calls, call("read", n=1)], tools)
    assert (await again.run())["reason"].startswith("went in circles")


async def test_the_same_call_with_another_result_is_no_circle(tmp_path: Path) -> None:
    numbers = iter(range(100))
    tools = [FakeTool("poll", lambda _: str(next(numbers)))]
    record = await RunBench(tmp_path, [*(call("poll") for _ in range(8)), Say("ready")], tools).run()
    assert record["status"] == "succeeded"


async def test_insisting_on_a_denied_call_is_refused_with_what_would_allow_it(tmp_path: Path) -> None:
    tools = [FakeTool("write", effects=Effects(writes=("src/a.py",)))]
    bench = RunBench(tmp_path, [call("write") for _ in range(9)], tools)
    record = await bench.run()
    assert (record["status"], record["exit"], record["steps"]) == ("refused", 6, 3)
    assert len(record["denied"]) == 1
    assert "allow.write" in record["denied"][0]
    assert tools[0].calls == []


async def test_a_refusal_fails_the_run(tmp_path: Path) -> None:
    record = await RunBench(tmp_path, [Say("I cannot help with that.", stop=StopReason.REFUSAL)]).run()
    assert (record["status"], record["exit"], record["reason"]) == ("failed", 1, "the model refused")


@pytest.mark.parametrize("text", ["", "  \n"])
async def test_an_empty_answer_gets_one_more_chance_and_is_never_a_success(
    tmp_path: Path, text: str
) -> None:
    record = await RunBench(tmp_path, [Say(text), Say(text), Say("late")]).run()
    assert (record["status"], record["exit"]) == ("failed", 1)
    assert "empty" in record["reason"]
    (tmp_path / "again").mkdir()
    assert (await RunBench(tmp_path / "again", [Say(text), Say("here")]).run())["result"] == "here"


async def test_a_cut_off_answer_is_asked_for_again(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [Say("half an ans", stop=StopReason.MAX_OUTPUT), Say("an answer")])
    assert (await bench.run())["result"] == "an answer"
    cut = RunBench(tmp_path, [Say("half", stop=StopReason.MAX_OUTPUT)] * 2)
    assert (await cut.run())["status"] == "failed"


async def test_a_paused_turn_is_continued(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [Say("wait", stop=StopReason.PAUSED), Say("done")])
    assert (await bench.run())["result"] == "done"


async def test_the_steps_budget_ends_the_run(tmp_path: Path) -> None:
    numbers = iter(range(100))
    tools = [FakeTool("poll", lambda _: str(next(numbers)))]
    bench = RunBench(tmp_path, [call("poll") for _ in range(9)], tools, budget=Budget(steps=5))
    record = await bench.run()
    assert (record["status"], record["exit"], record["steps"], record["calls"]) == ("over_budget", 4, 5, 5)
    notices = [event.data["text"] for event in bench.transcript() if event.kind == "notice"]
    assert notices == ["80% of this run's budget is used. Give your final answer now."]


async def test_the_tokens_budget_ends_the_run_before_the_call_that_would_pass_it(tmp_path: Path) -> None:
    tools = [FakeTool("read", lambda _: "x" * 5_000)]
    turns = [Say(calls=[("read", {})], usage=Usage(input=1_700, output=20)) for _ in range(9)]
    bench = RunBench(tmp_path, turns, tools, budget=Budget(tokens=10_000), prompt="x" * 1_700)
    record = await bench.run()
    assert (record["status"], record["exit"]) == ("over_budget", 4)
    assert record["usage"]["total"] <= 10_000
    assert "tokens" in record["reason"]


async def test_small_models_are_reminded_after_every_tool_result(tmp_path: Path) -> None:
    provider = ScriptedProvider([call("read"), Say("ok")], nudge=True, free=False)
    await RunBench(tmp_path, tools=[FakeTool("read")], provider=provider).run()
    assert provider.requests[1].messages[-1].parts[-1] == Text(NUDGE)


async def test_a_schema_is_checked_and_a_fence_taken_off(tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    turns = [Say('{"n": "one"}'), Say('```json\n{"n": 1}\n```')]
    bench = RunBench(tmp_path, turns, output=Output(schema=schema))
    record = await bench.run()
    assert (record["status"], record["result"]) == ("succeeded", {"n": 1})
    assert "$.n" in bench.provider.requests[1].messages[-1].text


async def test_near_the_window_older_outputs_become_stubs_and_the_transcript_keeps_all(
    tmp_path: Path,
) -> None:
    def grow(request: Request) -> Say:
        size = sum(
            len(part.content)
            for message in request.messages
            for part in message.parts
            if isinstance(part, ToolResult)
        )
        return Say(
            calls=[("read", {"n": len(request.messages)})], usage=Usage(input=size // 3 + 100, output=20)
        )

    tools = [FakeTool("read", lambda arguments: f"{arguments['n']:06} " * 900, parameters=NUMBER)]
    provider = ScriptedProvider([*[grow] * 12, Say("done")], window=8_000, free=False)
    bench = RunBench(tmp_path, provider=provider, tools=tools)
    record = await bench.run()
    assert record["status"] == "succeeded"
    assert "compaction" in bench.kinds()
    stubbed = [
        part.content for part in provider.requests[-1].messages[2].parts if isinstance(part, ToolResult)
    ]
    assert stubbed == ["[output of read removed to make room: 6300 characters]"]
    whole = [event.data["content"] for event in bench.transcript() if event.kind == "tool-result"]
    assert len(whole) == 12
    assert all(len(content) == 6_300 for content in whole)


async def test_a_window_that_cannot_hold_the_work_has_its_own_reason(tmp_path: Path) -> None:
    too_long = ProviderError(FailureKind.CONTEXT_TOO_LONG, "too long")
    record = await RunBench(tmp_path, [too_long]).run()
    assert (record["status"], record["exit"]) == ("failed", 1)
    assert "window is full" in record["reason"]


async def test_a_full_window_is_told_with_sizes_and_a_remedy(tmp_path: Path) -> None:
    provider = ScriptedProvider([], window=10_000)
    bench = RunBench(tmp_path, provider=provider, prompt="x" * 30_000)
    assert (await bench.run())["reason"] == (
        "the model's window is full: about 10,000 tokens, where it holds 10,000, with 1,000 of them for its"
        " answer - give it fewer or shorter inputs, or another model"
    )
    assert provider.requests == []


async def test_a_context_error_of_the_provider_makes_room_and_goes_on(tmp_path: Path) -> None:
    tools = [FakeTool("read", lambda _: "x" * 4_000)]
    too_long = ProviderError(FailureKind.CONTEXT_TOO_LONG, "too long")
    bench = RunBench(tmp_path, [call("read"), too_long, Say("done")], tools)
    assert (await bench.run())["status"] == "succeeded"
    assert bench.kinds().count("compaction") == 1


async def test_the_same_work_gives_the_same_transcript_byte_for_byte(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        tools = [FakeTool("read", lambda arguments: f"file {arguments['n']}", parameters=NUMBER)]
        bench = RunBench(tmp_path / name, [call("read", n=1), call("read", n=2), Say("ok")], tools)
        await bench.run()
        files.append((tmp_path / name / "runs" / "run-1" / "transcript.jsonl").read_bytes())
    assert files[0] == files[1]
