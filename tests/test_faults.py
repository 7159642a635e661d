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
from wire_server import Failure, Fault, Recorded, Scripted, Turn, WireServer

from meshclaw.ledger.entry import Call
from meshclaw.providers.retrying import Retrying
from meshclaw.runners.prompt import PromptRunner


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
    "401": ([Failure(401)], Expected(7, "not authorised", refused("authentication"))),
    "403": ([Failure(403)], Expected(7, "may not do this", refused("permission"))),
    "404": ([Failure(404)], Expected(7, "no such model", refused("not_found"))),
    "402": ([Failure(402)], Expected(7, "cannot pay", refused("billing"))),
    "400": ([Failure(400)], Expected(7, "the request was refused", refused("invalid_request"))),
    "too long": (
        [Failure(413, message="210000 tokens > 200000 maximum")],
        Expected(1, "window is full: ", refused("context_too_long")),
    ),
    "content refused": (
        [Failure(400, message="this is against our usage policy")],
        Expected(1, "refused because of its content", refused("content_refused")),
    ),
    "refused by the model": ([Turn(refusal="I will not")], Expected(1, "the model refused", OK)),
    "cut off twice": (
        [lambda recorded: Turn(text="half an ans", stop=limit_word(recorded))] * 2,
        Expected(1, "cut off at the output limit", OK, 2),
    ),
    "reset before": ([Fault.RESET_BEFORE] * 3, Expected(7, "connection broke", broken("connection"), 3)),
    "reset during": ([Fault.RESET_DURING] * 3, Expected(7, "connection broke", broken("connection"), 3)),
    "overloaded in mid-stream": (
        [Fault.OVERLOADED_EVENT] * 3,
        Expected(7, "overloaded", broken("overloaded"), 3),
    ),
    "no JSON": ([Fault.GARBAGE] * 2, Expected(7, "could not be understood", broken("malformed"), 2)),
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


def limit_word(recorded: Recorded) -> str:
    """How a wire says that an answer was cut off at the output limit."""
    words = {"/messages": "max_tokens", "/responses": "max_output_tokens", "/completions": "length"}
    return next(word for path, word in words.items() if recorded.path.endswith(path))


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
        bench.model_id = MODELS[wire]
        yield server, bench
        await provider.aclose()


def last_call(bench: RunBench) -> Call:
    return [entry for entry in bench.ledger.entries if isinstance(entry, Call)][-1]


@pytest.mark.parametrize("name", FAULTS)
async def test_faults(bench: tuple[WireServer, RunBench], name: str) -> None:
    await meets(*bench, name)


@pytest.mark.parametrize("wire", ["chat"], indirect=True)
@pytest.mark.parametrize("name", FAULTS)
async def test_every_runner_says_the_same_of_them(bench: tuple[WireServer, RunBench], name: str) -> None:
    server, run = bench
    run.runner = PromptRunner()
    await meets(server, run, name)


async def meets(server: WireServer, run: RunBench, name: str) -> None:
    script, expected = FAULTS[name]
    if name == "pings only":
        run.options = {"stall_timeout": 0.3}
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


async def test_an_answer_that_never_ends_is_broken_off_and_asked_for_once_more(
    bench: tuple[WireServer, RunBench],
) -> None:
    server, run = bench
    run.timeout = 0.4
    server.script(*[Turn(text="x" * 300, tool_calls=[("read", "{}")] * 200, pace=0.02)] * 2)
    record = await run.run()
    assert (record["exit"], record["status"], record["calls"]) == (7, "failed", 2)
    assert "no complete answer in 0.4 s" in record["reason"]
    call = last_call(run)
    assert (call.status, call.failure, call.cost_state, call.possibly_billed) == broken("timeout")


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
