"""How requests and answers look on the wire of Anthropic's Messages API.

The prompt cache is used to the full: breakpoints after the tools, after the system text, at the end of
the history and at the end of the user's message before it (where the last call put its own), which is all
of the four that a request may hold. Everything else in a request is byte for byte what it was last time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
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
from meshclaw.providers.content import arguments_object, count, is_closed, optional_count, section
from meshclaw.providers.failures import Origin, stream_failure
from meshclaw.usage import UNKNOWN, Usage, UsageSource

_STOPS = {
    "end_turn": StopReason.ANSWER,
    "stop_sequence": StopReason.ANSWER,
    "tool_use": StopReason.TOOL_CALLS,
    "max_tokens": StopReason.MAX_OUTPUT,
    "model_context_window_exceeded": StopReason.MAX_OUTPUT,
    "refusal": StopReason.REFUSAL,
    "pause_turn": StopReason.PAUSED,
}
_MARK = {"type": "ephemeral"}

# Which older models lack what; newer ones have it all. Source: platform.claude.com, "Effort",
# "Adaptive thinking" and "Structured outputs".
_NO_SCHEMA = re.compile(r"claude-(instant|[123]\b)|claude-(opus|sonnet)-4(-[01])?(-\d{8}|-latest)?$")
_NO_EFFORT = re.compile(_NO_SCHEMA.pattern + r"|claude-(haiku|sonnet)-4-5")
_NO_ADAPTIVE = re.compile(_NO_EFFORT.pattern + r"|claude-opus-4-5")

# Models that check that nothing before a thinking block has changed, and refuse the request if it has.
# Stubs for old tool outputs and redacted secrets do change it: ask for such blocks to be left out instead.
# Source: platform.claude.com, "Preserved thinking".
_BINDS_THINKING = re.compile(r"claude-[a-z]+-(5-[1-9](?!\d)|[6-9](?!\d)|\d\d(?!\d))")
_DROP_UNBOUND = {"prefix_mismatch_behavior": "drop_block"}
_BINDING_BETA = "thinking-binding-controls-2026-08-01"


def encode_request(
    request: Request, provider: str, transform_schema: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """The body of a call. Sampling parameters are never sent: new models refuse them."""
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_output,
        "messages": _mark_history(
            [encoded for message in request.messages if (encoded := _encode_message(message, provider))]
        ),
    }
    if request.system.strip():
        body["system"] = [{"type": "text", "text": request.system, "cache_control": _MARK}]
    if request.tools:
        body["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}
            for tool in request.tools
        ]
        body["tools"][-1]["cache_control"] = _MARK
    output: dict[str, Any] = {}
    if request.effort and "claude" in request.model:
        if not _NO_EFFORT.search(request.model):
            output["effort"] = request.effort
        if not _NO_ADAPTIVE.search(request.model):
            body["thinking"] = {"type": "adaptive"}
    if _BINDS_THINKING.search(request.model):
        body["thinking"] = {"type": "adaptive", "block_binding": _DROP_UNBOUND}
    if schema := _output_schema(request, transform_schema):
        output["format"] = {"type": "json_schema", "schema": schema}
    if output:
        body["output_config"] = output
    return body


def extra_headers(model: str) -> dict[str, str]:
    """The headers that the body of a call to this model needs."""
    return {"anthropic-beta": _BINDING_BETA} if _BINDS_THINKING.search(model) else {}


class MessageFold:
    """Puts a Messages stream together, block by block."""

    def __init__(self, provider: str, sink: Sink, origin: Origin) -> None:
        self._provider = provider
        self._sink = sink
        self._origin = origin
        self._start: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._arguments: dict[int, list[str]] = {}
        self._stop: str | None = None
        self._usage: dict[str, Any] | None = None
        self._final_usage = False
        self.done = False

    def event(self, data: dict[str, Any]) -> bool:
        match data["type"]:
            case "ping":
                return False
            case "error":
                raise stream_failure(self._origin, data)
            case "message_start":
                self._begin(data["message"], final=False)
            case "content_block_start":
                self._blocks[data["index"]] = dict(data["content_block"])
            case "content_block_delta":
                self._delta(data["index"], data["delta"])
            case "message_delta":
                self._stop = data["delta"].get("stop_reason") or self._stop
                self._tokens(data, final=True)
                self.done = self.done or self._stop is not None
            case "message_stop":
                self.done = True
        return True

    def whole(self, data: dict[str, Any]) -> None:
        if data["type"] == "error":
            raise stream_failure(self._origin, data)
        self._begin(data, final=True)
        self._blocks = {index: dict(block) for index, block in enumerate(data["content"])}
        for block in self._blocks.values():
            if block["type"] == "text":
                self._sink.text(block["text"])
        self._stop = data.get("stop_reason")
        self.done = True

    def response(self) -> Response:
        parts = [self._part(index, block) for index, block in sorted(self._blocks.items())]
        usage = UNKNOWN
        source = UsageSource.ABSENT
        if self._usage is not None:
            usage = self._read_usage()
            source = UsageSource.FINAL if self._final_usage else UsageSource.PARTIAL
        return Response(
            message=Message("assistant", tuple(part for part in parts if part != Text(""))),
            stop=_STOPS.get(self._stop or "", StopReason.UNKNOWN),
            usage=usage,
            usage_source=source,
            wire_usage=self._usage,
            response_id=self._start.get("id"),
            served_model=self._start.get("model"),
            tier=(self._usage or {}).get("service_tier"),
            geo=(self._usage or {}).get("inference_geo"),
            wire_stop=self._stop,
        )

    def _begin(self, message: dict[str, Any], *, final: bool) -> None:
        self._start = message
        self._sink.response_id(message["id"])
        self._tokens(message, final=final)

    def _tokens(self, data: dict[str, Any], *, final: bool) -> None:
        """Takes a usage report, if there is one; its counts are cumulative."""
        report = section(data, "usage")
        if report is None:
            return
        counts = {key: value for key, value in report.items() if value is not None}
        self._usage = {**(self._usage or {}), **counts}
        self._final_usage = self._final_usage or final
        self._sink.usage(self._read_usage())

    def _read_usage(self) -> Usage:
        """What the start of a message says of its output is no count of it yet."""
        usage = read_usage(self._usage or {})
        return usage if self._final_usage else replace(usage, output=None, reasoning=None)

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        block = self._blocks[index]
        match delta["type"]:
            case "text_delta":
                block["text"] = block.get("text", "") + delta["text"]
                self._sink.text(delta["text"])
            case "input_json_delta":
                self._arguments.setdefault(index, []).append(delta["partial_json"])
            case "thinking_delta":
                block["thinking"] = block.get("thinking", "") + delta["thinking"]
            case "signature_delta":
                block["signature"] = delta["signature"]

    def _part(self, index: int, block: dict[str, Any]) -> Part:
        match block["type"]:
            case "text":
                return Text(block["text"])
            case "tool_use":
                arguments = "".join(self._arguments.get(index, ())) or json.dumps(block.get("input") or {})
                return ToolCall(block["id"], block["name"], arguments)
        return Opaque(self._provider, block)


def read_usage(wire: Mapping[str, Any]) -> Usage:
    """Usage from the wire, whose buckets are disjoint already."""
    assumed = False
    written = optional_count(wire, "cache_creation_input_tokens")
    details = section(wire, "cache_creation")
    writes: dict[str, int] | None
    if written is None:
        writes = None
    elif details is None:
        writes = {"5m": written} if written else {}
        assumed = written > 0
    else:
        short = optional_count(details, "ephemeral_5m_input_tokens")
        long = optional_count(details, "ephemeral_1h_input_tokens")
        writes = None
        if short is not None and long is not None and short + long == written:
            writes = {key: tokens for key, tokens in (("5m", short), ("1h", long)) if tokens}
    output = count(wire, "output_tokens")
    thought = section(wire, "output_tokens_details")
    reasoning = None if output is None else 0
    if thought is not None and output is not None:
        reasoning = optional_count(thought, "thinking_tokens")
        if reasoning is not None and reasoning > output:
            reasoning = None
    return Usage(
        input=count(wire, "input_tokens"),
        cache_read=optional_count(wire, "cache_read_input_tokens"),
        cache_write=writes,
        output=output,
        reasoning=reasoning,
        split_assumed=assumed or (thought is None and output is not None),
    )


def _encode_message(message: Message, provider: str) -> dict[str, Any] | None:
    """None for a message that would be empty, which the API refuses."""
    content: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case Text(text):
                if text.strip():
                    content.append({"type": "text", "text": text})
            case ToolCall(id, name, arguments):
                value = arguments_object(arguments)
                content.append({"type": "tool_use", "id": id, "name": name, "input": value})
            case ToolResult(call_id, text, is_error):
                result = {"type": "tool_result", "tool_use_id": call_id, "content": text}
                content.append({**result, "is_error": True} if is_error else result)
            case Opaque(maker, data):
                if maker == provider:
                    content.append(dict(data))
    return {"role": message.role, "content": content} if content else None


def _mark_history(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sets the cache breakpoints of the history: after its end, and after the user's message before.

    The second is where the previous call left its own breakpoint: the API looks back only twenty blocks
    from a breakpoint, and one step's tool results can be more than that.
    """
    marked = 0
    for message in reversed(messages):
        block = message["content"][-1]
        if message["role"] == "user" and block["type"] in {"text", "tool_result"}:
            block["cache_control"] = _MARK
            marked += 1
            if marked == 2:
                break
    return messages


def _output_schema(
    request: Request, transform_schema: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any] | None:
    """The schema in the form that the API can enforce, or None where it cannot."""
    if request.schema is None or _NO_SCHEMA.search(request.model) or not is_closed(request.schema):
        return None
    try:
        return transform_schema(dict(request.schema))
    except (ValueError, TypeError, AssertionError, AttributeError):
        return None
