"""Anthropic's Messages, as `wire_server` speaks it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wire_turns import Answer, Event, pieces, written


class Messages:
    """Anthropic's Messages API. Usage is disjoint already."""

    half = 4
    last = b""

    def events(self, turn: Answer, number: int, request: Mapping[str, Any]) -> list[Event]:
        start = _anthropic_usage(turn)
        message: Event = {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "model": turn.model or request.get("model", "toy-model"),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }
        if start is not None:
            message["usage"] = {**start, "output_tokens": 1} if "output_tokens" in start else start
        events: list[Event] = [{"type": "message_start", "message": message}, {"type": "ping"}]
        for index, (block, deltas) in enumerate(self._blocks(turn, number)):
            events.append({"type": "content_block_start", "index": index, "content_block": block})
            events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
            events.append({"type": "content_block_stop", "index": index})
        stop = turn.stop or ("refusal" if turn.refusal else "tool_use" if turn.tool_calls else "end_turn")
        end: Event = {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}}
        if start is not None:
            end["usage"] = {"output_tokens": start["output_tokens"]} if "output_tokens" in start else start
        return [*events, end, {"type": "message_stop"}]

    def _blocks(self, turn: Answer, number: int) -> list[tuple[Event, list[Event]]]:
        blocks: list[tuple[Event, list[Event]]] = []
        if turn.thinking:
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(turn.thinking)]
            deltas.append({"type": "signature_delta", "signature": f"signed-{number}"})
            blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
        if text := turn.text or turn.refusal:
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(text)]
            blocks.append(({"type": "text", "text": ""}, deltas))
        for index, (name, arguments) in enumerate(turn.tool_calls, 1):
            block = {"type": "tool_use", "id": f"toolu_{number}_{index}", "name": name, "input": {}}
            parts = ["", *pieces(written(arguments))]
            blocks.append((block, [{"type": "input_json_delta", "partial_json": part} for part in parts]))
        return blocks

    def whole(self, events: list[Event]) -> Event:
        message: Event = dict(events[0]["message"])
        content: list[Event] = []
        for event in events:
            if event["type"] == "content_block_start":
                content.append(dict(event["content_block"]))
                text = ""
            elif event["type"] == "content_block_delta":
                delta = event["delta"]
                block = content[-1]
                if delta["type"] == "input_json_delta":
                    text += delta["partial_json"]
                    block["input"] = json.loads(text) if _is_json(text) else {}
                elif delta["type"] == "signature_delta":
                    block["signature"] = delta["signature"]
                else:
                    key = delta["type"].removesuffix("_delta")
                    block[key] += delta[key]
            elif event["type"] == "message_delta":
                message.update(event["delta"])
                if "usage" in event:
                    message["usage"] = {**message.get("usage", {}), **event["usage"]}
        return {**message, "content": content}

    def encode(self, event: Event) -> bytes:
        return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()

    def error(self, kind: str, message: str) -> Event:
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}

    def overloaded(self) -> Event:
        return self.error("overloaded_error", "Overloaded")

    def ping(self) -> bytes:
        return b'event: ping\ndata: {"type": "ping"}\n\n'


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _anthropic_usage(turn: Answer) -> Event | None:
    if turn.wire_usage is not None:
        return dict(turn.wire_usage)
    if turn.usage is None:
        return None
    writes = turn.usage.get("cache_write", {})
    return {
        "input_tokens": turn.usage.get("input", 0),
        "cache_read_input_tokens": turn.usage.get("cache_read", 0),
        "cache_creation_input_tokens": sum(writes.values()),
        "cache_creation": {
            "ephemeral_5m_input_tokens": writes.get("5m", 0),
            "ephemeral_1h_input_tokens": writes.get("1h", 0),
        },
        "output_tokens": turn.usage.get("output", 0),
        "output_tokens_details": {"thinking_tokens": turn.usage.get("reasoning", 0)},
        "service_tier": "standard",
    }
