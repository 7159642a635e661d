"""How the embedded model is asked to work with tools, and how its turn is read.

The model's own template for tool calls is of no use: Qwen2.5-Coder writes a JSON block instead. So each
turn with tools is one JSON object, held to a schema while it is generated: a call, or the answer. What
a turn may be narrows with the history (`local_turn`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from meshclaw.messages import Message, Text, ToolCall, ToolResult, ToolSpec

IDENTITY = "You are a careful assistant that does an engineer's work exactly as it is asked for."
"""Stands in for a missing system text; without one the model invents an identity."""

THOUGHT, DONE, ANSWER = "thought", "done", "answer"
"""Keys of a turn, in the order in which the model writes them: it decides before it acts."""

HOW = """\
You do the work yourself with tools, one step at a time. Each of your turns is one JSON object:
{{"thought": WHAT IS STILL TO DO, "done": false, "tool": NAME, "arguments": {{...}}}} to use a tool, or
{{"thought": WHY IT IS DONE, "done": true, "answer": TEXT}} when all was done, with the result asked for.
You know nothing of a file until you have read it. Nothing is done until a tool has done it.
{tips}
Tools:
{tools}"""

TIPS = {
    "edit": "To change a file: read it, then edit. old is whole lines copied from it, new is these lines as"
    " they should be (\\n between lines).",
    "write": "Write makes new files only.",
    "shell": "Rename, delete, count and run with shell: mv, rm, wc -l, python3.",
}
"""What a small model does not think of by itself, for tools of these names."""

REMINDER = "\n\nThe job: {job}\nIs every part of it done by a tool? If not, use the next tool."
"""Ends each message with tool results, so that the job is the last thing that is read, not the first."""

MOST_REMINDED = 500
"""Characters of the job that are repeated."""


def render(system: str, messages: Iterable[Message], tools: Sequence[ToolSpec]) -> list[dict[str, str]]:
    """The conversation as role and content only, the system text first.

    A longer history begins with what a shorter one was rendered to, so that the runtime's cache holds.
    """
    text = system.strip() or IDENTITY
    if tools:
        tips = "".join(f"{TIPS[tool.name]}\n" for tool in tools if tool.name in TIPS)
        text += "\n\n" + HOW.format(tips=tips, tools="\n".join(signature(tool) for tool in tools))
    rendered = [{"role": "system", "content": text}]
    names: dict[str, str] = {}
    job = ""
    for message in messages:
        content = _turn(message, names) if tools and message.role == "assistant" else _said(message, names)
        if tools and job and message.role == "user":
            content += REMINDER.format(job=job)
        if not job:
            job = content[:MOST_REMINDED]
        rendered.append({"role": message.role, "content": content})
    return rendered


def signature(tool: ToolSpec) -> str:
    """`- read(path: string; start?: integer): Reads a file.`: a fraction of its schema's tokens."""
    required = tool.parameters.get("required", ())
    parts = []
    for name, schema in tool.parameters.get("properties", {}).items():
        kind = "|".join(map(json.dumps, schema["enum"])) if "enum" in schema else schema.get("type", "any")
        about = f" - {schema['description']}" if schema.get("description") else ""
        parts.append(f"{name}{'' if name in required else '?'}: {kind}{about}")
    return f"- {tool.name}({'; '.join(parts)}): {tool.description}"


def read_turn(text: str, call_id: str) -> tuple[Text | ToolCall, ...] | None:
    """The parts of a turn that was held to its schema; None when it broke off before its end."""
    try:
        turn = json.loads(text)
    except ValueError:
        return None
    if turn[DONE]:
        answer = turn[ANSWER]
        return (Text(answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)),)
    call = ToolCall(call_id, turn["tool"], json.dumps(turn["arguments"], ensure_ascii=False))
    return (Text(turn[THOUGHT]), call)


def _said(message: Message, names: dict[str, str]) -> str:
    pieces = []
    for part in message.parts:
        if isinstance(part, Text):
            pieces.append(part.text)
        elif isinstance(part, ToolResult):
            outcome = "failed" if part.is_error else "worked"
            pieces.append(f"{names.get(part.call_id, 'the tool')} {outcome}:\n{part.content}")
    return "\n".join(pieces)


def _turn(message: Message, names: dict[str, str]) -> str:
    """A turn of the model's own, spelled as it spells them, but for its thought: it would repeat it."""
    calls = message.tool_calls
    if not calls:
        return json.dumps({DONE: True, ANSWER: message.text}, ensure_ascii=False)
    names.update({call.id: call.name for call in calls})
    return "\n".join(
        f'{{"{DONE}": false, "tool": {json.dumps(call.name)}, "arguments": {call.arguments}}}'
        for call in calls
    )
