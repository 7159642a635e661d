"""Reads a model's final text as the value that a task asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from meshclaw.frozen import dataclass
from meshclaw.schemas import violations

_FENCE = re.compile(r"\A\s*```[\w-]*\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer:
    """A final text and, where a schema was stated, its value. `problems` says why it does not fit."""

    text: str
    value: Any = None
    problems: tuple[str, ...] = ()


def read_answer(text: str, schema: Mapping[str, Any] | None) -> Answer:
    """Checks `text` against `schema`; a Markdown fence around JSON is taken off.

    Without a schema any text that is not blank is an answer. With one, the answer's text becomes the
    JSON alone.
    """
    if schema is None:
        return Answer(text, problems=() if text.strip() else ("the answer is empty",))
    fenced = _FENCE.match(text)
    body = fenced.group(1) if fenced else text.strip()
    try:
        value = json.loads(body)
    except ValueError as error:
        return Answer(text, problems=(f"the answer is not JSON: {error}",))
    except RecursionError:
        return Answer(text, problems=("the answer is nested too deeply to be read",))
    return Answer(body, value, tuple(violations(value, schema)))


def repair_request(answer: Answer) -> str:
    """What the model is told about an answer that does not fit."""
    listed = "\n".join(f"- {problem}" for problem in answer.problems)
    return f"Your answer does not fit:\n{listed}\nGive the whole answer again, and nothing else."
