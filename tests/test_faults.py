"""Every fault, in a whole run, on every wire: the exit code, the message, the ledger's entry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import pytest
from provider_calls import MAKERS, MODELS, NOW
from run_bench import FakeTool, RunBench
from wire_server import Failure, Fault, Scripted, Turn, WireServer

from meshclaw.ledger.entry import Call
from meshclaw.providers.retrying import Retrying


@dataclass(frozen=True)
class Expected:
    """What a run that meets a fault must come to. `call` is the last `call` entry's most telling fields."""

    exit: int
    reason: str
    call: tuple[str, str | None, str, bool]
    calls: int = 1
    status: str = "failed"


PRICED, UNKNOWN = "priced", "unknown"


def refused(kind: str) -> tuple[str, str | None, str, bool]:
    """Refused before the first event: nothing was billed."""
    return ("refused", kind, PRICED, False)


def broken(kind: str) -> tuple[str, str | None, str, bool]:
    """Broke off after it was sent: possibly billed, at a cost that nobody knows."""
    return ("error", kind, UNKNOWN, True)


OK = ("ok", None, PRICED, False)
OK_UNKNOWN = ("ok", None, UNKNOWN, True)
DATE = formatdate(NOW + 3, usegmt=True)

FAULTS: dict[str, tuple[list[Scripted], Expected]] = {
    "429, seconds": (
        [Failure(429, headers={"retry-after": "2"})] * 3,
        Expected(7, "limit", refused("rate_limit"), 3),
    ),
    "429, date": (
        [Failure(429, headers={"retry-after": DATE})] * 3,
        Expected(7, "limit", refused("rate_limit"), 3),
    ),
    "429, negative": (
        [Failure(429, headers={"retry-after": "-5"})] * 3,
        Expected(7, "limit", refused("rate_limit"), 3),
    ),
    "429, huge": (
        [Failure(429, headers={"retry-after": "99999"})],
        Expected(7, "limit", refused("rate_limit"), 1),
    ),
    "429, garbage": (
        [Failure(429, headers={"retry-after": "soon"})] * 3,
        Expected(7, "limit", refused("rate_limit"), 3),
    ),
    "529": ([Failure(529)] * 3, Expected(7, "overloaded", refused("overloaded"), 3)),
    "500": ([Failure(500)] * 3, Expected(7, "500", refused("server"), 3)),
    "401": ([Failure(401)], Expected(7, "key", refused("authentication"))),
    "403": ([Failure(403)], Expected(7, "", refused("permission"))),
    "404": ([Failure(404)], Expected(7, "", refused("not_found"))),
    "402": ([Failure(402)], Expected(7, "", refused("billing"))),
    "reset before": ([Fault.RESET_BEFORE] * 3, Expected(7, "connection broke", broken("connection"), 3)),
    "reset during": ([Fault.RESET_DURING] * 3, Expected(7, "connection broke", broken("connection"), 3)),
    "pings only": ([Fault.PING_ONLY] * 3, Expected(7, "no content", broken("stalled"), 3)),
    "truncated": ([Fault.TRUNCATED] * 2, Expected(7, "ended before", broken("truncated"), 2)),
    "a web page": ([Fault.HTML] * 2, Expected(7, "text/html", broken("malformed"), 2)),
    "usage missing": ([Turn(text="hi", usage=None)], Expected(0, "", OK_UNKNOWN, status="succeeded")),
    "empty content": ([Turn(text="")] * 2, Expected(1, "empty", OK, 2)),
    "unknown stop": ([Turn(text="hi", stop="because")], Expected(0, "", OK, status="succeeded")),
    "healed": ([Failure(529), Fault.RESET_BEFORE, Turn(text="hi")], Expected(0, "", OK, 3, "succeeded")),
}
NEGATIVE = {
    "anthropic": {"input_tokens": -5, "output_tokens": 3},
    "openai": {"input_tokens": -5, "output_tokens": 3, "total_tokens": -2},
    "chat": {"prompt_tokens": -5, "completion_tokens": 3, "total_tokens": -2},
}


async def no_wait(seconds: float) -> None:
    await anyio.lowlevel.checkpoint()


@pytest.fixture(params=MAKERS)
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def bench(tmp_path: Path, wire: str) -> AsyncIterator[tuple[WireServer, RunBench]]:
    """A run on one wire against the scripted server, retried twice without waiting."""
    with WireServer() as server:
        provider = MAKERS[wire](server)
        provider.name = "scripted"
        bench = RunBench(tmp_path, provider=provider, tools=[FakeTool("read")])
        bench.retrying = lambda inner, tell: Retrying(inner, attempts=3, sleep=no_wait, on_retry=tell)
        bench.options = {"stall_timeout": 0.3}
        bench.model_id = MODELS[wire]
        yield server, bench
        await provider.aclose()


def last_call(bench: RunBench) -> Call:
    return [entry for entry in bench.ledger.entries if isinstance(entry, Call)][-1]


@pytest.mark.parametrize("name", FAULTS)
async def test_faults(bench: tuple[WireServer, RunBench], name: str) -> None:
    server, run = bench
    script, expected = FAULTS[name]
    server.script(*script)
    record = await run.run()
    call = last_call(run)
    assert (record["exit"], record["status"], record["calls"]) == (
        expected.exit,
        expected.status,
        expected.calls,
    )
    assert expected.reason in record["reason"]
    assert bool(record["reason"]) == (expected.exit != 0)
    assert (call.status, call.failure, call.cost_state, call.possibly_billed) == expected.call
    assert (call.cost_nusd is None) == (call.cost_state == UNKNOWN), "unknown is never zero"
    assert len(server.requests) == expected.calls


async def test_negative_usage_is_unknown(bench: tuple[WireServer, RunBench], wire: str) -> None:
    server, run = bench
    server.script(Turn(text="hi", wire_usage=NEGATIVE[wire]))
    record = await run.run()
    call = last_call(run)
    assert (record["exit"], record["cost_usd"], record["usage"]["total"]) == (0, None, None)
    assert (call.status, call.input, call.cost_nusd, call.cost_state) == ("ok", None, None, UNKNOWN)
    assert call.wire_usage is not None
    assert -5 in call.wire_usage.values()


async def test_partial_tool_json_is_told_to_the_model_and_paid_for(
    bench: tuple[WireServer, RunBench],
) -> None:
    server, run = bench
    server.script(Turn(tool_calls=[("read", '{"path": "a')]), Turn(text="I will stop here."))
    record = await run.run()
    assert (record["exit"], record["calls"]) == (0, 2)
    (result,) = [event.data for event in run.transcript() if event.kind == "tool-result"]
    assert result["is_error"]
    assert "JSON" in result["content"]
    tools: Any = run.tools
    assert tools[0].calls == []
