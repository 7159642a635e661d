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

_HEADER = re.compile(r"\A\[lines [^\n]*\]\n")
"""What `read` puts before a part of a file."""

_FAILED = re.compile(r"\[exit code (?!0\])[^\]]*\]\s*\Z")
"""What `shell` ends with when the command failed."""
_SILENT = re.compile(r"\A\s*\[exit code 0\]\s*\Z")
"""What `shell` says of a command that printed nothing: it changed something, or nothing at all."""

CHANGING = ("edit", "write")
"""Tools that the first turn does without, so that the model looks before it changes things."""
LOOKING = ("read", "list", "search")
"""Tools that a turn after a change is limited to, so that the model sees what it has done."""


def turn_schema(request: Request) -> dict[str, Any]:
    """One call of one tool, or the answer, which fits `request.schema` if there is one.

    - The answer is possible only after a tool has worked, or after MOST_FAILURES in a row; and what was
      changed must have been looked at since.
    - The first turn looks, if any tool can, and changes nothing.
    - An optional number (where to begin reading, how deep to list) only once a result has named it.
    - A tool whose last call said nothing new is not offered again until something has changed.
    - `edit` is offered once `read` has shown a file, for that file and its lines.
    """
    past = _Past(request.messages)
    names = {tool.name for tool in request.tools}
    thought = {"type": "string", "maxLength": MOST_THOUGHT}
    shapes = []
    blind = not past.looked and bool(names.difference(CHANGING))
    checking = past.unverified and bool(names.intersection(LOOKING).difference(past.exhausted))
    for tool in request.tools:
        if tool.name in past.exhausted or (blind and tool.name in CHANGING):
            continue
        if checking and tool.name not in LOOKING:
            continue
        if tool.name == "edit" and "read" in names and not past.lines:
            continue
        parameters = (
            past.narrowed(tool.parameters) if tool.name == "edit" else past.offered(tool.parameters)
        )
        shape = {THOUGHT: thought, DONE: {"const": False}, "tool": {"const": tool.name}}
        shapes.append(_closed({**shape, "arguments": dict(parameters)}))
    if past.may_answer or not shapes:
        answer = dict(request.schema or {"type": "string"})
        shapes.append(_closed({THOUGHT: thought, DONE: {"const": True}, ANSWER: answer}))
    return {"anyOf": shapes}


def _changes(call: ToolCall, content: str) -> bool:
    return call.name in CHANGING or bool(_SILENT.match(content))


class _Past:
    """What the history tells: `path` and `lines` of the file that was read last, as it is by now."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self.path = ""
        self.lines: list[str] = []
        self.replaced: set[str] = set()
        self.said = ""
        calls: dict[str, ToolCall] = {}
        known: set[tuple[str, str, str]] = set()
        worked: list[bool] = []
        self.exhausted: set[str] = set()
        self.unverified = False
        for part in (part for message in messages for part in message.parts):
            if isinstance(part, ToolCall):
                calls[part.id] = part
            elif isinstance(part, ToolResult) and part.call_id in calls:
                call = calls[part.call_id]
                ok = not part.is_error and not _FAILED.search(part.content)
                worked.append(ok)
                self.said = part.content
                if ok:
                    self._follow(call, part.content)
                    self.unverified = _changes(call, part.content)
                if ok and call.name in CHANGING:
                    known.clear()
                    self.exhausted.clear()
                told = (call.name, call.arguments, part.content)
                if told in known:
                    self.exhausted.add(call.name)
                known.add(told)
        self.looked = bool(worked)
        done = worked[-1:] == [True] and not self.unverified
        self.may_answer = done or worked[-MOST_FAILURES:] == [False] * MOST_FAILURES

    def _follow(self, call: ToolCall, content: str) -> None:
        try:
            arguments = json.loads(call.arguments)
            if call.name == "read":
                self.path, self.lines = arguments["path"], _HEADER.sub("", content).splitlines()
            elif call.name == "edit" and arguments["path"] == self.path:
                text = "\n".join(self.lines).replace(arguments["old"], arguments["new"])
                self.lines = text.split("\n")
                self.replaced.add(arguments["old"])
        except (ValueError, KeyError, TypeError):
            self.lines = []

    def offered(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """A tool's parameters without optional numbers, of which a small model makes up bad ones."""
        required = parameters.get("required", ())
        properties = {
            name: schema
            for name, schema in parameters.get("properties", {}).items()
            if name in required or schema.get("type") != "integer" or name in self.said
        }
        return {**parameters, "properties": properties}

    def narrowed(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """`edit`'s parameters, for the file at hand: `old` is a line that occurs once and is new to it."""
        counts = Counter(self.lines)
        unique = [
            line for line in self.lines if line.strip() and counts[line] == 1 and line not in self.replaced
        ]
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
