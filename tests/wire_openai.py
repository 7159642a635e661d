"""OpenAI's Responses and Chat Completions, as `wire_server` speaks them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wire_turns import Answer, Event, pieces, written


class Responses:
    """OpenAI's Responses API. Input includes what was read from and written to the cache."""

    half = 5
    last = b""

    def events(self, turn: Answer, number: int, request: Mapping[str, Any]) -> list[Event]:
        response: Event = {
            "id": f"resp_{number}",
            "object": "response",
            "status": "in_progress",
            "model": turn.model or request.get("model", "toy-model"),
            "service_tier": "default",
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }
        events: list[Event] = [
            {"type": "response.created", "response": response},
            {"type": "response.in_progress", "response": response},
        ]
        items = self._items(turn, number)
        for index, (item, deltas) in enumerate(items):
            place = {"output_index": index, "item_id": item.get("id")}
            events.append({"type": "response.output_item.added", "output_index": index, "item": item})
            events += [{**delta, **place} for delta in deltas]
            events.append({"type": "response.output_item.done", "output_index": index, "item": item})
        status = "incomplete" if turn.stop else "completed"
        final = {
            **response,
            "status": status,
            "incomplete_details": {"reason": turn.stop} if turn.stop else None,
            "output": [item for item, _ in items],
            "usage": _responses_usage(turn),
        }
        events.append({"type": f"response.{status}", "response": final})
        return [{**event, "sequence_number": place} for place, event in enumerate(events)]

    def _items(self, turn: Answer, number: int) -> list[tuple[Event, list[Event]]]:
        items: list[tuple[Event, list[Event]]] = []
        if turn.thinking:
            item: Event = {"id": f"rs_{number}", "type": "reasoning", "summary": []}
            items.append(({**item, "encrypted_content": f"sealed-{number}"}, []))
        if turn.text or turn.refusal:
            kind = "refusal" if turn.refusal else "output_text"
            key = "refusal" if turn.refusal else "text"
            text = turn.refusal or turn.text
            part = {"type": kind, key: text}
            item = {"id": f"msg_{number}", "type": "message", "role": "assistant", "content": [part]}
            deltas = [{"type": f"response.{kind}.delta", "delta": piece} for piece in pieces(text)]
            items.append(({**item, "status": "completed"}, deltas))
        for index, (name, arguments) in enumerate(turn.tool_calls, 1):
            item = {
                "id": f"fc_{number}_{index}",
                "type": "function_call",
                "name": name,
                "call_id": f"call_{number}_{index}",
                "arguments": written(arguments),
            }
            kind = "response.function_call_arguments.delta"
            items.append((item, [{"type": kind, "delta": piece} for piece in pieces(written(arguments))]))
        return items

    def whole(self, events: list[Event]) -> Event:
        response: Event = events[-1]["response"]
        return response

    def encode(self, event: Event) -> bytes:
        return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()

    def error(self, kind: str, message: str) -> Event:
        return {"error": {"type": kind, "code": None, "message": message, "param": None}}

    def overloaded(self) -> Event:
        return {"type": "error", "code": "server_overloaded", "message": "Overloaded", "param": None}

    def ping(self) -> bytes:
        return b'event: keepalive\ndata: {"type": "keepalive"}\n\n'


class Chat:
    """OpenAI's Chat Completions, as compatible servers speak it."""

    half = 3
    last = b"data: [DONE]\n\n"

    def events(self, turn: Answer, number: int, request: Mapping[str, Any]) -> list[Event]:
        frame: Event = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": turn.model or request.get("model", "toy-model"),
        }
        deltas: list[Event] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning_content": piece} for piece in pieces(turn.thinking)]
        deltas += [{"content": piece} for piece in pieces(turn.text)]
        deltas += [{"refusal": piece} for piece in pieces(turn.refusal)]
        for index, (name, arguments) in enumerate(turn.tool_calls):
            call: Event = {"index": index, "id": f"call_{number}_{index + 1}", "type": "function"}
            call["function"] = {"name": name, "arguments": ""}
            deltas.append({"tool_calls": [call]})
            deltas += [
                {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
                for piece in pieces(written(arguments))
            ]
        stop = turn.stop or ("tool_calls" if turn.tool_calls else "stop")
        choices: list[Event] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": stop})
        events = [{**frame, "choices": [choice]} for choice in choices]
        usage = _chat_usage(turn)
        wanted = (request.get("stream_options") or {}).get("include_usage") or not request.get("stream")
        if usage is not None and wanted:
            events.append({**frame, "choices": [], "usage": usage})
        return events

    def whole(self, events: list[Event]) -> Event:
        message: Event = {"role": "assistant", "content": ""}
        calls: dict[int, Event] = {}
        stop = None
        for event in events:
            for choice in event["choices"]:
                stop = choice["finish_reason"]
                for key in ("content", "refusal", "reasoning_content"):
                    if key in choice["delta"]:
                        message[key] = message.get(key, "") + choice["delta"][key]
                for delta in choice["delta"].get("tool_calls", ()):
                    call = calls.setdefault(delta["index"], {"function": {"name": "", "arguments": ""}})
                    call["id"] = delta.get("id", call.get("id"))
                    call["function"]["name"] += delta["function"].get("name", "")
                    call["function"]["arguments"] += delta["function"]["arguments"]
        if calls:
            message["tool_calls"] = [{**call, "type": "function"} for call in calls.values()]
        whole = {key: value for key, value in events[0].items() if key != "choices"}
        whole["object"] = "chat.completion"
        whole["choices"] = [{"index": 0, "message": message, "finish_reason": stop}]
        return {**whole, "usage": events[-1].get("usage")}

    def encode(self, event: Event) -> bytes:
        return f"data: {json.dumps(event)}\n\n".encode()

    def error(self, kind: str, message: str) -> Event:
        return {"error": {"type": kind, "code": None, "message": message, "param": None}}

    def overloaded(self) -> Event:
        return {"error": {"code": 503, "message": "Overloaded"}}

    def ping(self) -> bytes:
        return b": keep-alive\n\n"


def _responses_usage(turn: Answer) -> Event | None:
    if turn.wire_usage is not None:
        return dict(turn.wire_usage)
    if turn.usage is None:
        return None
    writes = turn.usage.get("cache_write", {})
    read = turn.usage.get("cache_read", 0)
    total = turn.usage.get("input", 0) + read + sum(writes.values())
    output = turn.usage.get("output", 0)
    return {
        "input_tokens": total,
        "input_tokens_details": {
            "cached_tokens": read,
            "cache_write_tokens": sum(writes.values()),
            "cache_write_tokens_details": {
                "ttl_30m_tokens": writes.get("30m", 0),
                "ttl_12h_tokens": writes.get("12h", 0),
            },
        },
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": turn.usage.get("reasoning", 0)},
        "total_tokens": total + output,
    }


def _chat_usage(turn: Answer) -> Event | None:
    if turn.wire_usage is not None:
        return dict(turn.wire_usage)
    if turn.usage is None:
        return None
    usage: Event = _responses_usage(turn) or {}
    details = usage["input_tokens_details"]
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
        "prompt_tokens_details": {
            "cached_tokens": details["cached_tokens"],
            "cache_write_tokens": details["cache_write_tokens"],
        },
        "completion_tokens_details": {"reasoning_tokens": turn.usage.get("reasoning", 0)},
    }
