from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_entries import call, reserve, run_end

from meshclaw.errors import Problem, ProblemsError
from meshclaw.ledger.entry import Entry, Verdict
from meshclaw.ledger.fold import fold
from meshclaw.reports import KEYS, Row, Table, parse_when, report, to_csv, to_json

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LONDON, TOKYO = ZoneInfo("Europe/London"), ZoneInfo("Asia/Tokyo")


def table(entries: Sequence[Entry | Problem], *by: str, tz: tzinfo = UTC, **limits: Any) -> Table:
    return report(fold(entries, NOW), by, tz=tz, **limits)


ENTRIES: list[Entry] = [
    reserve("a/1", at="2026-11-20T22:00:00.000Z"),
    call("a/1", at="2026-11-20T22:30:00.000Z"),
    reserve("a/2", at="2026-11-20T23:30:00.000Z", model="acme/strong"),
    call("a/2", at="2026-11-21T00:10:00.000Z", model="acme/strong", cost_nusd=9_000_000),
    run_end("a", started="2026-11-20T22:00:00.000Z", outcome="accepted", model="acme/strong"),
    reserve("b/1", at="2026-11-21T08:00:00.000Z"),
    call("b/1", at="2026-11-21T08:00:01.000Z", status="refused", input=0, cache_read=0, cache_write={},
         output=0, reasoning=0, cost_nusd=0),
    run_end("b", started="2026-11-21T08:00:00.000Z", status="failed", task="review"),
    reserve("c/1", at="2026-11-22T08:00:00.000Z"),
]  # fmt: skip


def test_calls_count_on_their_own_day_and_runs_where_they_started() -> None:
    found = table(ENTRIES, "day")
    assert [(row.keys, row.runs, row.calls, row.cost_nusd) for row in found.rows] == [
        (("2026-11-20",), 1, 1, 1_234_567),
        (("2026-11-21",), 1, 2, 9_000_000),
        (("2026-11-22",), 1, 1, None),
    ]
    assert (found.totals.runs, found.totals.calls, found.totals.cost_nusd) == (3, 4, 10_234_567)


def test_days_are_those_of_the_time_zone() -> None:
    assert [(row.keys[0], row.calls) for row in table(ENTRIES, "day", tz=TOKYO).rows] == [
        ("2026-11-21", 3),
        ("2026-11-22", 1),
    ]
    assert [row.keys[0] for row in table(ENTRIES, "week").rows] == ["2026-W47"]
    assert [row.keys[0] for row in table(ENTRIES, "month").rows] == ["2026-11"]


def test_by_model_each_call_counts_for_its_own() -> None:
    found = {row.keys[0]: row for row in table(ENTRIES, "model").rows}
    assert (found["acme/strong"].runs, found["acme/strong"].calls) == (1, 1)
    assert (found["acme/large"].runs, found["acme/large"].calls) == (2, 3)
    assert [row.keys for row in table(ENTRIES, "provider").rows] == [("acme",)]


def test_several_keys() -> None:
    found = table(ENTRIES, "day", "model")
    assert [row.keys for row in found.rows] == [
        ("2026-11-20", "acme/large"),
        ("2026-11-20", "acme/strong"),
        ("2026-11-21", "acme/large"),
        ("2026-11-21", "acme/strong"),
        ("2026-11-22", "acme/large"),
    ]
    assert [(row.runs, row.calls) for row in found.rows[:2]] == [(0, 1), (1, 0)]
    assert (found.rows[1].cost_nusd, found.rows[1].total, found.rows[1].cost_at_least) == (0, 0, False)


def test_rows_without_time_come_dearest_first_and_the_unknown_has_no_name() -> None:
    assert [row.keys[0] for row in table(ENTRIES, "task").rows] == ["triage", "review", None]


def test_an_unknown_cost_makes_at_least() -> None:
    found = {row.keys[0]: row for row in table(ENTRIES, "run").rows}
    assert (found["a"].cost_at_least, found["a"].tokens_at_least, found["a"].cost_state) == (
        False,
        False,
        "priced",
    )
    assert (found["b"].cost_nusd, found["b"].total, found["b"].cost_at_least) == (0, 0, False)
    lost = found["c"]
    assert (lost.possibly_billed, lost.cost_nusd, lost.total, lost.cost_state) == (1, None, None, "unknown")
    assert lost.cost_at_least
    assert lost.tokens_at_least
    totals = table(ENTRIES, "run").totals
    assert totals.cost_at_least
    assert totals.cost_nusd == 10_234_567


def test_partial_usage_and_unpriced_calls_are_lower_bounds() -> None:
    partial = table([call(usage_source="partial")], "run").totals
    assert (partial.tokens_at_least, partial.cost_at_least) == (True, False)
    unpriced = table([call(cost_nusd=None, cost_state="unpriced"), call("r/2")], "day").totals
    assert (unpriced.cost_state, unpriced.cost_at_least, unpriced.tokens_at_least) == (
        "unpriced",
        True,
        False,
    )
    assert unpriced.cost_nusd == 1_234_567


def test_reasoning_is_no_part_of_the_total() -> None:
    totals = table([call()], "day").totals
    assert (totals.reasoning, totals.total) == (10, 1_000 + 200 + 30 + 50)


def test_runs_are_counted_by_what_they_are_worth() -> None:
    ends: list[Entry] = [
        run_end("a", outcome="accepted"),
        run_end("b", outcome="rejected"),
        run_end("c", outcome="unchecked"),
        run_end("d", outcome="pending"),
        run_end("e", status="failed", outcome="unchecked"),
        run_end("f", status="over_budget", outcome="rejected"),
        run_end("g", status="skipped"),
        run_end("h", status="timed_out"),
        run_end("i", outcome="accepted"),
        Verdict(at="2026-11-21T00:00:00.000Z", run="h", verdict="accepted", by="ada"),
        Verdict(at="2026-11-21T00:00:00.000Z", run="i", verdict="rejected", by="ada"),
        reserve("j/1", expires="2027-01-01T00:00:00.000Z"),
    ]
    row = table(ends, "day").totals
    assert (row.accepted, row.rejected, row.unchecked, row.pending) == (2, 2, 1, 1)
    assert (row.failed, row.skipped, row.running, row.runs, row.in_flight) == (2, 1, 1, 10, 1)
    assert {found.keys[0]: found.runs for found in table(ends, "outcome").rows} == {
        "accepted": 2, "rejected": 3, "unchecked": 3, "pending": 1, None: 1,
    }  # fmt: skip


def test_since_is_within_and_until_is_not() -> None:
    since, until = datetime(2026, 11, 20, 22, 30, tzinfo=UTC), datetime(2026, 11, 21, 8, tzinfo=UTC)
    found = table(ENTRIES, "run", since=since, until=until)
    assert [(row.keys[0], row.runs, row.calls) for row in found.rows] == [("a", 0, 2)]
    assert (found.since, found.until) == (since, until)


def test_keys_that_do_not_exist_are_all_named() -> None:
    with pytest.raises(ProblemsError) as caught:
        table([], "modle", "day", "day", "colour")
    assert sorted(str(problem) for problem in caught.value.problems) == [
        "--by: 'day' is named twice",
        f"--by: nothing can be grouped by 'colour' - there are {', '.join(KEYS)}",
        "--by: nothing can be grouped by 'modle' - did you mean 'model'?",
    ]


times = st.datetimes(datetime(2026, 10, 20), datetime(2026, 11, 23)).map("{:%Y-%m-%dT%H:%M:%S.%f}Z".format)
maybe_count = st.none() | st.integers(0, 10**12)
calls = st.builds(
    call,
    st.builds("run-{}/{}".format, st.integers(0, 4), st.integers(0, 10**6)),
    at=times,
    model=st.sampled_from(["acme/large", "acme/small", "other/x"]),
    provider=st.sampled_from(["acme", "other"]),
    input=maybe_count,
    cache_read=maybe_count,
    cache_write=st.none() | st.dictionaries(st.sampled_from(["5m", "1h"]), st.integers(0, 10**9)),
    output=maybe_count,
    cost_nusd=maybe_count,
    cost_state=st.sampled_from(["priced", "unpriced", "estimated", "unknown"]),
    usage_source=st.sampled_from(["final", "partial"]),
)
reserves = st.builds(
    reserve,
    st.builds("run-{}/{}".format, st.integers(0, 4), st.integers(0, 10**6)),
    at=times,
    expires=st.sampled_from(["2026-11-20T10:10:00.000Z", "2026-12-20T10:10:00.000Z"]),
)
ends = st.builds(
    run_end,
    st.builds("run-{}".format, st.integers(0, 6)),
    started=st.datetimes(datetime(2026, 10, 20), datetime(2026, 11, 23)).map(
        lambda at: at.isoformat() + "Z"
    ),
    task=st.sampled_from(["triage", "review"]),
    runner=st.sampled_from(["agent", "prompt"]),
    model=st.sampled_from(["acme/large", "other/x"]),
    status=st.sampled_from(["succeeded", "failed", "skipped"]),
    outcome=st.sampled_from(["accepted", "rejected", "unchecked", "pending"]),
)
ADDED = (
    "runs", "accepted", "rejected", "unchecked", "pending", "failed", "skipped", "running", "calls",
    "in_flight", "possibly_billed", "input", "cache_read", "cache_write", "output", "reasoning",
    "cost_nusd",
)  # fmt: skip
FLAGS = ("tokens_at_least", "cost_at_least")


def _sums(rows: Sequence[Row]) -> dict[str, int]:
    return {name: sum(getattr(row, name) or 0 for row in rows) for name in ADDED} | {
        name: any(getattr(row, name) for row in rows) for name in FLAGS
    }


@given(
    st.lists(st.one_of(calls, reserves, ends), max_size=30),
    st.lists(st.sampled_from(KEYS), max_size=3, unique=True),
    st.sampled_from([UTC, LONDON, TOKYO]),
    st.none() | st.datetimes(datetime(2026, 10, 20), datetime(2026, 11, 23), timezones=st.just(UTC)),
)
def test_whatever_it_is_grouped_by_the_sums_agree(
    entries: list[Entry], by: list[str], tz: tzinfo, since: datetime | None
) -> None:
    facts = fold(entries, NOW)
    found = report(facts, by, since=since, tz=tz)
    assert _sums(found.rows) == _sums([found.totals])
    for single in ("day", "task", "model"):
        assert _sums(report(facts, [single], since=since, tz=tz).rows) == _sums(found.rows)
    worth = ("accepted", "rejected", "unchecked", "pending", "failed", "skipped", "running")
    assert all(row.runs == sum(getattr(row, name) for name in worth) for row in found.rows)
    if since is None:
        assert found.totals.cost_nusd == (
            sum(known) if (known := [c.cost_nusd for c in facts.calls if c.cost_nusd is not None]) else
            None if facts.calls else 0
        )  # fmt: skip


def test_json_states_money_exactly() -> None:
    found = json.loads(to_json(table(ENTRIES, "day", "task", since=datetime(2026, 11, 1, tzinfo=LONDON))))
    assert found["by"] == ["day", "task"]
    assert found["since"] == "2026-11-01T00:00:00+00:00"
    assert found["until"] is None
    assert found["rows"][0] == {
        "day": "2026-11-20", "task": "triage",
        "runs": 1, "accepted": 1, "rejected": 0, "unchecked": 0, "pending": 0, "failed": 0, "skipped": 0,
        "running": 0, "calls": 1, "in_flight": 0, "possibly_billed": 0,
        "input": 1000, "cache_read": 200, "cache_write": 30, "output": 50, "reasoning": 10, "total": 1280,
        "tokens_at_least": False, "cost_usd": "0.001234567", "cost_state": "priced", "cost_at_least": False,
    }  # fmt: skip
    assert found["rows"][-1]["cost_usd"] is None
    assert found["rows"][-1]["task"] is None
    assert found["totals"]["cost_usd"] == "0.010234567"
    assert found["totals"]["cost_at_least"] is True


def test_json_says_what_could_not_be_read_and_is_ascii() -> None:
    text = to_json(
        table([Problem("ledger.jsonl", 7, 1, "not an entry"), run_end(task="caf\u202e\x9b")], "task")
    )
    assert text.isascii()
    assert json.loads(text)["problems"] == ["ledger.jsonl:7:1: not an entry"]
    assert json.loads(text)["problem_count"] == 1
    # It may have been a call of any row.
    assert json.loads(text)["totals"]["cost_at_least"] is True


def test_csv_is_read_back_and_holds_no_formulas() -> None:
    names = ["=1+1", "+1", "-1", "@sum", "\tx", "\rx", 'quo"te,\nline', "plain"]
    found = table([run_end(f"r{n}", task=name) for n, name in enumerate(names)] + [reserve("z/1")], "task")
    rows = list(csv.DictReader(StringIO(to_csv(found), newline="")))
    quoted = {"'" + name.replace("\r", "\n") for name in names[:6]} | {*names[6:], ""}
    assert {row["task"] for row in rows} == quoted
    lost = next(row for row in rows if row["task"] == "")
    assert (lost["cost_usd"], lost["total"], lost["cost_at_least"]) == ("", "", "true")
    assert next(row for row in rows if row["task"] == "plain")["cost_usd"] == "0.0"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90m", "2026-11-23T10:30:00+00:00"),
        ("24h", "2026-11-22T12:00:00+00:00"),
        (" 7d ", "2026-11-16T12:00:00+00:00"),
        ("2w", "2026-11-09T12:00:00+00:00"),
        ("now", "2026-11-23T12:00:00+00:00"),
        ("today", "2026-11-23T00:00:00+00:00"),
        ("yesterday", "2026-11-22T00:00:00+00:00"),
        ("2026-07-01", "2026-07-01T00:00:00+01:00"),
        ("2026-11-01T10:00", "2026-11-01T10:00:00+00:00"),
        ("2026-07-01T10:00:00-05:00", "2026-07-01T16:00:00+01:00"),
        ("2026-11-01T10:00Z", "2026-11-01T10:00:00+00:00"),
    ],
)
def test_points_in_time(text: str, moment: str) -> None:
    assert parse_when(text, NOW, LONDON).isoformat() == moment


def test_today_is_that_of_the_time_zone() -> None:
    late = datetime(2026, 11, 23, 20, tzinfo=UTC)
    assert parse_when("today", late, TOKYO) == datetime(2026, 11, 24, tzinfo=TOKYO)
    assert parse_when("yesterday", late, TOKYO) == datetime(2026, 11, 23, tzinfo=TOKYO)


def test_days_ago_are_of_24_hours_when_the_clocks_change() -> None:
    after = datetime(2026, 10, 25, 12, tzinfo=UTC)
    assert after - parse_when("1d", after, LONDON) == timedelta(days=1)


@pytest.mark.parametrize("text", ["", "7", "d", "7 days", "-7d", "tomorrow", "2026-13-01", "999999w", "٧d"])
def test_what_is_no_point_in_time(text: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        parse_when(text, NOW, LONDON, source="--until")
    (problem,) = caught.value.problems
    assert problem.source == "--until"
    assert "7d" in problem.hint
