"""Tool calls that arrive as text: small models write them there, whatever their template says.

Accepted are `<tool_call>{...}</tool_call>`, a fenced JSON block, and text that is nothing but such
objects. An object counts only when it names a tool that was offered, so that JSON in an answer stays an
answer. Single-quoted (Python-like) objects are read too, as literals; nothing is evaluated.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from meshclaw.messages import Part, Request, Response, StopReason, Text, ToolCall

_TAGGED = re.compile(r"<tool_call>\s*(\{.*?\})\s*(?:</tool_call>|\Z)", re.DOTALL)
_FENCED = re.compile(r"```(?:json|tool_call|python)?[ \t]*\n\s*(\{.*?\}|\[.*?\])\s*(?:```|\Z)", re.DOTALL)

NAME_KEYS = ("name", "tool", "function")
ARGUMENT_KEYS = ("arguments", "parameters", "input", "args")

MOST_TEXT = 200_000
"""Characters; a longer text is an answer, whatever it holds."""


def find_tool_calls(text: str, names: Collection[str], prefix: str) -> tuple[str, tuple[ToolCall, ...]]:
    """The text without its calls, and the calls in order, with ids `{prefix}_1`, `{prefix}_2` ...

    No call found: the text unchanged and no calls.
    """
    if len(text) > MOST_TEXT:
        return text, ()
    found: list[tuple[str, str]] = []

    def take(match: re.Match[str]) -> str:
        calls = _calls(match.group(1), names)
        found.extend(calls)
        return "" if calls else match.group(0)

    rest = text
    for pattern in (_TAGGED, _FENCED):
        rest = pattern.sub(take, rest)
    if not found:
        found = _bare(text, names)
        rest = "" if found else text
    calls = (ToolCall(f"{prefix}_{n}", name, arguments) for n, (name, arguments) in enumerate(found, 1))
    return (rest.strip() if found else text), tuple(calls)


def with_calls_in_text(response: Response, request: Request) -> Response:
    """`response` with the tool calls that its text holds, when it made none in the wire's own form."""
    if not request.tools or response.message.tool_calls or response.stop is not StopReason.ANSWER:
        return response
    names = {tool.name for tool in request.tools}
    rest, calls = find_tool_calls(response.message.text, names, f"call_{request.step}")
    if not calls:
        return response
    kept: list[Part] = [part for part in response.message.parts if not isinstance(part, Text)]
    if rest.strip():
        kept.append(Text(rest))
    message = replace(response.message, parts=(*kept, *calls))
    return replace(response, message=message, stop=StopReason.TOOL_CALLS)


def _bare(text: str, names: Collection[str]) -> list[tuple[str, str]]:
    """Calls of a text that consists of objects and blanks alone."""
    found: list[tuple[str, str]] = []
    decoder, rest = json.JSONDecoder(), text.strip()
    while rest:
        if rest[0] not in "{[":
            return []
        try:
            end = decoder.raw_decode(rest)[1]
        except (ValueError, RecursionError):
            end = len(rest)
        calls = _calls(rest[:end], names)
        if not calls:
            return []
        found += calls
        rest = rest[end:].strip()
    return found


def _calls(text: str, names: Collection[str]) -> list[tuple[str, str]]:
    value = _decoded(text)
    items = value if isinstance(value, list) else [value]
    calls = [_call(item, names) for item in items]
    return [call for call in calls if call is not None] if calls and None not in calls else []


def _decoded(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _call(item: Any, names: Collection[str]) -> tuple[str, str] | None:
    if not isinstance(item, Mapping):
        return None
    if isinstance(item.get("function"), Mapping):
        item = item["function"]
    name = next((item[key] for key in NAME_KEYS if key in item), None)
    if not isinstance(name, str) or name not in names:
        return None
    arguments: Any = next((item[key] for key in ARGUMENT_KEYS if key in item), {})
    if isinstance(arguments, str):
        return name, arguments
    try:
        return name, json.dumps(arguments, ensure_ascii=False)
    except (TypeError, ValueError):
        return None
