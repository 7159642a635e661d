"""When a call is tried again, how long that waits, and when it gives up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from provider_calls import WIRES, ask, open_provider
from wire_server import Failure, Fault, Turn, WireServer

from meshclaw.errors import BudgetError, FailureKind, LedgerError, ProviderError
from meshclaw.messages import Request, Response, user
from meshclaw.providers.base import NullSink, Sink
from meshclaw.providers.retrying import Retrying
from meshclaw.testing import Say, ScriptedProvider

pytestmark = pytest.mark.anyio

REQUEST = Request("m", (user("hello"),), timeout=100.0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Waits:
    """A sleep that returns at once and remembers; the jitter is always the longest possible."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.told: list[tuple[int, FailureKind, float]] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def tell(self, tries: int, error: ProviderError, wait: float) -> None:
        self.told.append((tries, error.kind, wait))

    def around(self, inner: Any, **options: Any) -> Retrying:
        options.setdefault("uniform", lambda low, high: high)
        return Retrying(inner, sleep=self.sleep, on_retry=self.tell, **options)


def failing(kind: FailureKind, **fields: Any) -> ProviderError:
    return ProviderError(kind, "scripted", **fields)


@pytest.mark.parametrize("kind", ["rate_limit", "overloaded", "server", "connection", "stalled"])
async def test_transient_failures_are_tried_again(kind: str) -> None:
    waits = Waits()
    inner = ScriptedProvider([failing(FailureKind(kind)), failing(FailureKind(kind)), Say("done")])

    response = await waits.around(inner).complete(REQUEST, NullSink())

    assert response.message.text == "done"
    assert len(inner.requests) == 3
    assert waits.slept == [1.0, 2.0]
    assert waits.told == [(1, FailureKind(kind), 1.0), (2, FailureKind(kind), 2.0)]


@pytest.mark.parametrize("kind", ["timeout", "truncated", "malformed"])
async def test_what_may_have_been_paid_for_is_tried_again_once(kind: str) -> None:
    waits = Waits()
    inner = ScriptedProvider([failing(FailureKind(kind), billed=True)] * 4)
    with pytest.raises(ProviderError) as caught:
        await waits.around(inner).complete(REQUEST, NullSink())
    assert caught.value.kind is FailureKind(kind)
    assert len(inner.requests) == 2


TRIED = {"rate_limit", "overloaded", "server", "connection", "stalled", "timeout", "truncated", "malformed"}


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - TRIED))
async def test_other_failures_are_final(kind: FailureKind) -> None:
    inner = ScriptedProvider([failing(kind), Say("never asked")])
    with pytest.raises(ProviderError):
        await Waits().around(inner).complete(REQUEST, NullSink())
    assert len(inner.requests) == 1


async def test_it_gives_up_after_so_many_attempts() -> None:
    waits = Waits()
    inner = ScriptedProvider([failing(FailureKind.SERVER, http_status=500 + n) for n in range(5)])
    with pytest.raises(ProviderError) as caught:
        await waits.around(inner, attempts=3).complete(REQUEST, NullSink())
    assert caught.value.http_status == 502
    assert len(inner.requests) == 3
    assert len(waits.slept) == 2


async def test_waits_grow_to_the_cap_and_are_jittered() -> None:
    waits = Waits()
    inner = ScriptedProvider([failing(FailureKind.SERVER)] * 6)
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return high / 2

    retrying = waits.around(inner, attempts=6, base=2.0, cap=9.0, uniform=uniform)
    with pytest.raises(ProviderError):
        await retrying.complete(REQUEST, NullSink())
    assert [high for _, high in bounds[:5]] == [2.0, 4.0, 8.0, 9.0, 9.0]
    assert {low for low, _ in bounds} == {0.0}
    assert waits.slept == [1.0, 2.0, 4.0, 4.5, 4.5]


async def test_retry_after_is_honoured() -> None:
    waits = Waits()
    inner = ScriptedProvider([failing(FailureKind.RATE_LIMIT, retry_after=7.0), Say("done")])
    await waits.around(inner).complete(REQUEST, NullSink())
    assert waits.slept == [8.0]


async def test_a_retry_after_beyond_the_cap_ends_it_at_once() -> None:
    waits = Waits()
    error = failing(FailureKind.RATE_LIMIT, retry_after=3600.0, hint="wait")
    inner = ScriptedProvider([error, Say("never asked")])
    with pytest.raises(ProviderError) as caught:
        await waits.around(inner).complete(REQUEST, NullSink())
    assert caught.value is error
    assert caught.value.hint == "wait; not tried again: the server asks to wait 3600 s"
    assert waits.slept == []


async def test_it_never_waits_past_the_callers_deadline() -> None:
    waits = Waits()
    inner = ScriptedProvider([failing(FailureKind.RATE_LIMIT, retry_after=30.0), Say("never asked")])
    with anyio.fail_after(20), pytest.raises(ProviderError) as caught:
        await waits.around(inner).complete(REQUEST, NullSink())
    assert "the deadline comes first" in str(caught.value)
    assert waits.slept == []


async def test_a_call_that_took_its_whole_time_is_not_repeated_near_the_deadline() -> None:
    inner = ScriptedProvider([failing(FailureKind.TIMEOUT, billed=True), Say("never asked")])
    with anyio.fail_after(90), pytest.raises(ProviderError) as caught:
        await Waits().around(inner).complete(REQUEST, NullSink())
    assert "the deadline comes first" in str(caught.value)

    answered = ScriptedProvider([failing(FailureKind.TIMEOUT, http_status=408), Say("done")])
    with anyio.fail_after(90):
        response = await Waits().around(answered).complete(REQUEST, NullSink())
    assert response.message.text == "done"


class Raising:
    """A provider whose calls raise what is no ProviderError."""

    name = "raising"
    overhead_tokens = 7
    free = False
    nudge = True
    calls = 0

    def __init__(self, error: Callable[[], BaseException]) -> None:
        self._error = error

    def window(self, model: str) -> int | None:
        return 123

    async def complete(self, request: Request, sink: Sink) -> Response:
        self.calls += 1
        raise self._error()

    async def aclose(self) -> None:
        self.calls = -1


@pytest.mark.parametrize("error", [BudgetError("usd", "too dear"), LedgerError("disk full")])
async def test_other_errors_pass_straight_through(error: Exception) -> None:
    inner = Raising(lambda: error)
    with pytest.raises(type(error)) as caught:
        await Waits().around(inner).complete(REQUEST, NullSink())
    assert caught.value is error
    assert inner.calls == 1


async def test_cancellation_passes_through() -> None:
    inner = ScriptedProvider([Say("late", latency=3600)])
    with anyio.move_on_after(0.01) as scope:
        await Waits().around(inner).complete(REQUEST, NullSink())
    assert scope.cancelled_caught
    assert len(inner.requests) == 1


async def test_it_looks_like_the_inner_provider() -> None:
    inner = Raising(RuntimeError)
    retrying = Retrying(inner)
    assert (retrying.name, retrying.overhead_tokens, retrying.free, retrying.nudge) == (
        "raising",
        7,
        False,
        True,
    )
    assert retrying.window("m") == 123
    await retrying.aclose()
    assert inner.calls == -1


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server


@pytest.mark.parametrize("wire", WIRES)
async def test_a_call_gets_through_a_bad_hour(wire: str, server: WireServer) -> None:
    """Through the real SDKs: five ways to fail, then the answer; the SDK retries nothing itself."""
    server.script(
        Failure(429, headers={"retry-after": "2"}),
        Failure(529),
        Fault.OVERLOADED_EVENT,
        Fault.RESET_BEFORE,
        Fault.TRUNCATED,
        Turn(text="at last"),
    )
    waits = Waits()
    async with open_provider(wire, server) as provider:
        response = await waits.around(provider, attempts=6).complete(ask(wire), NullSink())
    assert response.message.text == "at last"
    assert len(server.requests) == 6
    assert [str(kind) for _, kind, _ in waits.told] == [
        "rate_limit",
        "overloaded",
        "overloaded",
        "connection",
        "truncated",
    ]
    assert waits.slept[0] == 3.0
