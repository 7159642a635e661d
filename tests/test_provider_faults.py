"""Calls that break, on all three wires, through the real SDKs: which kind, billed or not, what is said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from provider_calls import KEY, WIRES, RecordingSink, ask, failure, open_provider
from wire_server import Failure, Fault, Turn, WireServer

from meshclaw.errors import FailureKind, ProviderError
from meshclaw.providers.anthropic import AnthropicProvider
from meshclaw.providers.base import NullSink
from meshclaw.providers.openai_chat import OpenAIChatProvider
from meshclaw.providers.openai_responses import OpenAIProvider

pytestmark = pytest.mark.anyio
each_wire = pytest.mark.parametrize("wire", WIRES)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server


BROKEN_CALLS: dict[Fault, tuple[FailureKind, str]] = {
    Fault.RESET_BEFORE: (FailureKind.CONNECTION, "the connection broke"),
    Fault.CLOSE_BEFORE: (FailureKind.CONNECTION, "the connection broke"),
    Fault.RESET_DURING: (FailureKind.CONNECTION, "the connection broke"),
    Fault.TRUNCATED: (FailureKind.TRUNCATED, "the stream ended before the answer did"),
    Fault.EMPTY: (FailureKind.TRUNCATED, "the stream ended before the answer did"),
    Fault.HTML: (FailureKind.MALFORMED, "it sent text/html instead of events"),
    Fault.GARBAGE: (FailureKind.MALFORMED, "{not json"),
    Fault.NOT_AN_OBJECT: (FailureKind.MALFORMED, "[1, 2]"),
    Fault.OVERLOADED_EVENT: (FailureKind.OVERLOADED, "Overloaded"),
    Fault.PING_ONLY: (FailureKind.STALLED, "no content for 0.3 s"),
    Fault.SILENT: (FailureKind.STALLED, "no content for 0.3 s"),
    Fault.HANG: (FailureKind.STALLED, "no content for 0.3 s"),
}
BEGUN = {Fault.RESET_DURING, Fault.TRUNCATED, Fault.GARBAGE, Fault.NOT_AN_OBJECT, Fault.OVERLOADED_EVENT}
"""After these the response has an id: the provider had begun to answer."""


def test_every_fault_is_tested() -> None:
    assert set(BROKEN_CALLS) == set(Fault)


@each_wire
@pytest.mark.parametrize("fault", BROKEN_CALLS, ids=lambda fault: fault.name)
async def test_calls_that_break_may_be_billed(wire: str, server: WireServer, fault: Fault) -> None:
    kind, words = BROKEN_CALLS[fault]
    server.script(fault)
    sink = RecordingSink()
    stall = 0.3 if kind is FailureKind.STALLED else 30.0
    error = await failure(wire, server, sink, ask(wire, stall_timeout=stall))
    assert error.kind is kind
    assert error.billed
    assert error.http_status is None
    assert words in error.message
    assert bool(sink.ids) is (fault in BEGUN)


@each_wire
async def test_a_slow_but_living_answer_does_not_stall(wire: str, server: WireServer) -> None:
    """Content moves the stall's deadline; the whole takes longer than it."""
    server.script(Turn(text="one two three", pace=0.3))
    async with open_provider(wire, server) as provider:
        response = await provider.complete(ask(wire, stall_timeout=1.5), NullSink())
    assert response.message.text == "one two three"


@each_wire
async def test_a_call_ends_at_its_deadline_whatever_arrives(wire: str, server: WireServer) -> None:
    server.script(Turn(text="x" * 30, tool_calls=[("read", "{}")] * 200, pace=0.02))
    error = await failure(wire, server, request=ask(wire, timeout=0.4))
    assert error.kind is FailureKind.TIMEOUT
    assert error.billed
    assert "no complete answer in 0.4 s" in error.message


@each_wire
async def test_cancellation_is_no_failure(wire: str, server: WireServer) -> None:
    server.script(Fault.HANG, Turn(text="still works"))
    async with open_provider(wire, server) as provider:
        async with anyio.create_task_group() as group:
            group.start_soon(provider.complete, ask(wire), NullSink())
            while not server.requests:
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        response = await provider.complete(ask(wire), NullSink())
    assert response.message.text == "still works"


@each_wire
async def test_nobody_listens(wire: str) -> None:
    """The request surely did not arrive: nothing can have been charged."""
    nobody = WireServer()
    nobody.close()
    error = await failure(wire, nobody)
    assert error.kind is FailureKind.CONNECTION
    assert not error.billed
    assert "check the network" in error.hint


@each_wire
async def test_redirects_are_not_followed(wire: str, server: WireServer) -> None:
    with WireServer() as other:
        server.script(Failure(307, headers={"location": f"{other.url}/v1/messages"}))
        error = await failure(wire, server)
        assert other.requests == []
    assert error.kind is FailureKind.INVALID_REQUEST
    assert f"redirected to {other.url}" in error.message
    assert "base URL" in error.hint


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (AnthropicProvider, "export ANTHROPIC_API_KEY="),
        (OpenAIProvider, "export OPENAI_API_KEY="),
        (OpenAIChatProvider, "export OPENAI_API_KEY="),
    ],
)
@pytest.mark.parametrize("key", [None, ""])
async def test_a_missing_key_is_said_before_anything_is_sent(make: Any, hint: str, key: str | None) -> None:
    with pytest.raises(ProviderError, match="there is no key") as caught:
        await make(key).complete(ask("chat"), NullSink())
    assert caught.value.kind is FailureKind.AUTHENTICATION
    assert caught.value.hint.startswith(hint)
    assert not caught.value.billed


CLASSES: dict[str, Any] = {
    "anthropic": AnthropicProvider,
    "openai": OpenAIProvider,
    "chat": OpenAIChatProvider,
}


@each_wire
@pytest.mark.parametrize("url", ["no-scheme", "ftp://127.0.0.1/", "http://127.0.0.1:99999/", "http://[::1"])
async def test_an_impossible_address_is_a_settings_mistake(wire: str, url: str) -> None:
    with pytest.raises(ProviderError, match="not an address") as caught:
        await CLASSES[wire](KEY, url).complete(ask(wire), NullSink())
    assert caught.value.kind is FailureKind.INVALID_REQUEST
    assert not caught.value.billed


@each_wire
@pytest.mark.parametrize("key", ["sk-sec\nret", "sk-sec ret", "sk-“secret”"])
async def test_an_impossible_key_is_refused_without_showing_it(wire: str, key: str) -> None:
    with pytest.raises(ProviderError, match="the key holds") as caught:
        await CLASSES[wire](key, "http://127.0.0.1:9").complete(ask(wire), NullSink())
    assert caught.value.kind is FailureKind.AUTHENTICATION
    assert "sec" not in str(caught.value)
    assert not caught.value.billed


@each_wire
async def test_a_keys_line_end_is_no_part_of_it(wire: str, server: WireServer) -> None:
    server.script(Turn(text="hi"))
    provider = CLASSES[wire](f"{KEY}\n", server.url)
    await provider.complete(ask(wire), NullSink())
    await provider.aclose()
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


@each_wire
@pytest.mark.parametrize("trusted", [True, False])
async def test_a_server_on_loopback_needs_no_key(wire: str, trusted: bool, server: WireServer) -> None:
    server.script(Turn(text="hi"))
    provider = CLASSES[wire](None, server.url, trusted=trusted)
    await provider.complete(ask(wire), NullSink())
    await provider.aclose()
    assert server.requests[0].headers.get("authorization") == ("Bearer none" if trusted else None)
