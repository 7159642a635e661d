"""Chat Completions as its many imitators speak it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from provider_calls import ask, open_provider
from wire_server import Recorded, Turn, WireServer

from meshclaw.messages import (
    Message,
    Opaque,
    Request,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    user,
)
from meshclaw.providers.base import NullSink
from meshclaw.providers.failures import Origin
from meshclaw.providers.openai_chat import ChatFold
from meshclaw.usage import UNKNOWN, UsageSource

pytestmark = pytest.mark.anyio

READ = ToolSpec("read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
ORIGIN = Origin("p", "m")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer(lambda recorded: Turn(text="ok")) as server:
        yield server


async def sent(wire: str, server: WireServer, request: Request, **options: Any) -> Recorded:
    async with open_provider(wire, server, **options) as provider:
        await provider.complete(request, NullSink())
    return server.requests[-1]


async def test_the_output_limit_has_the_servers_name(server: WireServer) -> None:
    body = (await sent("chat", server, ask("chat", max_output=600))).body
    assert body["max_tokens"] == 600
    assert "max_completion_tokens" not in body
    assert "prompt_cache_key" not in body
    options: dict[str, Any] = {"limit_name": "max_completion_tokens", "cache_keys": True}
    body = (await sent("chat", server, ask("chat", max_output=600, cache_key="k"), **options)).body
    assert body["max_completion_tokens"] == 600
    assert "max_tokens" not in body
    assert body["prompt_cache_key"] == "k"


async def test_chat_messages(server: WireServer) -> None:
    calls = (ToolCall("c1", "read", '{"path":  "a"}'), ToolCall("c2", "read", "{"))
    results = (ToolResult("c1", "text"), ToolResult("c2", "bad", is_error=True), Text("Go on."))
    history = (user("hi"), Message("assistant", calls), Message("user", results), Message("assistant", ()))
    body = (await sent("chat", server, ask("chat", messages=history, system="s", tools=(READ,)))).body
    broken = '{"invalid_arguments": "{"}'
    functions = [{"name": "read", "arguments": text} for text in ('{"path":  "a"}', broken)]
    assert body["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": f"c{number}", "type": "function", "function": function}
                for number, function in enumerate(functions, 1)
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "text"},
        {"role": "tool", "tool_call_id": "c2", "content": "bad"},
        {"role": "user", "content": "Go on."},
    ]


def chunk(*, finish: str | None = None, usage: Any = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": usage}


def call_piece(arguments: str, **fields: Any) -> dict[str, Any]:
    name = fields.pop("name", None)
    return {**fields, "function": {"name": name, "arguments": arguments}}


def test_calls_without_ids_indexes_or_a_finish_reason_of_their_own() -> None:
    """As Ollama and Gemini send them: whole calls, no index, empty ids, `stop`."""
    fold = ChatFold("p", 7, NullSink(), ORIGIN)
    fold.event(chunk(tool_calls=[call_piece('{"path": "a"}', name="read", id="")]))
    fold.event(chunk(tool_calls=[call_piece('{"path": "b"}', name="read", id="")]))
    fold.event(chunk(finish="stop"))
    response = fold.response()
    assert response.stop is StopReason.TOOL_CALLS
    assert response.wire_stop == "stop"
    assert response.message.parts == (
        ToolCall("call_7_1", "read", '{"path": "a"}'),
        ToolCall("call_7_2", "read", '{"path": "b"}'),
    )
    assert response.usage == UNKNOWN
    assert response.usage_source is UsageSource.ABSENT


def test_interleaved_pieces_are_put_together_by_index() -> None:
    fold = ChatFold("p", 1, NullSink(), ORIGIN)
    fold.event(chunk(tool_calls=[call_piece("", name="a", id="x", index=0)]))
    fold.event(chunk(tool_calls=[call_piece("", name="b", id="y", index=1)]))
    fold.event(chunk(tool_calls=[call_piece('{"n"', index=0), call_piece('{"m"', index=1)]))
    fold.event(chunk(tool_calls=[call_piece(": 1}", index=0), call_piece(": 2}", index=1)]))
    fold.event(chunk(finish="tool_calls"))
    assert fold.response().message.parts == (ToolCall("x", "a", '{"n": 1}'), ToolCall("y", "b", '{"m": 2}'))


def test_empty_chunks_are_no_content() -> None:
    fold = ChatFold("p", 1, NullSink(), ORIGIN)
    assert not fold.event(chunk(content=""))
    assert not fold.event({"choices": []})
    assert fold.event(chunk(reasoning="hm"))
    assert fold.event(chunk(content="a"))
    assert not fold.done
    assert fold.event(chunk(finish="stop"))
    assert fold.done


async def test_what_belongs_to_a_call_is_echoed(server: WireServer) -> None:
    """Gemini wants its signature back beside the call, DeepSeek its reasoning beside the calls."""
    fold = ChatFold("chat", 1, NullSink(), ORIGIN)
    extra = {"google": {"thought_signature": "sig"}}
    fold.event(chunk(reasoning_content="let me "))
    fold.event(chunk(reasoning_content="see"))
    fold.event(chunk(tool_calls=[call_piece("{}", name="read", id="c1", index=0, extra_content=extra)]))
    fold.event(chunk(finish="tool_calls"))
    message = fold.response().message
    assert Opaque("chat", {"reasoning_content": "let me see"}) in message.parts

    history = (user("hi"), message, Message("user", (ToolResult("c1", "text"),)))
    echoed = (await sent("chat", server, ask("chat", messages=history))).body["messages"][1]
    assert echoed["reasoning_content"] == "let me see"
    assert echoed["tool_calls"][0]["extra_content"] == extra


def test_reasoning_of_a_plain_answer_is_not_kept() -> None:
    fold = ChatFold("p", 1, NullSink(), ORIGIN)
    fold.event(
        chunk(reasoning_content="hm", content=[{"type": "text", "text": "Hi"}, {"type": "thinking"}])
    )
    fold.event(chunk(finish="length"))
    response = fold.response()
    assert response.message.parts == (Text("Hi"),)
    assert response.stop is StopReason.MAX_OUTPUT
