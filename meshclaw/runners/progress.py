"""Notices an agent that goes in circles, or that insists on what was denied."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from meshclaw.messages import ToolCall
from meshclaw.tools.toolbox import Executed

REPEATS = 3
"""The same call with the same result this often is a circle."""


@dataclass(frozen=True, slots=True)
class Circle:
    """What was noticed: something to tell the model, or a reason to stop."""

    warning: str = ""
    stuck: bool = False
    insists: bool = False


class Progress:
    """Counts calls with their results over one attempt."""

    def __init__(self) -> None:
        self._results: Counter[tuple[str, str, str]] = Counter()
        self._denials: Counter[tuple[str, str]] = Counter()
        self._warned = False

    def note(self, calls: Sequence[ToolCall], executed: Sequence[Executed]) -> Circle:
        """Takes in one step. The first circle is told to the model, a further one ends the attempt."""
        circling: str | None = None
        for call, done in zip(calls, executed, strict=True):
            arguments = _canonical(call.arguments)
            if done.denied:
                self._denials[call.name, arguments] += 1
                if self._denials[call.name, arguments] >= REPEATS:
                    return Circle(insists=True)
            key = (call.name, arguments, done.result.content)
            self._results[key] += 1
            if self._results[key] >= REPEATS:
                circling = call.name
        if circling is None:
            return Circle()
        if self._warned:
            return Circle(stuck=True)
        self._warned = True
        return Circle(
            f"You made the same {circling} call {REPEATS} times with the same result. "
            "Do something else, or give the final answer."
        )


def _canonical(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except ValueError:
        return arguments
