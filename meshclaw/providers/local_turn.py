"""What the embedded model's next turn may be, as a JSON Schema that its decoding is held to.

A small model claims what it has not done, edits what it has not read, copies lines wrongly and repeats
itself. Each of these is ruled out by the schema of the turn, as far as the history allows to tell.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from meshclaw.messages import Message, Request, ToolCall, ToolResult
from meshclaw.providers.local_template import ANSWER, DONE, THOUGHT

MOST_THOUGHT = 200
"""Characters of thought before each turn."""

MOST_LINES = 200
"""Lines of a file that are offered to `edit`; a longer list slows decoding down."""

MOST_FAILURES = 3
"""After so many failures in a row the model may give up."""

_NUMBERED = re.compile(r"^ *\d+\t(.*)$", re.MULTILINE)
"""A line as the `read` tool shows it: its number, a tab, the line."""


def turn_schema(request: Request) -> dict[str, Any]:
    """One call of one tool, or the answer, which fits `request.schema` if there is one.

    - The answer is possible only after a tool has worked, or after MOST_FAILURES in a row.
    - The tool that was just called twice in the same way is not offered again at once.
    - `edit` is offered once `read` has shown a file, for that file and its lines.
    """
    past = _Past(request.messages)
    names = {tool.name for tool in request.tools}
    thought = {"type": "string", "maxLength": MOST_THOUGHT}
    shapes = []
    for tool in request.tools:
        if tool.name == past.repeated or (tool.name == "edit" and "read" in names and not past.lines):
            continue
        parameters = past.narrowed(tool.parameters) if tool.name == "edit" else tool.parameters
        shape = {THOUGHT: thought, DONE: {"const": False}, "tool": {"const": tool.name}}
        shapes.append(_closed({**shape, "arguments": dict(parameters)}))
    if past.may_answer or not shapes:
        answer = dict(request.schema or {"type": "string"})
        shapes.append(_closed({THOUGHT: thought, DONE: {"const": True}, ANSWER: answer}))
    return {"anyOf": shapes}


class _Past:
    """What the history tells: `path` and `lines` of the file that was read last, as it is by now."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self.path = ""
        self.lines: list[str] = []
        calls: dict[str, ToolCall] = {}
        made: list[tuple[str, str]] = []
        worked: list[bool] = []
        for part in (part for message in messages for part in message.parts):
            if isinstance(part, ToolCall):
                calls[part.id] = part
                made.append((part.name, part.arguments))
            elif isinstance(part, ToolResult):
                worked.append(not part.is_error)
                if part.call_id in calls and not part.is_error:
                    self._follow(calls[part.call_id], part.content)
        self.repeated = made[-1][0] if len(made) > 1 and made[-1] == made[-2] else None
        self.may_answer = worked[-1:] == [True] or worked[-MOST_FAILURES:] == [False] * MOST_FAILURES

    def _follow(self, call: ToolCall, content: str) -> None:
        try:
            arguments = json.loads(call.arguments)
            if call.name == "read":
                self.path, self.lines = arguments["path"], _NUMBERED.findall(content)
            elif call.name == "edit" and arguments["path"] == self.path:
                text = "\n".join(self.lines).replace(arguments["old"], arguments["new"])
                self.lines = text.split("\n")
        except (ValueError, KeyError, TypeError):
            self.lines = []

    def narrowed(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """`edit`'s parameters, for the file at hand: `old` is one of the lines that occur once."""
        counts = Counter(self.lines)
        unique = [line for line in self.lines if line.strip() and counts[line] == 1]
        properties = dict(parameters.get("properties", {}))
        if self.lines and "path" in properties:
            properties["path"] = {"const": self.path}
        if unique and len(unique) <= MOST_LINES and "old" in properties:
            properties["old"] = {"enum": unique}
        return {**parameters, "properties": properties}


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
