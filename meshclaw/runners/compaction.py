"""Makes room near the end of a model's window: older tool outputs become one-line stubs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from meshclaw.frozen import dataclass
from meshclaw.messages import Message, Text, ToolCall, ToolResult

KEEP_LAST = 2
"""How many of the newest messages with tool results stay whole."""
_STUB = re.compile(r"\[output of .{1,80} removed to make room: \d+ characters\]")
BYTES_PER_TOKEN = 3
"""A careful estimate for code and prose in today's tokenizers (about four on average)."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """`ids` are the tool calls whose outputs were replaced, `bytes` what that saved."""

    messages: tuple[Message, ...]
    ids: tuple[str, ...]
    bytes: int


def likely_tokens(messages: Sequence[Message], last_total: int | None, seen: int) -> int:
    """How many tokens the history is likely to take.

    `last_total` is what the call before took in all, and `seen` how many messages that covered.
    """
    known = 0 if last_total is None else last_total
    new = messages[seen:] if last_total is not None else messages
    return known + sum(map(_size, new)) // BYTES_PER_TOKEN


def full_window(why: str) -> str:
    """Why an attempt ends that the model cannot hold."""
    return f"the model's window is full: {why}"


def compact(messages: Sequence[Message]) -> Compacted | None:
    """Replaces all tool outputs but those of the newest messages; None when there is nothing left to."""
    with_results = [
        index
        for index, message in enumerate(messages)
        if any(isinstance(part, ToolResult) for part in message.parts)
    ]
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    for keep in (KEEP_LAST, 1, 0):
        older = set(with_results[: len(with_results) - keep])
        compacted = _stub(messages, older, names)
        if compacted.bytes > 0:
            return compacted
    return None


def _stub(messages: Sequence[Message], older: set[int], names: dict[str, str]) -> Compacted:
    ids: list[str] = []
    saved = 0
    changed = list(messages)
    for index in older:
        parts = list(messages[index].parts)
        for place, part in enumerate(parts):
            if not isinstance(part, ToolResult):
                continue
            name = names.get(part.call_id, "tool")
            stub = f"[output of {name} removed to make room: {len(part.content)} characters]"
            if len(stub) < len(part.content) and not _STUB.fullmatch(part.content):
                parts[place] = replace(part, content=stub)
                ids.append(part.call_id)
                saved += len(part.content) - len(stub)
        changed[index] = replace(messages[index], parts=tuple(parts))
    return Compacted(tuple(changed), tuple(sorted(ids)), saved)


def _size(message: Message) -> int:
    total = 0
    for part in message.parts:
        match part:
            case Text(text):
                total += len(text.encode(errors="replace"))
            case ToolResult(_, content):
                total += len(content.encode(errors="replace"))
            case ToolCall(_, _, arguments):
                total += len(arguments.encode(errors="replace"))
            case _:
                pass
    return total
