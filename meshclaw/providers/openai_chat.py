"""OpenAI's Chat Completions, streamed, as compatible servers speak it.

Ollama, vLLM, LM Studio, llama.cpp, OpenRouter and Gemini differ in small things: the name of the output
limit, whether usage comes at all, empty tool-call ids, the finish reason of a tool call. What they leave
out is filled in here or stays unknown; it is never guessed into a number. What some of them want back
beside a tool call (Gemini's signatures, DeepSeek's reasoning) is kept as Opaque and echoed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

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
from meshclaw.providers.tool_text import with_calls_in_text
from meshclaw.providers.wire import Call
from meshclaw.usage import UNKNOWN, UsageSource

__all__ = ["OpenAIChatProvider", "preload"]

LimitName = Literal["max_tokens", "max_completion_tokens"]

_STOPS = {
    "stop": StopReason.ANSWER,
    "tool_calls": StopReason.TOOL_CALLS,
    "function_call": StopReason.TOOL_CALLS,
    "length": StopReason.MAX_OUTPUT,
    "content_filter": StopReason.REFUSAL,
}


class OpenAIChatProvider:
    """A server that speaks Chat Completions.

    `api_key` None sends no key. `limit_name` is what the server calls the output limit: OpenAI and
    OpenRouter take `max_completion_tokens`, others only `max_tokens`. `cache_keys` sends
    `prompt_cache_key`, which strict servers refuse. `trusted` True lets the SDK add the headers that it
    reads from the environment. `nudge` (small models) also reads tool calls that arrive as
    text. `windows` gives context lengths by model. `clock` is the wall clock, in
    seconds since the epoch.
    """

    def __init__(
        self,
        api_key: str | None,
        base_url: str | None = None,
        *,
        name: str = "openai-chat",
        free: bool = False,
        nudge: bool = False,
        trusted: bool = False,
        limit_name: LimitName = "max_tokens",
        cache_keys: bool = False,
        windows: Mapping[str, int] | None = None,
        key_hint: str = KEY_HINT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.free = free
        self.nudge = nudge
        self.overhead_tokens = 1_000
        self._limit_name = limit_name
        self._cache_keys = cache_keys
        self._windows = windows or {}
        self._key_hint = key_hint
        self._clock = clock
        self._client = OpenAIClient(
            api_key, base_url or DEFAULT_BASE_URL, needs_key=base_url is None, trusted=trusted
        )

    def window(self, model: str) -> int | None:
        return self._windows.get(model)

    async def complete(self, request: Request, sink: Sink) -> Response:
        origin = Origin(self.name, request.model, self._key_hint)
        client = await self._client.connect(origin)
        body = encode_request(request, self.name, self._limit_name)
        if self._cache_keys and request.cache_key:
            body["prompt_cache_key"] = request.cache_key
        response = await self._client.exchange(
            request,
            Call(client, "/chat/completions", body),
            ChatFold(self.name, request.step, sink, origin),
            origin,
            self._clock(),
        )
        return with_calls_in_text(response, request) if self.nudge else response

    async def aclose(self) -> None:
        await self._client.aclose()


def encode_request(request: Request, provider: str, limit_name: LimitName) -> dict[str, Any]:
    """The body of a call. Sampling parameters are never sent."""
    messages: list[dict[str, Any]] = []
    if request.system.strip():
        messages.append({"role": "system", "content": request.system})
    for message in request.messages:
        messages += _encode_message(message, provider)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": messages,
        limit_name: request.max_output,
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": dict(tool.parameters),
                },
            }
            for tool in request.tools
        ]
    if request.effort:
        body["reasoning_effort"] = request.effort
    if request.schema is not None:
        strict = is_strict(request.schema)
        answer = {"name": "answer", "schema": dict(request.schema), "strict": strict}
        body["response_format"] = {"type": "json_schema", "json_schema": answer}
    return body


class ChatFold:
    """Puts a Chat Completions stream together. `step` makes ids for calls that come without one."""

    def __init__(self, provider: str, step: int, sink: Sink, origin: Origin) -> None:
        self._provider = provider
        self._step = step
        self._sink = sink
        self._origin = origin
        self._first: dict[str, Any] = {}
        self._text: list[str] = []
        self._refused = False
        self._reasoning: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._stop: str | None = None
        self._usage: Mapping[str, Any] | None = None
        self.done = False

    def event(self, data: dict[str, Any]) -> bool:
        if data.get("error"):
            raise stream_failure(self._origin, data)
        self._begin(data)
        carried = False
        for choice in data.get("choices") or ():
            carried = self._delta(choice.get("delta") or {}) or carried
            if choice.get("finish_reason"):
                self._stop = choice["finish_reason"]
                self.done = True
        return self._count(data) or carried or self.done

    def whole(self, data: dict[str, Any]) -> None:
        self._begin(data)
        choice = data["choices"][0]
        self._delta(choice["message"])
        self._stop = choice.get("finish_reason")
        self._count(data)
        self.done = True

    def response(self) -> Response:
        parts: list[Part] = []
        if self._calls and (thought := "".join(self._reasoning)):
            parts.append(Opaque(self._provider, {"reasoning_content": thought}))
        if text := "".join(self._text):
            parts.append(Text(text))
        for number, (_, call) in enumerate(sorted(self._calls.items()), 1):
            parts += self._call_parts(number, call)
        stop = _STOPS.get(self._stop or "", StopReason.UNKNOWN)
        if self._refused:
            stop = StopReason.REFUSAL
        elif self._calls and stop is StopReason.ANSWER:
            stop = StopReason.TOOL_CALLS
        return Response(
            message=Message("assistant", tuple(parts)),
            stop=stop,
            usage=UNKNOWN if self._usage is None else read_usage(self._usage, "prompt", "completion"),
            usage_source=UsageSource.ABSENT if self._usage is None else UsageSource.FINAL,
            wire_usage=self._usage,
            response_id=self._first.get("id"),
            served_model=self._first.get("model"),
            tier=self._first.get("service_tier"),
            wire_stop=self._stop,
        )

    def _begin(self, data: dict[str, Any]) -> None:
        if not self._first:
            self._first = data
            if data.get("id"):
                self._sink.response_id(data["id"])

    def _delta(self, delta: dict[str, Any]) -> bool:
        """Takes a delta, or a whole message, which looks alike; true when it carried something."""
        text = _plain(delta.get("content")) or delta.get("refusal")
        self._refused = self._refused or bool(delta.get("refusal"))
        if text:
            self._text.append(text)
            self._sink.text(text)
        for place, piece in enumerate(delta.get("tool_calls") or ()):
            self._call_delta(place, piece)
        if thought := delta.get("reasoning_content"):
            self._reasoning.append(thought)
        return bool(text or thought or delta.get("reasoning") or delta.get("tool_calls"))

    def _call_delta(self, place: int, piece: dict[str, Any]) -> None:
        """Adds a piece to its call. Servers that leave out the index send each call in one piece."""
        index = piece.get("index")
        if not isinstance(index, int):
            index = len(self._calls) if place == 0 or piece.get("id") else place
        call = self._calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        function = piece.get("function") or {}
        call["id"] = call["id"] or piece.get("id") or ""
        call["name"] = call["name"] or function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""
        call["extra"] = piece.get("extra_content") or call.get("extra")

    def _call_parts(self, number: int, call: dict[str, Any]) -> list[Part]:
        id = call["id"] or f"call_{self._step}_{number}"
        parts: list[Part] = [ToolCall(id, call["name"], call["arguments"] or "{}")]
        if call["extra"]:
            parts.append(Opaque(self._provider, {"call": id, "extra_content": call["extra"]}))
        return parts

    def _count(self, data: dict[str, Any]) -> bool:
        usage = section(data, "usage")
        if usage is None:
            return False
        self._usage = usage
        self._sink.usage(read_usage(usage, "prompt", "completion"))
        return True


def _plain(content: Any) -> str:
    """Text of a content, which some servers send as a list of parts."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if part.get("type") == "text")
    return content or ""


def _encode_message(message: Message, provider: str) -> list[dict[str, Any]]:
    """Tool results become messages of their own, before any text that came with them."""
    results: list[dict[str, Any]] = []
    calls: dict[str, dict[str, Any]] = {}
    encoded: dict[str, Any] = {"role": message.role, "content": message.text}
    for part in message.parts:
        match part:
            case ToolResult(call_id, content, _):
                results.append({"role": "tool", "tool_call_id": call_id, "content": content})
            case ToolCall(id, name, arguments):
                function = {"name": name, "arguments": arguments_text(arguments)}
                calls[id] = {"id": id, "type": "function", "function": function}
            case Opaque(maker, data) if maker == provider and data.get("call") in calls:
                calls[data["call"]]["extra_content"] = data["extra_content"]
            case Opaque(maker, data) if maker == provider and "reasoning_content" in data:
                encoded["reasoning_content"] = data["reasoning_content"]
    if calls:
        encoded["tool_calls"] = list(calls.values())
    return [*results, encoded] if message.text or calls else results
