"""Killed between any two arrows of the order of a call, a run loses no response and counts none twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
