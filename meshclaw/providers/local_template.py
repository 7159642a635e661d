"""How the embedded model is asked to work with tools, and how its turn is read.

The model's own template for tool calls is of no use: Qwen2.5-Coder writes a JSON block instead. So each
turn with tools is one JSON object, held to a schema while it is generated: either a call or the answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meshclaw.messages import Message, Text, ToolCall, ToolResult, ToolSpec

IDENTITY = "You are a careful assistant that does an engineer's work exactly as it is asked for."
"""Stands in for a missing system text; without one the model invents an identity."""

ANSWER = "answer"
"""The key of a turn that ends the work."""

HOW = """\
You do the work yourself with tools, one step at a time. Each of your turns is one JSON object:
{{"tool": NAME, "arguments": {{...}}}} to use a tool, or
{{"answer": TEXT}} only when the work is done, with the result of what was asked for.
Never claim what no tool result shows. Never make the same call twice.

Tools:
{tools}"""


def render(system: str, messages: Iterable[Message], tools: Sequence[ToolSpec]) -> list[dict[str, str]]:
    """The conversation as role and content only, alternating, the system text first."""
    text = system.strip() or IDENTITY
    if tools:
        text += "\n\n" + HOW.format(tools="\n".join(signature(tool) for tool in tools))
    rendered = [{"role": "system", "content": text}]
    names: dict[str, str] = {}
    for message in messages:
        content = _content(message, names, bool(tools))
        if rendered[-1]["role"] == message.role:
            rendered[-1]["content"] += "\n\n" + content
        else:
            rendered.append({"role": message.role, "content": content})
    return rendered


def signature(tool: ToolSpec) -> str:
    """`- read(path: string, start?: integer): Reads a file.`: a tenth of the tokens of its schema."""
    required = tool.parameters.get("required", ())
    parts = []
    for name, schema in tool.parameters.get("properties", {}).items():
        kind = "|".join(map(json.dumps, schema["enum"])) if "enum" in schema else schema.get("type", "any")
        about = f" - {schema['description']}" if schema.get("description") else ""
        parts.append(f"{name}{'' if name in required else '?'}: {kind}{about}")
    return f"- {tool.name}({'; '.join(parts)}): {tool.description}"


def turn_schema(tools: Sequence[ToolSpec], answer: Mapping[str, Any] | None) -> dict[str, Any]:
    """What one turn may be: a call of any of the tools, or the answer (fitting `answer` when given)."""
    shapes = [_closed({"tool": {"const": tool.name}, "arguments": dict(tool.parameters)}) for tool in tools]
    return {"anyOf": [*shapes, _closed({ANSWER: dict(answer or {"type": "string"})})]}


def read_turn(text: str, call_id: str) -> tuple[Text | ToolCall, ...] | None:
    """The parts of a turn that was held to `turn_schema`; None when it broke off before its end."""
    try:
        turn = json.loads(text)
    except ValueError:
        return None
    if "tool" in turn:
        return (ToolCall(call_id, turn["tool"], json.dumps(turn["arguments"], ensure_ascii=False)),)
    answer = turn[ANSWER]
    return (Text(answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)),)


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _content(message: Message, names: dict[str, str], with_tools: bool) -> str:
    pieces = []
    for part in message.parts:
        match part:
            case Text(text):
                said = with_tools and message.role == "assistant"
                pieces.append(json.dumps({ANSWER: text}, ensure_ascii=False) if said else text)
            case ToolCall(id, name, arguments):
                names[id] = name
                pieces.append(f'{{"tool": {json.dumps(name)}, "arguments": {arguments}}}')
            case ToolResult(call_id, content, is_error):
                head = f"{'Error from' if is_error else 'Result of'} {names.get(call_id, 'the tool')}:"
                pieces.append(f"{head}\n{content}")
            case _:
                pass
    return "\n".join(pieces)
