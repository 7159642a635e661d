"""What is said to a model and what it says back, in one vocabulary for every provider.

All values are frozen. A tool call's `arguments` stay the text that arrived until the Toolbox decodes
them: a response that was paid for is recorded before anything in it can fail to parse.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any, Literal

from meshclaw.frozen import dataclass
from meshclaw.usage import UNKNOWN, Usage, UsageSource

Effort = Literal["low", "medium", "high"]
EFFORTS: tuple[Effort, ...] = ("low", "medium", "high")

DEFAULT_MAX_OUTPUT = 8_192
"""Output limit of a call in tokens, when nothing narrower applies."""
MINIMUM_MAX_OUTPUT = 512
"""A call that cannot be given this many output tokens is not made."""


class StopReason(StrEnum):
    """Why the model stopped."""

    ANSWER = "answer"
    TOOL_CALLS = "tool_calls"
    MAX_OUTPUT = "max_output"
    REFUSAL = "refusal"
    PAUSED = "paused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to use a tool; `arguments` is JSON text as received, perhaps invalid."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the model is told about its call. `is_error` marks failures and denials."""

    call_id: str
    content: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Opaque:
    """A provider's own item (thinking with its signature, encrypted reasoning).

    It is echoed unchanged to the provider that made it, and to no other.
    """

    provider: str
    data: Mapping[str, Any]


Part = Text | ToolCall | ToolResult | Opaque


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """All text parts, joined as they came."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


def user(text: str) -> Message:
    """A user's message of one text part."""
    return Message("user", (Text(text),))


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """`parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to ask for.

    `model` is the provider's own id. `max_output` is in tokens. `schema` asks for an answer that fits a
    JSON Schema where the provider can enforce it. `cache_key` groups requests that share a prefix.
    `timeout` is the whole call's deadline and `stall_timeout` the longest wait for the next event that
    carries content (pings do not count), both in seconds. `step` is which Step asks; it is not sent.
    """

    model: str
    messages: tuple[Message, ...]
    system: str = ""
    tools: tuple[ToolSpec, ...] = ()
    max_output: int = DEFAULT_MAX_OUTPUT
    effort: Effort | None = None
    schema: Mapping[str, Any] | None = None
    cache_key: str = ""
    timeout: float = 600.0
    stall_timeout: float = 180.0
    step: int = 1


@dataclass(frozen=True, slots=True)
class Response:
    """A completed call. `wire_usage` is the provider's usage object, verbatim, or None.

    `tier` and `geo` are the provider's words for how and where it was served: prices can hang on them.
    """

    message: Message
    stop: StopReason
    usage: Usage = UNKNOWN
    usage_source: UsageSource = UsageSource.ABSENT
    wire_usage: Mapping[str, Any] | None = None
    response_id: str | None = None
    served_model: str | None = None
    tier: str | None = None
    geo: str | None = None
    wire_stop: str | None = field(default=None)


def encode_message(message: Message) -> dict[str, Any]:
    """A message as plain data, for transcripts; `decode_message` is its inverse."""
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case Text(text):
                parts.append({"text": text})
            case ToolCall(id, name, arguments):
                parts.append({"tool_call": id, "name": name, "arguments": arguments})
            case ToolResult(call_id, content, is_error):
                parts.append({"tool_result": call_id, "content": content, "is_error": is_error})
            case Opaque(provider, data):
                parts.append({"opaque": provider, "data": dict(data)})
    return {"role": message.role, "parts": parts}


def decode_message(data: Mapping[str, Any]) -> Message:
    """Raises KeyError or TypeError when `data` did not come from `encode_message`."""
    parts: list[Part] = []
    for item in data["parts"]:
        if "text" in item:
            parts.append(Text(item["text"]))
        elif "tool_call" in item:
            parts.append(ToolCall(item["tool_call"], item["name"], item["arguments"]))
        elif "tool_result" in item:
            parts.append(ToolResult(item["tool_result"], item["content"], item["is_error"]))
        else:
            parts.append(Opaque(item["opaque"], item["data"]))
    return Message(data["role"], tuple(parts))


def encode_response(response: Response) -> dict[str, Any]:
    """A response as plain data, for transcripts; `decode_response` is its inverse."""
    usage = response.usage
    return {
        "message": encode_message(response.message),
        "stop": str(response.stop),
        "wire_stop": response.wire_stop,
        "usage": {
            "input": usage.input,
            "cache_read": usage.cache_read,
            "cache_write": None if usage.cache_write is None else dict(usage.cache_write),
            "output": usage.output,
            "reasoning": usage.reasoning,
            "split_assumed": usage.split_assumed,
        },
        "usage_source": str(response.usage_source),
        "wire_usage": None if response.wire_usage is None else dict(response.wire_usage),
        "response_id": response.response_id,
        "served_model": response.served_model,
        "tier": response.tier,
        "geo": response.geo,
    }


def decode_response(data: Mapping[str, Any]) -> Response:
    """Raises KeyError, TypeError or ValueError when `data` did not come from `encode_response`."""
    return Response(
        message=decode_message(data["message"]),
        stop=StopReason(data["stop"]),
        usage=Usage(**data["usage"]),
        usage_source=UsageSource(data["usage_source"]),
        wire_usage=data["wire_usage"],
        response_id=data["response_id"],
        served_model=data["served_model"],
        tier=data["tier"],
        geo=data.get("geo"),
        wire_stop=data["wire_stop"],
    )


class RequestDigest:
    """Digests the requests of one conversation.

    It keeps the hash of the messages that were there before: a request costs what came since, however long
    the history is.
    """

    def __init__(self) -> None:
        self._head = ""
        self._messages: tuple[Message, ...] = ()
        self._state = hashlib.sha256()
        self._fixed: tuple[Any, ...] = ()
        self._tail = b""

    def of(self, request: Request) -> str:
        """SHA-256 in hex over everything in a request that the model reads, and its output limit.

        Two requests with the same digest ask a provider for the same thing. It is that of one JSON object
        with sorted keys and no blanks.
        """
        head = f'{{"effort":{_json(request.effort)},"max_output":{_json(request.max_output)},"messages":['
        known = len(self._messages)
        if head != self._head or request.messages[:known] != self._messages:
            known, self._messages = 0, ()
            self._head, self._state = head, hashlib.sha256(head.encode())
        new = [_json(encode_message(message)) for message in request.messages[known:]]
        self._state.update((("," if known and new else "") + ",".join(new)).encode())
        self._messages = request.messages
        fixed = (request.model, request.schema, request.system, request.tools)
        if fixed != self._fixed:
            tools = [[spec.name, spec.description, spec.parameters] for spec in request.tools]
            rest = {"model": fixed[0], "schema": fixed[1], "system": fixed[2], "tools": tools}
            self._fixed, self._tail = fixed, f"],{_json(rest)[1:]}".encode()
        whole = self._state.copy()
        whole.update(self._tail)
        return whole.hexdigest()


def request_digest(request: Request) -> str:
    """The RequestDigest of a single request."""
    return RequestDigest().of(request)


_json = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
