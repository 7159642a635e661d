"""Answers of all three wires through the real SDKs, against a server on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import anyio
import pytest
from provider_calls import (
    KEY,
    MODELS,
    WIRES,
    RecordingSink,
    ask,
    growing_history,
    open_provider,
    strip_cache_marks,
)
from wire_server import Turn, WireServer

from meshclaw.messages import Opaque, StopReason, Text, ToolSpec
from meshclaw.providers.base import NullSink
from meshclaw.usage import UNKNOWN, Usage, UsageSource

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("wire", WIRES)]

READ = ToolSpec("read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
LIST = ToolSpec("list", "Lists a folder.", {"type": "object", "properties": {}})
CACHE_WRITES = {"anthropic": {"5m": 30, "1h": 4}, "openai": {"30m": 30, "12h": 4}, "chat": {"other": 34}}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server


async def test_text_usage_and_ids_arrive(wire: str, server: WireServer) -> None:
    writes = CACHE_WRITES[wire]
    usage = {"input": 12, "cache_read": 800, "cache_write": writes, "output": 9, "reasoning": 3}
    server.script(Turn(text="Hello there, ünï\u2028code", usage=usage))
    sink = RecordingSink()

    async with open_provider(wire, server) as provider:
        response = await provider.complete(ask(wire), sink)

    assert response.message.parts == (Text("Hello there, ünï\u2028code"),)
    assert response.stop is StopReason.ANSWER
    expected = Usage(12, 800, writes, 9, 3, split_assumed=wire == "chat")
    assert response.usage == expected
    assert response.usage_source is UsageSource.FINAL
    assert response.wire_usage is not None
    assert response.response_id
    assert response.served_model == MODELS[wire]
    assert len(sink.deltas) > 1
    assert "".join(sink.deltas) == "Hello there, ünï\u2028code"
    assert sink.ids == [response.response_id]
    assert sink.usages[-1] == expected
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_tool_calls_keep_their_text(wire: str, server: WireServer) -> None:
    calls = [("read", '{"path":  "a.txt"}'), ("read", '{"path": "b'), ("list", "")]
    server.script(Turn(text="I look.", tool_calls=calls))
    async with open_provider(wire, server) as provider:
        response = await provider.complete(ask(wire, tools=(READ, LIST)), NullSink())

    assert response.stop is StopReason.TOOL_CALLS
    assert response.message.text == "I look."
    received = response.message.tool_calls
    assert [(call.name, call.arguments) for call in received] == [*calls[:2], ("list", "{}")]
    assert len({call.id for call in received}) == 3


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        (
            {"anthropic": "max_tokens", "openai": "max_output_tokens", "chat": "length"},
            StopReason.MAX_OUTPUT,
        ),
        (dict.fromkeys(WIRES, "something_new"), StopReason.UNKNOWN),
    ],
)
async def test_stop_reasons(
    wire: str, server: WireServer, stop: dict[str, str], reason: StopReason
) -> None:
    server.script(Turn(text="abc", stop=stop[wire]))
    async with open_provider(wire, server) as provider:
        response = await provider.complete(ask(wire), NullSink())
    assert response.stop is reason
    assert response.wire_stop == stop[wire]


async def test_a_refusal_is_not_an_answer(wire: str, server: WireServer) -> None:
    server.script(Turn(refusal="I will not do that."))
    async with open_provider(wire, server) as provider:
        response = await provider.complete(ask(wire), NullSink())
    assert response.stop is StopReason.REFUSAL
    assert response.message.text == "I will not do that."


async def test_empty_content_gives_a_message_without_parts(wire: str, server: WireServer) -> None:
    server.script(Turn())
    async with open_provider(wire, server) as provider:
        response = await provider.complete(ask(wire), NullSink())
    assert response.message.parts == ()
    assert response.stop is StopReason.ANSWER
    assert response.usage.known


async def test_missing_usage_is_unknown_and_never_zero(wire: str, server: WireServer) -> None:
    server.script(Turn(text="hi", usage=None))
    async with open_provider(wire, server) as provider:
        response = await provider.complete(ask(wire), NullSink())
    assert response.usage == UNKNOWN
    assert response.usage_source is UsageSource.ABSENT
    assert response.wire_usage is None


@pytest.mark.parametrize("count", [-5, "12", 1.5, True])
async def test_counts_that_are_no_counts_are_unknown(wire: str, server: WireServer, count: Any) -> None:
    name = "prompt_tokens" if wire == "chat" else "input_tokens"
    output = "completion_tokens" if wire == "chat" else "output_tokens"
    server.script(Turn(text="hi", wire_usage={name: count, output: 7}))
    async with open_provider(wire, server) as provider:
        response = await provider.complete(ask(wire), NullSink())
    assert response.usage.input is None
    assert response.usage.input_total is None
    assert response.usage.output == 7
    assert response.wire_usage is not None
    assert response.wire_usage[name] == count


async def test_a_server_that_does_not_stream_is_understood(wire: str, server: WireServer) -> None:
    """Some proxies ignore `stream: true`; what they answer is paid for all the same."""
    streamed = Turn(text="Hello", tool_calls=[("read", '{"path": "a"}')])
    server.script(streamed)
    sink = RecordingSink()
    async with open_provider(wire, server) as provider:
        server.ignore_stream = True
        response = await provider.complete(ask(wire, tools=(READ,)), sink)
    assert response.message.text == "Hello" == "".join(sink.deltas)
    (call,) = response.message.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("read", {"path": "a"})
    assert response.stop is StopReason.TOOL_CALLS
    assert response.usage.input_total == 100
    assert response.usage_source is UsageSource.FINAL


async def test_consecutive_requests_share_their_prefix(wire: str, server: WireServer) -> None:
    """Cache markers aside, a request's bytes are those of the one before, plus the new messages."""
    server.script(*[Turn(text="ok")] * 4)
    thought = Opaque(
        wire, {"type": "reasoning" if wire == "openai" else "thinking", "reasoning_content": "s"}
    )
    async with open_provider(wire, server) as provider:
        for step, history in enumerate(growing_history(thought), 1):
            request = ask(wire, messages=history, system="Be brief.", tools=(READ, LIST), step=step)
            await provider.complete(request, NullSink())

    listed = "input" if wire == "openai" else "messages"
    bodies = [strip_cache_marks(json.loads(request.raw)) for request in server.requests]
    prefixes = [json.dumps(body.pop(listed))[:-1] for body in bodies]
    assert len(prefixes) == 4
    for earlier, later in pairwise(prefixes):
        assert later.startswith(earlier)
        assert len(later) > len(earlier)
    assert len({json.dumps(body) for body in bodies}) == 1


async def test_no_sampling_parameters_are_sent(wire: str, server: WireServer) -> None:
    server.script(Turn(text="ok"))
    async with open_provider(wire, server) as provider:
        await provider.complete(ask(wire, system="s", tools=(READ,), effort="low"), NullSink())
    assert not {"temperature", "top_p", "top_k", "seed"} & server.requests[0].body.keys()


async def test_two_hundred_calls_side_by_side(wire: str, server: WireServer) -> None:
    """The server answers none before all are under way: one that waited for another would time out."""
    server.script(*[Turn(text="answer", together=200)] * 200)
    answers: list[str] = []
    async with open_provider(wire, server) as provider:

        async def one() -> None:
            answers.append((await provider.complete(ask(wire, timeout=60.0), NullSink())).message.text)

        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(one)
    assert answers == ["answer"] * 200
    assert server.most_at_once == 200


async def test_a_client_can_be_closed_twice_and_used_again(wire: str, server: WireServer) -> None:
    server.script(Turn(text="one"), Turn(text="two"))
    async with open_provider(wire, server) as provider:
        await provider.complete(ask(wire), NullSink())
        await provider.aclose()
        await provider.aclose()
        again = await provider.complete(ask(wire), NullSink())
    assert again.message.text == "two"


@pytest.mark.parametrize(("host", "connections"), [("127.0.0.2", 1), ("127.0.0.1", 3)])
async def test_connections_to_other_hosts_are_reused(wire: str, host: str, connections: int) -> None:
    """127.0.0.2 stands for another machine. Servers on this one tend to close what looks reusable."""
    with WireServer(lambda recorded: Turn(text="ok"), host=host) as server:
        async with open_provider(wire, server) as provider:
            for _ in range(3):
                await provider.complete(ask(wire), NullSink())
        assert server.connections == connections


async def test_windows_come_from_the_settings(wire: str, server: WireServer) -> None:
    async with open_provider(wire, server, windows={"m": 4096}) as provider:
        assert provider.window("m") == 4096
        assert provider.window("other") is None


async def test_broken_calls_and_foreign_items_in_the_history(wire: str, server: WireServer) -> None:
    """A broken call stays visible to the model, in a form that its wire accepts."""
    thought = Opaque("another-provider", {"type": "thinking", "thinking": "not ours"})
    *_, history = growing_history(thought, steps=2)
    server.script(Turn(text="ok"))
    async with open_provider(wire, server) as provider:
        await provider.complete(ask(wire, messages=history), NullSink())
    raw = server.requests[0].raw.decode()
    assert "not ours" not in raw
    assert "invalid_arguments" in raw
    assert "content of c10" in raw
