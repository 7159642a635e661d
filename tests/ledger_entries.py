"""Entries for tests of the ledger and its views."""

from __future__ import annotations

from typing import Any

from meshclaw.ledger.entry import Call, Reserve, RunEnd

AT = "2026-11-20T10:00:00.000Z"


def reserve(call: str = "run-1/1.1.0", **changes: Any) -> Reserve:
    values: dict[str, Any] = {
        "at": AT,
        "call": call,
        "run": call.partition("/")[0],
        "attempt": 1,
        "step": 1,
        "model": "acme/large",
        "tokens": 9_000,
        "cost_nusd": 5_000_000,
        "expires": "2026-11-20T10:10:00.000Z",
    }
    return Reserve(**(values | changes))


def call(name: str = "run-1/1.1.0", **changes: Any) -> Call:
    values: dict[str, Any] = {
        "at": AT,
        "call": name,
        "run": name.partition("/")[0],
        "attempt": 1,
        "step": 1,
        "status": "ok",
        "provider": "acme",
        "model": "acme/large",
        "input": 1_000,
        "cache_read": 200,
        "cache_write": {"5m": 30},
        "output": 50,
        "reasoning": 10,
        "usage_source": "final",
        "cost_nusd": 1_234_567,
        "cost_state": "priced",
    }
    return Call(**(values | changes))


def run_end(run: str = "run-1", **changes: Any) -> RunEnd:
    values: dict[str, Any] = {
        "at": AT,
        "run": run,
        "task": "triage",
        "task_digest": "0" * 64,
        "params_digest": "1" * 64,
        "status": "succeeded",
        "outcome": "unchecked",
        "model": "acme/large",
        "runner": "agent",
        "project": "shop",
        "who": "ada",
        "host": "desk",
        "started": AT,
    }
    return RunEnd(**(values | changes))
