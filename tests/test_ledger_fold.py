from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ledger_entries import AT, call, reserve, run_end

from meshclaw.errors import Problem
from meshclaw.ledger.entry import Correction, Entry, Rotation, Verdict
from meshclaw.ledger.file import FileLedger
from meshclaw.ledger.fold import MAX_PROBLEMS, fold

BEFORE_EXPIRY = datetime(2026, 11, 20, 10, 9, 59, tzinfo=UTC)
EXPIRY = datetime(2026, 11, 20, 10, 10, tzinfo=UTC)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_settled_call_is_one_call() -> None:
    facts = fold([reserve(), call(), run_end()], EXPIRY)
    (found,) = facts.calls
    assert (found.input, found.cache_read, found.cache_write, found.output) == (1_000, 200, 30, 50)
    assert (found.cost_nusd, found.cost_state) == (1_234_567, "priced")
    assert (found.charged_nusd, found.charged_tokens) == (1_234_567, 1_080)
    assert not found.in_flight
    assert not found.possibly_billed
    assert facts.runs["run-1"].task == "triage"
    assert facts.runs["run-1"].started == datetime(2026, 11, 20, 10, tzinfo=UTC)
    assert facts.problems == ()


def test_a_reserve_without_a_call_is_in_flight_until_it_expires() -> None:
    (before,) = fold([reserve()], BEFORE_EXPIRY).calls
    (after,) = fold([reserve()], EXPIRY).calls
    assert (before.in_flight, before.possibly_billed) == (True, False)
    assert (after.in_flight, after.possibly_billed) == (False, True)
    (free,) = fold([reserve(cost_nusd=0)], EXPIRY).calls
    assert (free.possibly_billed, free.cost_nusd, free.cost_state) == (False, 0, "priced")
    for found in (before, after):
        assert (found.input, found.output, found.cost_nusd, found.cost_state) == (
            None,
            None,
            None,
            "unknown",
        )
        assert (found.charged_nusd, found.charged_tokens) == (5_000_000, 9_000)


@pytest.mark.parametrize(
    ("changes", "charged_nusd", "charged_tokens"),
    [
        ({"cost_nusd": None, "input": None, "output": None}, 5_000_000, 9_000),
        ({"cost_nusd": None}, 5_000_000, 1_080),
        ({"cache_read": None}, 1_234_567, 9_000),
        ({"status": "refused", "cost_nusd": 0, "input": 0, "cache_write": {}, "output": 0}, 0, 0),
    ],
)
def test_what_is_unknown_is_charged_as_reserved(
    changes: dict[str, Any], charged_nusd: int, charged_tokens: int
) -> None:
    (found,) = fold([reserve(), call(**changes)], EXPIRY).calls
    assert (found.charged_nusd, found.charged_tokens) == (charged_nusd, charged_tokens)


def test_a_call_settled_twice_counts_once_and_is_reported() -> None:
    facts = fold([reserve(), call(cost_nusd=7), call(cost_nusd=9), reserve()], EXPIRY)
    (found,) = facts.calls
    assert found.cost_nusd == 7
    assert [problem.message for problem in facts.problems] == [
        "call run-1/1.1.0 was settled twice; the first counts",
        "call run-1/1.1.0 was reserved twice; the first counts",
    ]


def test_a_run_without_an_end_is_known_by_its_calls() -> None:
    entries: list[Entry] = [
        reserve("run-1/1.1.0"),
        call("run-1/1.1.0"),
        reserve("run-1/1.2.0", at="2026-11-20T09:00:00.000Z", model="acme/small"),
    ]
    run = fold(entries, BEFORE_EXPIRY).runs["run-1"]
    assert (run.status, run.task, run.model, run.outcome) == ("running", None, "acme/small", None)
    assert run.started == datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert fold(entries, EXPIRY).runs["run-1"].status == "interrupted"


def test_the_last_end_and_the_last_verdict_of_a_run_count() -> None:
    def verdict(word: Any) -> Verdict:
        return Verdict(at=AT, run="run-1", verdict=word, by="ada")

    entries: list[Entry] = [
        run_end(status="interrupted"),
        verdict("accepted"),
        run_end(),
        verdict("rejected"),
    ]
    facts = fold(entries, EXPIRY)
    run = facts.runs["run-1"]
    assert (run.status, run.outcome) == ("succeeded", "rejected")
    assert facts.problems == ()


@pytest.mark.anyio
async def test_corrections_are_put_in_place_in_order(tmp_path: Path) -> None:
    async with FileLedger(tmp_path / "ledger.jsonl") as ledger:
        await ledger.append(reserve(), call(cost_nusd=None, cost_state="unpriced"), run_end())
        names = [entry.h for entry in ledger.read() if not isinstance(entry, Problem)]

        def correction(number: int, **fields: Any) -> Correction:
            return Correction(at=AT, entry=names[number], fields=fields, why="the invoice")

        await ledger.append(
            correction(0, cost_nusd=6),
            correction(1, cost_nusd=5, cost_state="priced"),
            correction(1, output=70),
            correction(2, task="other"),
            correction(1, cost_nusd=1.5),
            correction(1, call="another"),
            correction(1, nonsense=1),
            Correction(at=AT, entry="f" * 64, fields={"input": 1}, why="?"),
        )
        facts = fold(ledger.read(), EXPIRY)
    (found,) = facts.calls
    assert (found.cost_nusd, found.cost_state, found.output) == (5, "priced", 70)
    assert facts.runs["run-1"].task == "other"
    assert [problem.message.rpartition(names[1])[2] or problem.message for problem in facts.problems] == [
        " is left out: not a correction: Expected `int | null`, got `float` - at `$.cost_nusd`",
        " is left out: a call entry has no field 'call' that can be corrected",
        " is left out: a call entry has no field 'nonsense' that can be corrected",
        f"a correction names entry {'f' * 64}, which does not count here",
    ]


def test_what_does_not_fit_is_reported() -> None:
    given = Problem("ledger.jsonl", 3, 1, "not an entry")
    facts = fold(
        [
            given,
            call("a/1", at="yesterday"),
            reserve("b/1", expires="2026-11-20T10:00:00"),
            run_end("c", started="?", at="?"),
            Verdict(at=AT, run="nowhere", verdict="accepted", by="ada"),
            Rotation(at=AT, previous="x", size=1, sha256="", last_hash=""),
        ],
        EXPIRY,
    )
    assert facts.calls == ()
    assert facts.runs == {}
    assert facts.problems[0] == given
    assert facts.problem_count == len(facts.problems) == 5


def test_problems_are_counted_and_bounded() -> None:
    problem = Problem("ledger.jsonl", 3, 1, "not an entry")
    facts = fold([problem] * (MAX_PROBLEMS + 5), EXPIRY)
    assert len(facts.problems) == MAX_PROBLEMS
    assert facts.problem_count == MAX_PROBLEMS + 5


def test_a_run_keeps_its_start_when_it_ends_later() -> None:
    facts = fold([replace(run_end(), started="2026-11-19T23:59:00.000Z")], EXPIRY)
    assert facts.runs["run-1"].started == datetime(2026, 11, 19, 23, 59, tzinfo=UTC)
