"""What is Anthropic's own: cache breakpoints, thinking, effort, structured output, its usage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from provider_calls import ask, growing_history, open_provider
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
    decode_response,
    encode_response,
    user,
)
from meshclaw.providers.anthropic_wire import MessageFold, read_usage
from meshclaw.providers.base import NullSink
from meshclaw.providers.failures import Origin
from meshclaw.usage import UNKNOWN, Usage, UsageSource

pytestmark = pytest.mark.anyio

TOOLS = tuple(ToolSpec(name, "Does.", {"type": "object", "properties": {}}) for name in ("read", "list"))
SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string", "maxLength": 60}},
    "required": ["title"],
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer(lambda recorded: Turn(text="ok")) as server:
        yield server


async def sent(server: WireServer, request: Request, **options: Any) -> Recorded:
    async with open_provider("anthropic", server, **options) as provider:
        await provider.complete(request, NullSink())
    return server.requests[-1]


def model_request(model: str, **fields: Any) -> Request:
    return Request(model, (user("hello"),), **fields)


def marks(value: Any, path: str = "") -> list[str]:
    """Where the cache breakpoints are."""
    if isinstance(value, dict):
        here = [path] if "cache_control" in value else []
        return here + [mark for key, item in value.items() for mark in marks(item, f"{path}/{key}")]
    if isinstance(value, list):
        return [mark for index, item in enumerate(value) for mark in marks(item, f"{path}/{index}")]
    return []


async def test_breakpoints_follow_the_history(server: WireServer) -> None:
    """On tools, system, the end, and where the last call's end was: never more than the four allowed."""
    thought = Opaque("anthropic", {"type": "thinking", "thinking": "", "signature": "s"})
    found = []
    for history in growing_history(thought, steps=3):
        request = ask("anthropic", messages=history, system="Be brief.", tools=TOOLS)
        found.append(set(marks((await sent(server, request)).body)))
    fixed = {"/system/0", "/tools/1"}
    assert found == [
        fixed | {"/messages/0/content/0"},
        fixed | {"/messages/0/content/0", "/messages/2/content/2"},
        fixed | {"/messages/2/content/2", "/messages/4/content/3"},
    ]


async def test_thinking_comes_back_verbatim(server: WireServer) -> None:
    reply = Turn(thinking="Let me see, I think", tool_calls=[("read", {"path": "a"})])
    with WireServer() as scripted:
        scripted.script(reply, Turn(text="ok"))
        async with open_provider("anthropic", scripted) as provider:
            first = await provider.complete(ask("anthropic", tools=TOOLS), NullSink())
            results = Message("user", (ToolResult(first.message.tool_calls[0].id, "text"),))
            history = (user("hello"), first.message, results)
            await provider.complete(ask("anthropic", messages=history, tools=TOOLS), NullSink())
        echoed = scripted.requests[1].body["messages"][1]["content"]
    assert first.message.parts[0] == Opaque(
        "anthropic", {"type": "thinking", "thinking": "Let me see, I think", "signature": "signed-1"}
    )
    assert echoed == [
        {"type": "thinking", "thinking": "Let me see, I think", "signature": "signed-1"},
        {"type": "tool_use", "id": "toolu_1_1", "name": "read", "input": {"path": "a"}},
    ]


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("claude-opus-4-8", "medium", {"type": "adaptive"}),
        ("claude-sonnet-4-6", "medium", {"type": "adaptive"}),
        ("claude-opus-5", "medium", {"type": "adaptive"}),
        ("claude-opus-4-5-20251101", "medium", None),
        ("claude-haiku-4-5", None, None),
        ("claude-sonnet-4-5-20250929", None, None),
        ("claude-opus-4-1-20250805", None, None),
        ("claude-3-7-sonnet-latest", None, None),
        ("qwen3-coder", None, None),
    ],
)
async def test_effort_goes_to_models_that_have_it(
    server: WireServer, model: str, effort: str | None, thinking: Any
) -> None:
    body = (await sent(server, model_request(model, effort="medium"))).body
    assert body.get("output_config", {}).get("effort") == effort
    assert body.get("thinking") == thinking
    unasked = (await sent(server, model_request(model))).body
    assert "output_config" not in unasked
    assert "thinking" not in unasked


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(
    "model", ["claude-haiku-5-5", "claude-fable-5-1", "claude-opus-6", "claude-opus-5-12"]
)
async def test_models_that_bind_thinking_may_drop_it(server: WireServer, model: str, trusted: bool) -> None:
    """Else a redacted secret or a stubbed tool output would make the API refuse the whole conversation."""
    request = await sent(server, model_request(model), trusted=trusted)
    binds = model != "claude-opus-5-12"
    expected = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    assert request.body.get("thinking") == (expected if binds else None)
    beta = request.headers.get("anthropic-beta")
    assert beta == ("thinking-binding-controls-2026-08-01" if binds else None)


async def test_schemas_are_enforced_where_they_can_be(server: WireServer) -> None:
    body = (await sent(server, model_request("claude-haiku-4-5", schema=SCHEMA))).body
    enforced = body["output_config"]["format"]
    assert enforced["type"] == "json_schema"
    assert enforced["schema"]["additionalProperties"] is False
    assert enforced["schema"]["properties"]["title"]["type"] == "string"
    assert "maxLength" not in enforced["schema"]["properties"]["title"]

    for model, schema in {
        "claude-haiku-4-5": {"type": "object"},
        "claude-opus-5": {**SCHEMA, "additionalProperties": {"type": "string"}},
        "claude-opus-5-5": {"type": "object", "properties": {"x": {"type": ["string", "null"]}}},
        "claude-3-haiku-20240307": SCHEMA,
    }.items():
        body = (await sent(server, model_request(model, schema=schema))).body
        assert "format" not in body.get("output_config", {})


async def test_empty_texts_and_messages_are_left_out(server: WireServer) -> None:
    history = (
        user("hello"),
        Message("assistant", ()),
        Message("assistant", (Text(" \n"), ToolCall("c1", "read", "[1]"))),
        Message("user", (ToolResult("c1", "", is_error=True), Text(""))),
    )
    body = (await sent(server, ask("anthropic", messages=history, system=" \n"))).body
    assert "system" not in body
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    (call,) = body["messages"][1]["content"]
    assert call["input"] == {"invalid_arguments": "[1]"}
    (result,) = body["messages"][2]["content"]
    assert result["is_error"] is True


async def test_untrusted_servers_get_no_headers_from_the_environment(
    server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-gateway: secret\nauthorization: Bearer other")
    kept = await sent(server, ask("anthropic"))
    assert kept.headers["x-gateway"] == "secret"
    untrusted = await sent(server, ask("anthropic"), trusted=False)
    assert "x-gateway" not in untrusted.headers
    assert untrusted.headers["authorization"] == "Bearer sk-test-0123456789"
    assert untrusted.headers["anthropic-version"]


async def test_proxies_are_not_used_for_loopback(
    server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await sent(server, ask("anthropic"))).body["model"]


async def test_a_paused_turn_says_so() -> None:
    with WireServer() as server:
        server.script(Turn(text="searching", stop="pause_turn"), Turn(stop="model_context_window_exceeded"))
        async with open_provider("anthropic", server) as provider:
            paused = await provider.complete(ask("anthropic"), NullSink())
            full = await provider.complete(ask("anthropic"), NullSink())
    assert paused.stop is StopReason.PAUSED
    assert full.stop is StopReason.MAX_OUTPUT


BASE = {"input_tokens": 10, "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 2}}


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        (BASE, Usage(10, 0, {}, 5, 2)),
        ({**BASE, "cache_read_input_tokens": None}, Usage(10, 0, {}, 5, 2)),
        (
            {**BASE, "cache_creation_input_tokens": 7},
            Usage(10, 0, {"5m": 7}, 5, 2, split_assumed=True),
        ),
        (
            {
                **BASE,
                "cache_creation_input_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3},
            },
            Usage(10, 0, {"5m": 4, "1h": 3}, 5, 2),
        ),
        (
            {
                **BASE,
                "cache_creation_input_tokens": 9,
                "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3},
            },
            Usage(10, 0, None, 5, 2),
        ),
        ({**BASE, "cache_read_input_tokens": -1}, Usage(10, None, {}, 5, 2)),
        ({"input_tokens": 10, "output_tokens": 5}, Usage(10, 0, {}, 5, 0, split_assumed=True)),
        ({**BASE, "output_tokens_details": {"thinking_tokens": 6}}, Usage(10, 0, {}, 5, None)),
        ({"cache_read_input_tokens": 3}, Usage(None, 3, {}, None, None)),
    ],
)
def test_usage(wire: dict[str, Any], usage: Usage) -> None:
    assert read_usage(wire) == usage


async def test_a_usage_that_never_became_final_is_partial() -> None:
    """The count of output tokens at a message's start is no count of the answer."""
    fold = MessageFold("anthropic", NullSink(), Origin("anthropic", "m"))
    start = {"id": "msg_1", "model": "m", "usage": {"input_tokens": 10, "output_tokens": 1}}
    fold.event({"type": "message_start", "message": start})
    fold.event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
    response = fold.response()
    assert response.usage_source is UsageSource.PARTIAL
    assert response.usage.input == 10
    assert response.usage.output is None
    assert response.usage != UNKNOWN
    assert response.wire_usage == {"input_tokens": 10, "output_tokens": 1}


async def test_the_region_that_served_a_call_is_kept(server: WireServer) -> None:
    wire = {"input_tokens": 10, "output_tokens": 1, "service_tier": "standard", "inference_geo": "us"}
    with WireServer(lambda recorded: Turn(text="ok", wire_usage=wire)) as us:
        async with open_provider("anthropic", us) as provider:
            response = await provider.complete(ask("anthropic"), NullSink())
    async with open_provider("anthropic", server) as provider:
        anywhere = await provider.complete(ask("anthropic"), NullSink())
    assert (response.tier, response.geo, anywhere.geo) == ("standard", "us", None)
    assert decode_response(encode_response(response)) == response
