"""A model's answers as a transcript that `replay/PATH` plays back: whole processes that load no SDK."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meshclaw.messages import Message, Response, StopReason, Text, ToolCall, encode_response
from meshclaw.runs import Event
from meshclaw.runs.events import encode_line
from meshclaw.usage import Usage, UsageSource

USAGE = Usage(input=100, output=10)


def record_answers(folder: Path, *answers: str | Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Writes the transcript of a model that gives these answers, each text or the tool calls of one Step
    (name, arguments), and returns the model's name. Every run begins with the first answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for step, answer in enumerate(answers, 1):
        if isinstance(answer, str):
            message, stop = Message("assistant", (Text(answer),)), StopReason.ANSWER
        else:
            calls = [
                ToolCall(f"call_{step}_{number}", name, json.dumps(arguments))
                for number, (name, arguments) in enumerate(answer)
            ]
            message, stop = Message("assistant", tuple(calls)), StopReason.TOOL_CALLS
        response = Response(message, stop, USAGE, UsageSource.FINAL)
        data = {"call": f"1.{step}.0", "response": encode_response(response)}
        lines.append(encode_line(Event("response", data)))
    (folder / "transcript.jsonl").write_bytes(b"".join(lines))
    return f"replay/{folder}"
