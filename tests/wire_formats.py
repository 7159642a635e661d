"""The three wire formats that `wire_server` speaks: a Turn as the events of a stream, or as one object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Event = dict[str, Any]
PIECES = 3
"""Into how many deltas a text is cut."""


class Answer(Protocol):
    """What a Turn offers; see `wire_server.Turn`."""

    @property
    def text(self) -> str: ...
    @property
    def tool_calls(self) -> Sequence[tuple[str, Mapping[str, Any] | str]]: ...
    @property
    def thinking(self) -> str: ...
    @property
    def refusal(self) -> str: ...
    @property
    def usage(self) -> Mapping[str, Any] | None: ...
    @property
    def wire_usage(self) -> Mapping[str, Any] | None: ...
    @property
    def stop(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...


class Format(Protocol):
    """One wire. `half` is how many events of a text answer come before its end; `last` ends a stream."""

    half: int
    last: bytes

    def events(self, turn: Answer, number: int, request: Mapping[str, Any]) -> list[Event]: ...

    def whole(self, events: list[Event]) -> Event: ...

    def encode(self, event: Event) -> bytes: ...

    def error(self, kind: str, message: str) -> Event: ...

    def overloaded(self) -> Event: ...

    def ping(self) -> bytes: ...


def pieces(text: str) -> list[str]:
    size = max(1, -(-len(text) // PIECES))
    return [text[start : start + size] for start in range(0, len(text), size)]


def written(arguments: Mapping[str, Any] | str) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(dict(arguments))


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


FORMATS: dict[str, Format] = {
    "/messages": Messages(),
    "/responses": Responses(),
    "/chat/completions": Chat(),
}
