"""Notices an agent that goes in circles, or that insists on what was denied."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence

from meshclaw.frozen import dataclass
from meshclaw.messages import ToolCall
from meshclaw.runs import Done

REPEATS = 3
"""The same call with the same result this often is a circle; the same denial this often is insisting."""


Key = tuple[str, str, str]
"""A call's name, its arguments and its result."""


@dataclass(frozen=True, slots=True)
class Circle:
    """What was noticed: something to tell the model, or a reason to stop.

    `warnings` are told once each. `insists` is what would allow the thing that was asked for too often.
    """

    warnings: tuple[tuple[str, str], ...] = ()
    stuck: bool = False
    insists: str = ""


class Progress:
    """Counts calls with their results over one attempt; `writes` says of a call that it changes files.

    A change that was not made before begins the count of all else anew: to look again after each is how
    work goes on.
    """

    def __init__(self, writes: Callable[[ToolCall], bool]) -> None:
        self._writes = writes
        self._results: Counter[Key] = Counter()
        self._changes: Counter[Key] = Counter()
        self._denials: Counter[str] = Counter()
        self._warned: set[Key] = set()

    def note(self, calls: Sequence[ToolCall], done: Sequence[Done]) -> Circle:
        """Takes in one step. A circle is told to the model once, then it ends the attempt.

        What is denied for the second time is told; the third time ends the attempt. Within one step a
        thing counts once: the model has not been told in between.
        """
        denied = {one.wanted or str(one.denied): one for one in done if one.denied}
        self._denials.update(denied.keys())
        for wanted, one in denied.items():
            if self._denials[wanted] >= REPEATS:
                return Circle(insists=one.denied or wanted)
        warnings = [
            ("denied", _again(one.result.content))
            for wanted, one in denied.items()
            if self._denials[wanted] == REPEATS - 1
        ]
        circling = self._count(calls, done)
        if any(key in self._warned for key in circling):
            return Circle(stuck=True)
        if not circling:
            return Circle(tuple(warnings))
        self._warned.update(circling)
        told = f"You made the same {circling[-1][0]} call {REPEATS} times with the same result. "
        return Circle((*warnings, ("circle", told + "Do something else, or give the final answer.")))

    def _count(self, calls: Sequence[ToolCall], done: Sequence[Done]) -> list[Key]:
        """Counts a step's calls; those that were made too often."""
        counted: dict[Key, Counter[Key]] = {}
        for call, one in zip(calls, done, strict=True):
            key = (call.name, _canonical(call.arguments), one.result.content)
            if one.result.is_error or not self._writes(call):
                counted[key] = self._results
                continue
            if not self._changes[key]:
                self._results.clear()
                self._warned &= self._changes.keys()
                counted = {before: counts for before, counts in counted.items() if counts is self._changes}
            counted[key] = self._changes
        for key, counts in counted.items():
            counts[key] += 1
        return [key for key, counts in counted.items() if counts[key] >= REPEATS]


def _again(result: str) -> str:
    return (
        f"This was {result}. It will not be allowed, and asking a third time ends the run. Do without it, "
        "or answer that it cannot be done."
    )


def _canonical(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except ValueError:
        return arguments
