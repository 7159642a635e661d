"""What is OpenAI's own: stateless reasoning, cache keys, structured output, its usage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from provider_calls import RecordingSink, ask, open_provider
from wire_server import Recorded, Turn, WireServer

from meshclaw.errors import FailureKind, ProviderError
from meshclaw.messages import (
    Message,
    Request,
    StopReason,
    Text,
    ToolResult,
    ToolSpec,
    user,
)
from meshclaw.providers.base import NullSink
from meshclaw.providers.content import is_strict
from meshclaw.providers.failures import Origin
from meshclaw.providers.openai_client import read_usage
from meshclaw.providers.openai_responses import ResponseFold
from meshclaw.usage import Usage

pytestmark = pytest.mark.anyio

READ = ToolSpec("read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
STRICT = {
    "type": "object",
    "properties": {"title": {"type": "string"}},
    "required": ["title"],
    "additionalProperties": False,
}
LOOSE = {"type": "object"}
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


async def test_nothing_is_stored_and_prefixes_are_grouped(server: WireServer) -> None:
    body = (await sent("openai", server, ask("openai", cache_key="k" * 70, effort="low", system="s"))).body
    assert body["store"] is False
    assert body["include"] == ["reasoning.encrypted_content"]
    assert body["prompt_cache_key"] == "k" * 64
    assert body["reasoning"] == {"effort": "low"}
    assert body["instructions"] == "s"
    assert "prompt_cache_key" not in (await sent("openai", server, ask("openai"))).body


@pytest.mark.parametrize(
    ("model", "reasons"),
    [("gpt-6-sol", True), ("o4-mini", True), ("gpt-5.6-sol", True), ("gpt-4.1", False), ("gpt-4o", False),
     ("ft:gpt-4o:me", False), ("gpt-5.2-chat-latest", False)],
)  # fmt: skip
async def test_reasoning_options_go_to_reasoning_models(
    server: WireServer, model: str, reasons: bool
) -> None:
    body = (await sent("openai", server, Request(model, (user("hi"),), effort="high"))).body
    assert ("reasoning" in body) is reasons
    assert ("include" in body) is reasons


@pytest.mark.parametrize(("schema", "strict"), [(STRICT, True), (LOOSE, False)])
async def test_schemas(server: WireServer, schema: dict[str, Any], strict: bool) -> None:
    body = (await sent("openai", server, ask("openai", schema=schema))).body
    expected = {"name": "answer", "schema": schema, "strict": strict}
    assert body["text"]["format"] == {"type": "json_schema", **expected}
    chat = (await sent("chat", server, ask("chat", schema=schema))).body
    assert chat["response_format"] == {"type": "json_schema", "json_schema": expected}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (STRICT, True),
        ({**STRICT, "required": []}, False),
        ({**STRICT, "additionalProperties": True}, False),
        ({"type": "array", "items": STRICT}, False),
        ({**STRICT, "properties": {"title": {"type": "array", "items": STRICT}}}, True),
        ({**STRICT, "properties": {"title": {"type": "array", "items": LOOSE}}}, False),
        ({**STRICT, "properties": {"title": {"oneOf": [{"type": "string"}]}}}, False),
        ({**STRICT, "properties": {"not": {"type": "string"}}, "required": ["not"]}, True),
    ],
)
def test_the_strict_subset(schema: dict[str, Any], strict: bool) -> None:
    assert is_strict(schema) is strict


@pytest.mark.parametrize("indexed", [True, False])
async def test_reasoning_and_phases_come_back_verbatim(indexed: bool) -> None:
    items = [
        {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "sealed"},
        {"type": "message", "phase": "commentary", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "c1", "name": "read", "arguments": '{"path":  "a"}'},
    ]
    fold = ResponseFold("openai", NullSink(), ORIGIN)
    for index, item in enumerate(items):
        place = {"output_index": index} if indexed else {}
        fold.event({"type": "response.output_item.done", "item": item, **place})
    fold.event({"type": "response.completed", "response": {"id": "r", "status": "completed"}})
    answer = fold.response()
    assert answer.stop is StopReason.TOOL_CALLS

    with WireServer(lambda recorded: Turn(text="ok")) as server:
        history = (user("hi"), answer.message, Message("user", (ToolResult("c1", "text"), Text("Go on."))))
        body = (await sent("openai", server, ask("openai", messages=history))).body
    assert body["input"] == [
        {"type": "message", "role": "user", "content": "hi"},
        items[0],
        {"type": "message", "role": "assistant", "content": "I look.", "phase": "commentary"},
        items[2],
        {"type": "function_call_output", "call_id": "c1", "output": "text"},
        {"type": "message", "role": "user", "content": "Go on."},
    ]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("server_error", FailureKind.SERVER),
        ("rate_limit_exceeded", FailureKind.RATE_LIMIT),
        ("invalid_prompt", FailureKind.CONTENT_REFUSED),
    ],
)
def test_a_failed_response_tells_its_usage_first(code: str, kind: FailureKind) -> None:
    sink = RecordingSink()
    failed = {"error": {"code": code, "message": "sorry"}, "usage": {"input_tokens": 5, "output_tokens": 1}}
    with pytest.raises(ProviderError, match="sorry") as caught:
        ResponseFold("openai", sink, ORIGIN).event({"type": "response.failed", "response": failed})
    assert caught.value.kind is kind
    assert caught.value.billed
    assert sink.usages[0].input == 5


async def test_a_content_filter_that_cuts_in_is_a_refusal() -> None:
    with WireServer() as server:
        server.script(*[Turn(text="half", stop="content_filter")] * 2)
        for wire in ("openai", "chat"):
            async with open_provider(wire, server) as provider:
                response = await provider.complete(ask(wire), NullSink())
            assert response.stop is StopReason.REFUSAL


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        (
            {
                "input_tokens": 100,
                "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
                "output_tokens": 9,
                "output_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(10, 60, {"other": 30}, 9, 4, split_assumed=True),
        ),
        (
            {
                "input_tokens": 100,
                "input_tokens_details": {
                    "cached_tokens": 60,
                    "cache_write_tokens": 30,
                    "cache_write_tokens_details": {"ttl_30m_tokens": 10, "ttl_12h_tokens": 20},
                },
                "output_tokens": 9,
                "output_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(10, 60, {"30m": 10, "12h": 20}, 9, 4),
        ),
        (
            {"input_tokens": 100, "output_tokens": 9},
            Usage(100, 0, {}, 9, 0, split_assumed=True),
        ),
        (
            {
                "input_tokens": 50,
                "input_tokens_details": {"cached_tokens": 60},
                "output_tokens": 9,
                "output_tokens_details": {"reasoning_tokens": 10},
            },
            Usage(None, None, None, 9, None),
        ),
        ({"output_tokens": -1}, Usage(None, None, None, None, None)),
    ],
)
def test_usage(wire: dict[str, Any], usage: Usage) -> None:
    assert read_usage(wire, "input", "output") == usage


async def test_untrusted_servers_get_no_headers_from_the_environment(
    server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-gateway: secret\nAuthorization: Bearer other")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    kept = await sent("openai", server, ask("openai"))
    assert kept.headers["openai-organization"] == "org-1"
    for wire in ("openai", "chat"):
        headers = (await sent(wire, server, ask(wire), trusted=False)).headers
        assert not {"x-gateway", "openai-organization"} & headers.keys()
        assert headers["authorization"] == "Bearer sk-test-0123456789"
