"""OpenAI's Responses API, through its SDK, streamed and without state on the server.

Nothing is stored there (`store: false`), so reasoning comes sealed and goes back unchanged with the
history. Requests that share a prefix share `prompt_cache_key`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from meshclaw.messages import (
    Message,
    Opaque,
    Part,
    Request,
    Response,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
)
from meshclaw.providers.base import Sink
from meshclaw.providers.content import arguments_text, is_strict, section
from meshclaw.providers.failures import Origin, stream_failure
from meshclaw.providers.openai_client import DEFAULT_BASE_URL, KEY_HINT, OpenAIClient, preload, read_usage
from meshclaw.providers.wire import Call
from meshclaw.usage import UNKNOWN, UsageSource

__all__ = ["OpenAIProvider", "preload"]

CACHE_KEY_LIMIT = 64
"""Longest `prompt_cache_key` that the API takes, in characters."""

_NO_REASONING = re.compile(r"(^|:)(gpt-[34]|chatgpt-|gpt-[\d.]+-chat)")
"""Models that refuse reasoning options. Source: developers.openai.com, "Reasoning models"."""


class OpenAIProvider:
    """`api_key` None raises kind `authentication` at the first call, except for a server on loopback.

    `trusted` False (a server that a project names) keeps the SDK's environment headers away from it.
    `windows` gives context lengths by model. `clock` is the wall clock, in seconds since the epoch.
    """

    def __init__(
        self,
        api_key: str | None,
        base_url: str | None = None,
        *,
        name: str = "openai",
        free: bool = False,
        nudge: bool = False,
        trusted: bool = True,
        windows: Mapping[str, int] | None = None,
        key_hint: str = KEY_HINT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.free = free
        self.nudge = nudge
        self.overhead_tokens = 500
        self._windows = windows or {}
        self._key_hint = key_hint
        self._clock = clock
        self._client = OpenAIClient(api_key, base_url or DEFAULT_BASE_URL, needs_key=True, trusted=trusted)

    def window(self, model: str) -> int | None:
        return self._windows.get(model)

    async def complete(self, request: Request, sink: Sink) -> Response:
        origin = Origin(self.name, request.model, self._key_hint)
        client = await self._client.connect(origin)
        body = encode_request(request, self.name)
        return await self._client.exchange(
            request,
            Call(client, "/responses", body),
            ResponseFold(self.name, sink, origin),
            origin,
            self._clock(),
        )

    async def aclose(self) -> None:
        await self._client.aclose()


def encode_request(request: Request, provider: str) -> dict[str, Any]:
    """The body of a call. Sampling parameters are never sent: reasoning models refuse them."""
    body: dict[str, Any] = {
        "model": request.model,
        "input": [item for message in request.messages for item in _encode_message(message, provider)],
        "max_output_tokens": request.max_output,
        "store": False,
    }
    if request.system.strip():
        body["instructions"] = request.system
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
                "strict": False,
            }
            for tool in request.tools
        ]
    if request.cache_key:
        body["prompt_cache_key"] = request.cache_key[:CACHE_KEY_LIMIT]
    if not _NO_REASONING.search(request.model):
        body["include"] = ["reasoning.encrypted_content"]
        if request.effort:
            body["reasoning"] = {"effort": request.effort}
    if request.schema is not None:
        strict = is_strict(request.schema)
        answer = {"type": "json_schema", "name": "answer", "schema": dict(request.schema), "strict": strict}
        body["text"] = {"format": answer}
    return body


class ResponseFold:
    """Puts a Responses stream together, item by item."""

    def __init__(self, provider: str, sink: Sink, origin: Origin) -> None:
        self._provider = provider
        self._sink = sink
        self._origin = origin
        self._items: dict[int, dict[str, Any]] = {}
        self._final: dict[str, Any] = {}
        self.done = False

    def event(self, data: dict[str, Any]) -> bool:
        match data["type"]:
            case "keepalive" | "ping":
                return False
            case "error":
                raise stream_failure(self._origin, data)
            case "response.created":
                self._sink.response_id(data["response"]["id"])
            case "response.output_text.delta" | "response.refusal.delta":
                self._sink.text(data["delta"])
            case "response.output_item.done":
                # llama.cpp leaves the index out.
                self._items[data.get("output_index", len(self._items))] = data["item"]
            case "response.completed" | "response.incomplete":
                self._end(data["response"])
            case "response.failed":
                self._count(data["response"])
                raise stream_failure(self._origin, data["response"])
        return True

    def whole(self, data: dict[str, Any]) -> None:
        if data.get("error"):
            raise stream_failure(self._origin, data)
        self._sink.response_id(data["id"])
        self._end(data)
        for part in self._message().parts:
            if isinstance(part, Text):
                self._sink.text(part.text)

    def response(self) -> Response:
        wire = section(self._final, "usage")
        message = self._message()
        stop, word = self._stop(message)
        return Response(
            message=message,
            stop=stop,
            usage=UNKNOWN if wire is None else read_usage(wire, "input", "output"),
            usage_source=UsageSource.ABSENT if wire is None else UsageSource.FINAL,
            wire_usage=wire,
            response_id=self._final.get("id"),
            served_model=self._final.get("model"),
            tier=self._final.get("service_tier"),
            wire_stop=word,
        )

    def _end(self, response: dict[str, Any]) -> None:
        self._final = response
        if not self._items:
            self._items = dict(enumerate(response.get("output") or ()))
        self._count(response)
        self.done = True

    def _count(self, response: dict[str, Any]) -> None:
        wire = section(response, "usage")
        if wire is not None:
            self._sink.usage(read_usage(wire, "input", "output"))

    def _message(self) -> Message:
        parts = [part for _, item in sorted(self._items.items()) for part in self._parts(item)]
        return Message("assistant", tuple(parts))

    def _parts(self, item: dict[str, Any]) -> list[Part]:
        if item["type"] == "function_call":
            return [ToolCall(item["call_id"], item["name"], item.get("arguments") or "{}")]
        if item["type"] != "message":
            return [Opaque(self._provider, item)]
        texts = [part.get("text") or part.get("refusal") or "" for part in item["content"]]
        parts: list[Part] = [Text(text) for text in texts if text]
        if parts and item.get("phase"):
            parts.insert(0, Opaque(self._provider, {"type": "phase", "phase": item["phase"]}))
        return parts

    def _stop(self, message: Message) -> tuple[StopReason, str | None]:
        """Our reason and the wire's word for it."""
        status = self._final.get("status")
        if status == "incomplete":
            reason = (section(self._final, "incomplete_details") or {}).get("reason")
            reasons = {"max_output_tokens": StopReason.MAX_OUTPUT, "content_filter": StopReason.REFUSAL}
            return reasons.get(reason or "", StopReason.UNKNOWN), reason
        if any(_is_refusal(item) for item in self._items.values()):
            return StopReason.REFUSAL, "refusal"
        if message.tool_calls:
            return StopReason.TOOL_CALLS, status
        return (StopReason.ANSWER if status == "completed" else StopReason.UNKNOWN), status


def _is_refusal(item: Mapping[str, Any]) -> bool:
    return item["type"] == "message" and any(part["type"] == "refusal" for part in item["content"])


def _encode_message(message: Message, provider: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    phase: dict[str, Any] = {}
    for part in message.parts:
        match part:
            case Text(text):
                if text:
                    items.append({"type": "message", "role": message.role, "content": text, **phase})
            case ToolCall(id, name, arguments):
                call = {"type": "function_call", "call_id": id, "name": name}
                items.append({**call, "arguments": arguments_text(arguments)})
            case ToolResult(call_id, text, _):
                items.append({"type": "function_call_output", "call_id": call_id, "output": text})
            case Opaque(maker, data):
                if maker == provider and data.get("type") == "phase":
                    phase = {"phase": data["phase"]}
                elif maker == provider:
                    items.append(dict(data))
    return items
