"""What the tests of the three adapters share: how to make them, a sink that remembers, a conversation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from wire_server import WireServer

from meshclaw.errors import ProviderError
from meshclaw.messages import Message, Opaque, Request, Text, ToolCall, ToolResult, user
from meshclaw.providers.anthropic import AnthropicProvider
from meshclaw.providers.base import NullSink, Provider, Sink
from meshclaw.providers.openai_chat import OpenAIChatProvider
from meshclaw.providers.openai_responses import OpenAIProvider
from meshclaw.usage import Usage

NOW = 1_790_000_000.0
"""The adapters' clock in tests."""
KEY = "sk-test-0123456789"

MAKERS: dict[str, Callable[..., Provider]] = {
    "anthropic": lambda server, **options: AnthropicProvider(KEY, server.url, clock=lambda: NOW, **options),
    "openai": lambda server, **options: OpenAIProvider(
        KEY, server.openai_url, clock=lambda: NOW, **options
    ),
    "chat": lambda server, **options: OpenAIChatProvider(
        KEY, server.openai_url, name="chat", clock=lambda: NOW, **options
    ),
}
WIRES = tuple(MAKERS)
MODELS = {"anthropic": "claude-opus-5-5", "openai": "gpt-6-sol", "chat": "qwen3"}


@asynccontextmanager
async def open_provider(wire: str, server: WireServer, **options: Any) -> AsyncIterator[Provider]:
    provider = MAKERS[wire](server, **options)
    try:
        yield provider
    finally:
        await provider.aclose()


def ask(wire: str, text: str = "hello", **fields: Any) -> Request:
    fields.setdefault("messages", (user(text),))
    return Request(MODELS[wire], **fields)


async def failure(
    wire: str, server: WireServer, sink: Sink | None = None, request: Request | None = None, **options: Any
) -> ProviderError:
    """The error of one call."""
    async with open_provider(wire, server, **options) as provider:
        with pytest.raises(ProviderError) as caught:
            await provider.complete(request or ask(wire), sink or NullSink())
    assert str(caught.value).startswith(f"{provider.name}/{MODELS[wire]}: ")
    assert KEY not in str(caught.value)
    assert len(server.requests) <= 1
    return caught.value


class RecordingSink:
    """A Sink that keeps everything."""

    def __init__(self) -> None:
        self.deltas: list[str] = []
        self.ids: list[str] = []
        self.usages: list[Usage] = []

    def text(self, delta: str) -> None:
        self.deltas.append(delta)

    def response_id(self, value: str) -> None:
        self.ids.append(value)

    def usage(self, usage: Usage) -> None:
        self.usages.append(usage)


def growing_history(thought: Opaque, steps: int = 4) -> Iterator[tuple[Message, ...]]:
    """The histories of consecutive requests: each is the one before plus one step and its results."""
    messages: list[Message] = [user("Find the bug.\n\nThe log: \u2028 ünïcode")]
    for step in range(1, steps + 1):
        yield tuple(messages)
        calls = tuple(ToolCall(f"c{step}{n}", "read", f'{{"path":  "{n}.py"}}') for n in range(step))
        calls += (ToolCall(f"x{step}", "read", '{"path": "half'),)
        messages.append(Message("assistant", (thought, Text("I look."), *calls)))
        results = tuple(ToolResult(call.id, f"content of {call.id}", call is calls[-1]) for call in calls)
        messages.append(Message("user", (*results, Text("Go on."))))


def strip_cache_marks(value: Any) -> Any:
    """The same JSON without cache markers."""
    if isinstance(value, dict):
        return {key: strip_cache_marks(item) for key, item in value.items() if key != "cache_control"}
    if isinstance(value, list):
        return [strip_cache_marks(item) for item in value]
    return value
