"""A batch: each item once, in order of need, within one budget, whatever ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from shutil import rmtree
from typing import Any

import anyio
import pytest
from run_bench import NOW, RunBench

from meshclaw.batches.conductor import Conductor, Terms, worst
from meshclaw.batches.journal import BatchDirectory, Progress, read_progress
from meshclaw.batches.plan import Item, Plan
from meshclaw.batches.records import batch_record, spent_before, word_of
from meshclaw.budgets import NO_LIMITS, Budget, BudgetMeter
from meshclaw.dispatch import Delegation
from meshclaw.errors import ExitCode, FailureKind, LedgerError, Problem, ProblemsError, ProviderError
from meshclaw.ledger.entry import Call, RunEnd
from meshclaw.messages import Request
from meshclaw.tasks import Axis, Matrix, Param, Task
from meshclaw.testing import MemoryLedger, Say, ScriptedProvider, Turn
from meshclaw.usage import Usage

NUMBERS = Task("job", "x", params=(Param("n", "integer"),), matrix=Matrix((Axis("n", (1,)),)))
LATE = Say("late", latency=60)


def matrix(count: int, **needs: tuple[int, ...]) -> Plan:
    items = tuple(Item(number, "job", {"n": number}) for number in range(1, count + 1))
    return Plan(NUMBERS, {"job": NUMBERS}, items)


def chain(*needs: Mapping[str, tuple[int, ...]]) -> Plan:
    """One task an item; the last one is what was asked for."""
    tasks = {f"t{number}": Task(f"t{number}", "x") for number in range(1, len(needs) + 1)}
    items = tuple(Item(number, f"t{number}", {}, given) for number, given in enumerate(needs, 1))
    return Plan(tasks[f"t{len(needs)}"], tasks, items)


Answer = Callable[[Item, Request], Turn]


def fine(item: Item, request: Request) -> Turn:
    return Say(f"answer {item.number}")


@dataclass
class Bench:
    """`run()` carries out a plan, `go_on()` what is left; `asked` and `handed` say what was done."""

    folder: Path
    plan: Plan
    answer: Answer = fine
    budget: Budget = NO_LIMITS
    own: Budget = field(default_factory=Budget)
    jobs: int = 2
    fail_fast: bool = False
    time: float | None = None
    ledger: Any = field(default_factory=MemoryLedger)

    def __post_init__(self) -> None:
        self.asked: list[int] = []
        self.handed: dict[int, dict[str, str]] = {}
        self.refuse: dict[int, Exception] = {}
        self.at_once = self.most_at_once = self.most_held = 0
        self.bench = RunBench(self.folder, ledger=self.ledger)
        self.directory = BatchDirectory(self.folder / "batches" / "b-1")
        self.conductor: Conductor

    async def run(self, progress: Progress | None = None) -> Mapping[int, Mapping[str, Any]]:
        meter = BudgetMeter(self.budget, whose="batch")
        if progress is not None:
            nusd, tokens, steps = spent_before(self.ledger.read(), progress.runs, NOW)
            meter.charge(nusd=nusd, tokens=tokens, steps=steps)
        self.meter = meter
        terms = Terms(self.jobs, self.fail_fast, self.time)
        with self.directory:
            self.conductor = Conductor(
                self.plan, self.directory, self.bench.house(), self._prepare, meter, terms
            )
            await self.conductor.run(progress or Progress())
        return self.conductor.records

    async def go_on(self) -> Mapping[int, Mapping[str, Any]]:
        return await self.run(self.progress())

    def progress(self) -> Progress:
        return read_progress(self.directory, self.folder / "runs")

    def words(self) -> list[str]:
        return [word_of(self.conductor.records[item.number]) for item in self.plan.items]

    def ends(self) -> list[RunEnd]:
        return [entry for entry in self.ledger.entries if isinstance(entry, RunEnd)]

    @asynccontextmanager
    async def _prepare(
        self, item: Item, results: Mapping[str, str], run: str | None
    ) -> AsyncIterator[Delegation]:
        if item.number in self.refuse:
            raise self.refuse[item.number]
        self.handed[item.number] = dict(results)

        provider = Asking(self, item)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield replace(self.bench.delegation(), provider=provider, params=item.params, budget=self.own)
        finally:
            self.at_once -= 1


class Asking(ScriptedProvider):
    """Notes who asks, and answers as the Bench says."""

    def __init__(self, bench: Bench, item: Item) -> None:
        super().__init__([], free=False)
        self._bench = bench
        self._item = item

    async def complete(self, request: Request, sink: Any) -> Any:
        self._bench.asked.append(self._item.number)
        self._bench.most_held = max(self._bench.most_held, self._bench.meter.held_nusd)
        self._turns.extend(
            [self._bench.answer(self._item, request)] * (len(self.requests) + 1 - len(self._turns))
        )
        return await super().complete(request, sink)


async def test_every_item_is_one_run_with_entries_that_name_the_batch(tmp_path: Path) -> None:
    bench = Bench(tmp_path, matrix(5))
    records = await bench.run()
    assert [records[number]["result"] for number in range(1, 6)] == [f"answer {n}" for n in range(1, 6)]
    assert bench.most_at_once == 2
    assert {(end.batch, end.status) for end in bench.ends()} == {("b-1", "succeeded")}
    assert len({end.run for end in bench.ends()}) == 5
    assert (bench.conductor.exit_code, bench.conductor.closed) == (0, "")
    assert bench.progress().done.keys() == {1, 2, 3, 4, 5}


async def test_what_is_needed_runs_first_and_hands_its_result_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, chain({}, {}, {"t1": (1,), "t2": (2,)}, {"t3": (3,)}))
    await bench.run()
    assert bench.handed[3] == {"t1": "answer 1\n", "t2": "answer 2\n"}
    assert bench.handed[4] == {"t3": "answer 3\n"}
    assert bench.most_at_once == 2, "what does not hang on each other runs side by side"
    assert bench.words() == ["unchecked"] * 4


async def test_a_whole_matrix_hands_on_every_result_under_its_name(tmp_path: Path) -> None:
    whole = Task("whole", "x")
    plan = matrix(2)
    items = (*plan.items, Item(3, "whole", {}, {"job": (1, 2)}))
    bench = Bench(tmp_path, Plan(whole, {"job": NUMBERS, "whole": whole}, items))
    await bench.run()
    assert bench.handed[3] == {"job": "==> n=1 <==\nanswer 1\n\n==> n=2 <==\nanswer 2\n"}


async def test_who_needs_what_failed_is_not_begun_and_the_rest_goes_on(tmp_path: Path) -> None:
    def answer(item: Item, request: Request) -> Turn:
        return Say("") if item.number == 1 else fine(item, request)

    bench = Bench(tmp_path, chain({}, {"t1": (1,)}, {"t2": (2,)}, {}, {"t4": (4,), "t3": (3,)}), answer)
    records = await bench.run()
    assert sorted(set(bench.asked)) == [1, 4]
    told = [event.data["item"] for event in bench.bench.events if event.kind == "item-end"]
    assert sorted(told) == [1, 2, 3, 4, 5]
    assert bench.words()[1:3] == ["not started", "not started"]
    assert records[2]["reason"] == f"'t1' ended {word_of(records[1])}"
    assert (records[3]["blocked"], records[5]["exit"]) == (True, None)
    assert bench.conductor.exit_code == records[1]["exit"] != 0


async def test_a_need_without_items_leaves_nothing_to_do(tmp_path: Path) -> None:
    bench = Bench(tmp_path, chain({}, {"none": ()}, {"t2": (2,)}))
    records = await bench.run()
    assert [records[number]["exit"] for number in (1, 2, 3)] == [0, 10, 10]
    assert bench.conductor.exit_code == 0
    alone = Bench(tmp_path, chain({"none": ()}))
    await alone.run()
    assert alone.conductor.exit_code == ExitCode.SKIPPED


async def test_fail_fast_begins_nothing_after_the_first_that_did_not_end_well(tmp_path: Path) -> None:
    def answer(item: Item, request: Request) -> Turn:
        return Say("") if item.number == 2 else fine(item, request)

    for fail_fast, begun in ((True, {1, 2}), (False, {1, 2, 3, 4})):
        folder = tmp_path / str(fail_fast)
        folder.mkdir()
        bench = Bench(folder, matrix(4), answer, jobs=1, fail_fast=fail_fast)
        records = await bench.run()
        assert set(bench.asked) == begun
        if fail_fast:
            assert bench.words()[2:] == ["not started"] * 2
            assert records[3]["reason"] == f"'n=2' ended {word_of(records[2])} (--fail-fast)"
            bench.answer = fine
            await bench.go_on()
            assert (bench.asked.count(1), set(bench.asked)) == (1, {1, 2, 3, 4}), "the rest is done later"


async def test_an_item_that_cannot_be_made_fails_alone(tmp_path: Path) -> None:
    bench = Bench(tmp_path, matrix(3))
    bench.refuse[2] = ProblemsError([Problem("t.yaml", 0, 0, "input 'log' is empty")])
    records = await bench.run()
    assert bench.words() == ["unchecked", "failed", "unchecked"]
    assert (records[2]["run"], records[2]["exit"], records[2]["problems"]) == (
        None,
        2,
        ["t.yaml: input 'log' is empty"],
    )
    assert bench.conductor.exit_code == 2
    del bench.refuse[2]
    await bench.go_on()
    assert (sorted(bench.asked), bench.asked[-1]) == ([1, 2, 3], 2), "what never began is begun later"


async def test_a_defect_in_one_run_is_that_items_failure(tmp_path: Path) -> None:
    def answer(item: Item, request: Request) -> Turn:
        if item.number == 2:
            raise RuntimeError("a plug-in broke")
        return fine(item, request)

    bench = Bench(tmp_path, matrix(3), answer)
    records = await bench.run()
    assert bench.words() == ["unchecked", "failed", "unchecked"]
    assert "a plug-in broke" in records[2]["reason"]
    assert len(bench.ends()) == 3


@pytest.mark.parametrize("code", [ExitCode.INTERRUPTED, ExitCode.TERMINATED])
async def test_stopping_ends_what_runs_and_going_on_does_the_rest_once(
    tmp_path: Path, code: ExitCode
) -> None:
    def answer(item: Item, request: Request) -> Turn:
        return LATE if item.number > 2 else fine(item, request)

    bench = Bench(tmp_path, matrix(6), answer)
    async with anyio.create_task_group() as group:
        group.start_soon(bench.run)
        with anyio.fail_after(20):
            while set(bench.asked) != {1, 2, 3, 4}:
                await anyio.sleep(0.01)
        bench.conductor.stop(code)
    assert bench.words() == ["unchecked"] * 2 + ["interrupted"] * 2 + ["not started"] * 2
    assert bench.conductor.exit_code == code
    bench.answer = fine
    before = list(bench.asked)
    await bench.go_on()
    assert bench.words() == ["unchecked"] * 6
    assert sorted(bench.asked[len(before) :]) == [3, 4, 5, 6]
    assert len({end.run for end in bench.ends()}) == 6, "what was cut short went on as the same run"
    assert bench.conductor.exit_code == 0


async def test_the_batchs_time_ends_what_runs(tmp_path: Path) -> None:
    bench = Bench(tmp_path, matrix(3), lambda item, request: LATE, time=0.2)
    with anyio.fail_after(20):
        await bench.run()
    assert bench.words() == ["interrupted", "interrupted", "not started"]
    assert bench.conductor.exit_code == ExitCode.DEADLINE
    assert bench.conductor.closed == "the batch's time limit of 0.2 s was reached"


async def test_no_reservation_of_any_run_passes_what_all_may_spend(tmp_path: Path) -> None:
    """Two dollars a million tokens in, ten out; every call takes 100 in and 400 out: 0.0042 dollars."""

    def answer(item: Item, request: Request) -> Turn:
        return Say("text", usage=Usage(input=100, output=400), latency=0.01)

    limit = Decimal("0.05")
    bench = Bench(tmp_path, matrix(40), answer, Budget(limit, None, None, None), jobs=8)
    records = await bench.run()
    ends = sum(end.cost_nusd or 0 for end in bench.ends())
    assert bench.meter.spent_nusd == ends <= limit * 10**9
    assert bench.most_held <= limit * 10**9
    assert bench.words().count("unchecked") == 11, "one more may cost 0.0053, and 0.0038 is left"
    assert bench.conductor.closed == "the batch's budget is used up"
    assert bench.conductor.exit_code == ExitCode.OVER_BUDGET
    over = next(record for record in records.values() if record["status"] == "over_budget")
    assert "of the batch is left - raise it with --budget usd=" in over["reason"]
    assert bench.words().count("not started") > 20

    bench.budget = replace(bench.budget, usd=Decimal("0.5"))
    before = len(bench.asked)
    await bench.go_on()
    assert bench.words() == ["unchecked"] * 40
    assert len(bench.asked) - before == 29
    calls = sum(entry.cost_nusd or 0 for entry in bench.ledger.entries if isinstance(entry, Call))
    assert bench.meter.spent_nusd == calls == 40 * 4_200_000


async def test_steps_and_tokens_of_all_runs_are_bounded_too(tmp_path: Path) -> None:
    for name, budget in (
        ("steps", Budget(None, None, 3, None)),
        ("tokens", Budget(None, 5_000, None, None)),
    ):
        folder = tmp_path / name
        folder.mkdir()
        bench = Bench(folder, matrix(60), budget=budget, jobs=1)
        await bench.run()
        assert bench.conductor.exit_code == ExitCode.OVER_BUDGET
        assert 3 <= bench.words().count("unchecked") < 60
        assert bench.meter.steps <= 3 if name == "steps" else bench.meter.spent_tokens <= 5_000


async def test_a_run_that_passes_its_own_budget_does_not_close_the_batch(tmp_path: Path) -> None:
    bench = Bench(tmp_path, matrix(3), own=Budget(None, 10, None, None))
    await bench.run()
    assert bench.words() == ["over budget"] * 3
    assert bench.conductor.closed == ""


async def test_a_ledger_that_cannot_be_written_ends_the_batch(tmp_path: Path) -> None:
    class Full(MemoryLedger):
        async def append(self, *entries: Any) -> None:
            if len(self.entries) > 8:
                raise LedgerError("the ledger cannot be written: the disk is full")
            await super().append(*entries)

    bench = Bench(tmp_path, matrix(20), ledger=Full())
    await bench.run()
    assert bench.conductor.exit_code == ExitCode.LEDGER
    assert bench.conductor.closed == "the ledger cannot be written: the disk is full"
    assert bench.words().count("not started") >= 14


async def test_a_provider_that_failed_is_asked_again_when_the_batch_goes_on(tmp_path: Path) -> None:
    def answer(item: Item, request: Request) -> Turn:
        down = item.number == 2
        return ProviderError(FailureKind.OVERLOADED, "overloaded") if down else fine(item, request)

    bench = Bench(tmp_path, matrix(3), answer)
    await bench.run()
    assert bench.conductor.exit_code == ExitCode.PROVIDER
    bench.answer = fine
    await bench.go_on()
    assert (sorted(bench.asked), bench.asked[-1]) == ([1, 2, 2, 3], 2)
    assert bench.words() == ["unchecked"] * 3


async def test_an_end_that_the_log_has_missed_is_read_from_the_run(tmp_path: Path) -> None:
    bench = Bench(tmp_path, matrix(3), jobs=1)
    await bench.run()
    log = bench.directory.transcript
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-1]) + lines[-1][:10])
    assert (bench.progress().unlogged, sorted(bench.progress().done)) == ([3], [1, 2, 3])
    await bench.go_on()
    assert bench.asked == [1, 2, 3]
    assert bench.progress().unlogged == []


async def test_a_result_that_is_gone_is_not_handed_on_as_something(tmp_path: Path) -> None:
    bench = Bench(tmp_path, chain({}, {"t1": (1,)}), jobs=1)
    bench.refuse[2] = ProblemsError([Problem("t2.yaml", 0, 0, "not yet")])
    await bench.run()
    del bench.refuse[2]
    rmtree(tmp_path / "runs")
    records = await bench.go_on()
    assert (bench.asked, records[1]["exit"], records[1]["result"]) == ([1], 0, None)
    assert "the result of 't1' is gone with its run's folder" in records[2]["reason"]


async def test_a_run_that_was_begun_and_left_nothing_is_begun_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, matrix(1))
    with bench.directory as directory:
        directory.transcript.write_text('{"event":"item-start","item":1,"run":"run-gone"}\n')
    await bench.go_on()
    assert (bench.asked, bench.words()) == ([1], ["unchecked"])


def test_a_log_of_something_else_is_a_problem(tmp_path: Path) -> None:
    directory = BatchDirectory(tmp_path)
    directory.transcript.write_text('{"event":"item-start","item":"x"}\n')
    with pytest.raises(ProblemsError, match="not the log of a batch"):
        read_progress(directory, tmp_path)


@pytest.mark.parametrize(
    ("codes", "code"),
    [((), 0), ((0, 0), 0), ((0, 3, 1), 3), ((10, 10), 10), ((10, 0), 0), ((None, 10), 10), ((10, 7, 4), 7)],
)
def test_the_worst_code_is_the_highest_and_a_closed_gate_counts_only_alone(
    codes: tuple[int | None, ...], code: int
) -> None:
    assert worst(codes) == code


async def test_a_batch_of_one_item_has_that_runs_result(tmp_path: Path) -> None:
    bench = Bench(tmp_path, chain({}, {"t1": (1,)}))
    records = await bench.run()
    whole = batch_record(
        bench.plan,
        records,
        batch="b-1",
        exit_code=bench.conductor.exit_code,
        reason="",
        started_at="now",
        seconds=1.0,
        directory=tmp_path,
    )
    assert (whole["run"], whole["result"], whole["status"]) == (records[2]["run"], "answer 2", "succeeded")
    assert [one["name"] for one in (*whole["needs"], *whole["items"])] == ["t1", "t2"]
    assert Decimal(whole["cost_usd"]) * 10**9 == sum(end.cost_nusd or 0 for end in bench.ends())
    assert whole["usage"]["total"] == 220
