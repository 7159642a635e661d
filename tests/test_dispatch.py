"""A run from its opening to its entry, however it ends."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from run_bench import FailingLedger, FakeTool, RunBench

from meshclaw.budgets import Budget
from meshclaw.dispatch import Stop
from meshclaw.errors import ExitCode, FailureKind, LedgerError, ProviderError
from meshclaw.ledger.entry import Call, RunEnd
from meshclaw.providers.retrying import Retrying
from meshclaw.runners.prompt import PromptRunner
from meshclaw.runs import RunDirectory
from meshclaw.tasks import Output
from meshclaw.testing import Say, call
from meshclaw.usage import Usage

NUMBER = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


async def test_the_run_entry_holds_the_sums_of_its_calls(tmp_path: Path) -> None:
    turns = [
        Say(calls=[("read", {})], usage=Usage(input=100, cache_write={"5m": 20}, output=7)),
        Say("done", usage=Usage(input=10, cache_read=120, output=5, reasoning=2)),
    ]
    bench = RunBench(tmp_path, turns, [FakeTool("read")])
    record = await bench.run()
    *_, end = bench.ledger.entries
    assert isinstance(end, RunEnd)
    calls = [entry for entry in bench.ledger.entries if isinstance(entry, Call)]
    assert (
        end.cost_nusd == sum(entry.cost_nusd or 0 for entry in calls) == (130 + 120) * 2_000 + 12 * 10_000
    )
    assert (end.input, end.cache_read, end.cache_write, end.output, end.reasoning) == (
        110,
        120,
        {"5m": 20},
        12,
        2,
    )
    assert record["cost_usd"] == "0.00062"
    assert record["usage"]["input_total"] == 250
    assert (end.status, end.outcome, end.steps, end.calls, end.who) == (
        "succeeded",
        "unchecked",
        2,
        2,
        "tester",
    )


async def test_a_last_call_over_its_bound_is_told(tmp_path: Path) -> None:
    record = await RunBench(tmp_path, [Say("done", usage=Usage(input=50_000, output=5))]).run()
    assert (record["status"], record["over_reserve"]) == ("succeeded", True)
    (problem,) = record["problems"]
    assert problem.startswith("call 1.1.0 took more than was reserved for it")


async def test_what_a_run_under_way_comes_to_is_unknown(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def look(_: Any) -> Say:
        seen.append(json.loads((tmp_path / "runs" / "run-1" / "run.json").read_text()))
        return Say("42")

    await RunBench(tmp_path, [look]).run()
    (record,) = seen
    keys = ("status", "exit", "steps", "calls", "cost_usd", "cost_state")
    assert [record[key] for key in keys] == ["running", None, None, None, None, "unknown"]
    assert set(record["usage"].values()) == {None}


async def test_the_record_on_disk_is_what_was_returned(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [Say("42")])
    record = await bench.run()
    assert json.loads((tmp_path / "runs" / "run-1" / "run.json").read_bytes()) == record
    assert (tmp_path / "runs" / "run-1" / "result.txt").read_text() == "42"
    assert list((tmp_path / "active").iterdir()) == []


async def test_a_failed_provider_is_exit_7_and_the_calls_are_in_the_ledger(tmp_path: Path) -> None:
    errors: list[Any] = [
        ProviderError(FailureKind.OVERLOADED, "the provider is overloaded", hint="try later")
    ] * 3

    async def no_sleep(seconds: float) -> None:
        await anyio.lowlevel.checkpoint()

    bench = RunBench(tmp_path, errors)
    bench.retrying = lambda inner, tell: Retrying(inner, attempts=3, sleep=no_sleep, on_retry=tell)
    record = await bench.run()
    assert (record["status"], record["exit"], record["calls"]) == ("failed", 7, 3)
    assert "overloaded" in record["reason"]
    assert record["cost_usd"] == "0.0"
    assert [event.kind for event in bench.events].count("retry") == 2


async def test_a_content_refusal_by_the_provider_is_work_that_failed(tmp_path: Path) -> None:
    record = await RunBench(tmp_path, [ProviderError(FailureKind.CONTENT_REFUSED, "refused")]).run()
    assert (record["status"], record["exit"]) == ("failed", 1)


async def test_a_broken_call_makes_the_cost_unknown_and_never_zero(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [ProviderError(FailureKind.TRUNCATED, "broke off", billed=True)])
    record = await bench.run()
    assert (record["exit"], record["cost_usd"], record["cost_state"]) == (7, None, "unknown")
    assert record["usage"]["total"] is None


async def test_the_time_limit_ends_a_run_that_hangs(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [Say("late", latency=60)], budget=Budget(time=0.1))
    with anyio.fail_after(10):
        record = await bench.run()
    assert (record["status"], record["exit"]) == ("timed_out", 5)
    (entry,) = [entry for entry in bench.ledger.entries if isinstance(entry, Call)]
    assert (entry.status, entry.possibly_billed) == ("aborted", True)


@pytest.mark.parametrize("code", [ExitCode.INTERRUPTED, ExitCode.TERMINATED])
async def test_stopping_a_run_ends_it_cleanly(tmp_path: Path, code: ExitCode) -> None:
    bench = RunBench(tmp_path, [Say("late", latency=60)])
    stop = Stop()
    async with anyio.create_task_group() as group:

        async def interrupt() -> None:
            while not any(event.kind == "request" for event in bench.events):
                await anyio.sleep(0.01)
            stop.now(code)

        group.start_soon(interrupt)
        with anyio.fail_after(10):
            record = await bench.run(stop)
    assert (record["status"], record["exit"]) == ("interrupted", int(code))
    assert isinstance(bench.ledger.entries[-1], RunEnd)
    assert bench.kinds()[-1] == "end"


async def test_cancelling_the_task_from_outside_still_writes_the_end(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [Say("late", latency=60)])
    async with anyio.create_task_group() as group:
        group.start_soon(bench.run)
        while not any(event.kind == "request" for event in bench.events):
            await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    end = bench.ledger.entries[-1]
    assert isinstance(end, RunEnd)
    assert end.status == "interrupted"


async def test_without_a_ledger_nothing_is_asked(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [Say("hi")], ledger=FailingLedger(1))
    with pytest.raises(LedgerError) as caught:
        await bench.run()
    assert (caught.value.exit_code, caught.value.run) == (9, "run-1")
    assert bench.provider.requests == []


@pytest.mark.parametrize(("appends", "resumable"), [(1, True), (2, True), (3, False)])
async def test_a_run_whose_end_the_ledger_did_not_take_says_whether_it_goes_on(
    tmp_path: Path, appends: int, resumable: bool
) -> None:
    """The third append is its end: the work itself was done."""
    bench = RunBench(tmp_path, [Say("hi")], ledger=FailingLedger(appends))
    with pytest.raises(LedgerError) as caught:
        await bench.run()
    assert (caught.value.run, caught.value.resumable) == ("run-1", resumable)


async def test_when_the_ledger_fails_after_a_response_nothing_more_is_spent(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [call("read"), Say("never")], [FakeTool("read")], ledger=FailingLedger(2))
    with pytest.raises(LedgerError):
        await bench.run()
    assert len(bench.provider.requests) == 1
    assert "response" in bench.kinds(), "what was paid for is kept, for recovery to enter"
    assert list((tmp_path / "active").iterdir())


async def test_the_result_goes_to_the_file_that_the_task_names(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [Say("# Report")], output=Output(file="reports/today.md"))
    record = await bench.run()
    assert record["output_file"] == "reports/today.md"
    assert (bench.project / "reports" / "today.md").read_text() == "# Report\n"


async def test_a_result_is_not_written_through_a_link_out_of_the_project(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    bench = RunBench(tmp_path, [Say("text"), Say("text")], output=Output(file="reports/today.md"))
    (bench.project / "reports").symlink_to(outside)
    record = await bench.run()
    assert (record["status"], record["exit"], record["output_file"]) == ("failed", 1, None)
    assert list(outside.iterdir()) == []
    (bench.project / "reports").unlink()
    assert (await bench.run())["exit"] == 0, "the same work succeeds without the link"


async def test_a_failed_run_writes_no_output_file(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [Say(""), Say("")], output=Output(file="out.md"))
    assert (await bench.run())["exit"] == 1
    assert list(bench.project.iterdir()) == []


async def test_secrets_reach_neither_disk_nor_ledger_nor_the_next_request(tmp_path: Path) -> None:
    secret = "correct-horse-battery"
    tools = [FakeTool("read", lambda _: f"password={secret}")]
    turns = [Say(f"I see {secret}", calls=[("read", {"path": secret})]), Say(f"It is {secret}.")]
    bench = RunBench(tmp_path, turns, tools, secrets=[secret])
    record = await bench.run()
    written = b"".join(path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file())
    assert secret.encode() not in written
    assert b"[redacted]" in written
    assert secret not in repr(bench.ledger.entries)
    assert secret not in repr(bench.provider.requests[1])
    assert secret not in repr(bench.events)
    assert record["result"] == "It is [redacted]."


async def test_many_runs_side_by_side_keep_apart(tmp_path: Path) -> None:
    tools = [FakeTool("read", lambda arguments: str(arguments["n"]), parameters=NUMBER)]
    bench = RunBench(tmp_path)
    results: list[dict[str, Any]] = []

    async def one(number: int) -> None:
        own = RunBench(tmp_path, [call("read", n=number), Say(f"run {number}")], tools, ledger=bench.ledger)
        own.numbers = number * 10
        results.append(await own.run())

    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(one, number)
    assert sorted(record["result"] for record in results) == sorted(f"run {number}" for number in range(40))
    assert len({entry.call for entry in bench.ledger.entries if isinstance(entry, Call)}) == 80


async def test_the_prompt_runner_repairs_once(tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["n"]}
    bench = RunBench(
        tmp_path, [Say("no json"), Say('{"n": 1}')], runner=PromptRunner(), output=Output(schema=schema)
    )
    record = await bench.run()
    assert (record["status"], record["result"], record["calls"]) == ("succeeded", {"n": 1}, 2)
    assert bench.kinds() == ["start", "request", "response", "notice", "request", "response", "end"]
    assert bench.provider.requests[0].tools == ()


async def test_the_prompt_runner_fails_after_its_one_repair(tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["n"]}
    bench = RunBench(tmp_path, [Say("no json")] * 3, runner=PromptRunner(), output=Output(schema=schema))
    record = await bench.run()
    assert (record["status"], record["exit"], record["calls"]) == ("failed", 1, 2)
    assert "not JSON" in record["reason"]


async def test_a_stated_dollar_limit_refuses_a_model_without_a_price(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [Say("hi")], budget=Budget(usd=Decimal(1), usd_stated=True))
    bench.provider.name = "nobody"
    record = await bench.run()
    assert (record["status"], record["exit"], record["calls"]) == ("over_budget", 4, 0)
    assert "no known price" in record["reason"]


async def test_inputs_that_cannot_be_kept_end_the_run_as_failed(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [Say("never")], options={"input_files": {"a/b": b"text"}})
    with pytest.raises(FileNotFoundError):
        await bench.run()
    record = RunDirectory(tmp_path / "runs" / "run-1").read_record()
    assert (record["status"], record["exit"]) == ("failed", 1)
    assert "FileNotFoundError" in record["reason"]
    assert [entry.kind for entry in bench.ledger.entries] == ["run"]
    assert list((tmp_path / "active").iterdir()) == []
    assert bench.provider.requests == []
