"""Killed between any two arrows of the order of a call, a run loses no response and counts none twice."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from run_bench import FailingLedger, RunBench

from meshclaw.dispatch import recover
from meshclaw.errors import FailureKind, LedgerError, ProviderError
from meshclaw.ledger.entry import Call, Reserve, RunEnd
from meshclaw.pricing import Rates
from meshclaw.runs import RunDirectory
from meshclaw.testing import Say, ScriptedProvider
from meshclaw.usage import Usage

pytestmark = pytest.mark.xdist_group("recovery")

DRIVER = Path(__file__).with_name("kill_driver.py")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """One state for every arrow at which the run was killed and recovered; the last one was not killed."""
    root = tmp_path_factory.mktemp("killed")
    command = [sys.executable, str(DRIVER), str(root)]
    done = subprocess.run(
        command, cwd=DRIVER.parent, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_run_was_killed_at_every_arrow_and_once_not_at_all(killed: list[dict[str, Any]]) -> None:
    assert [state["code"] for state in killed] == [77] * (len(killed) - 1) + [0]
    assert len(killed) > 30
    assert {len(state["responses"]) for state in killed} == {0, 1, 2, 3}
    assert any(state["aborted"] for state in killed)
    assert [state["mended"] for state in killed] == [0] * len(killed)


def test_every_response_that_was_received_is_in_the_ledger_exactly_once(
    killed: list[dict[str, Any]],
) -> None:
    for state in killed:
        assert state["ok"] == state["responses"], state
        assert state["twice"] == [], state


def test_every_reserve_is_closed_and_one_without_a_response_is_possibly_billed(
    killed: list[dict[str, Any]],
) -> None:
    for state in killed:
        assert state["calls"] == state["reserves"], state
        assert all(state["aborted"]), state
        assert len(state["aborted"]) == len(state["reserves"]) - len(state["responses"])


def test_every_run_has_one_end_and_looks_alive_no_more(killed: list[dict[str, Any]]) -> None:
    for state in killed:
        if state["status"] is None:
            assert state["reserves"] == []
            continue
        assert len(state["ends"]) == 1, state
        assert state["status"] == state["ends"][0] != "running", state
        assert state["active"] == 0


def test_the_end_holds_the_sum_of_the_calls_or_says_that_it_is_unknown(
    killed: list[dict[str, Any]],
) -> None:
    for state in killed:
        for total in state["end_sum"]:
            assert total == (None if state["aborted"] else state["sum"]), state


def test_the_chain_holds_whatever_happened(killed: list[dict[str, Any]]) -> None:
    assert all(state["verified"] for state in killed)


async def test_a_response_that_a_full_disk_kept_out_of_the_ledger_is_entered_with_its_sums(
    tmp_path: Path,
) -> None:
    ledger = FailingLedger(2)
    bench = RunBench(tmp_path, [Say("paid for", usage=Usage(input=100, output=7))], ledger=ledger)
    with pytest.raises(LedgerError):
        await bench.run()
    ledger.left = 1_000
    assert await recover(bench.house()) == ["run-1"]
    reserve, entered, end = ledger.entries
    assert isinstance(reserve, Reserve)
    assert isinstance(entered, Call)
    assert isinstance(end, RunEnd)
    assert (entered.call, entered.status, entered.recovered) == (reserve.call, "ok", True)
    assert (end.calls, end.input, end.output, end.cost_nusd) == (1, 100, 7, entered.cost_nusd)
    record = RunDirectory(tmp_path / "runs" / "run-1").read_record()
    assert (record["exit"], record["status"], record["calls"]) == (9, "failed", 1)
    assert (record["usage"]["total"], record["cost_usd"]) == (107, "0.00027")


@pytest.mark.parametrize(
    ("price", "provider", "expected"),
    [
        (0, "scripted", (0, "priced", False)),
        (2, "scripted", (None, "unknown", True)),
        (0, "unpriced", (None, "unknown", True)),
    ],
    ids=["free", "paid", "without a price"],
)
async def test_a_lost_call_of_a_free_provider_has_cost_nothing(
    tmp_path: Path, price: int, provider: str, expected: tuple[int | None, str, bool]
) -> None:
    broken = ProviderError(FailureKind.CONNECTION, "it broke", billed=True)
    made = ScriptedProvider([broken], name=provider, free=False)
    bench = RunBench(tmp_path, provider=made, ledger=FailingLedger(2))
    bench.rates = Rates(Decimal(price), Decimal(price))
    with pytest.raises(LedgerError):
        await bench.run()
    bench.ledger.left = 1_000
    assert await recover(bench.house()) == ["run-1"]
    (call,) = [entry for entry in bench.ledger.entries if isinstance(entry, Call)]
    assert call.status == "aborted"
    assert (call.cost_nusd, call.cost_state, call.possibly_billed) == expected


async def test_a_run_is_closed_in_its_own_ledger_only(tmp_path: Path) -> None:
    mine = RunBench(tmp_path, [Say("hi")], ledger=FailingLedger(2), ledger_file="/mine")
    with pytest.raises(LedgerError):
        await mine.run()
    other = RunBench(tmp_path, ledger_file="/other")
    assert await recover(other.house()) == []
    assert other.ledger.entries == []
    mine.ledger.left = 1_000
    assert await recover(mine.house()) == ["run-1"]
    assert [entry.kind for entry in mine.ledger.entries] == ["reserve", "call", "run"]
