"""How far a batch has come: counted from its events, in words, and as plain lines in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from time import monotonic
from typing import Any

from meshclaw.batches.records import word_of
from meshclaw.cli.output import say
from meshclaw.cli.words import seconds_in_words, shorten
from meshclaw.errors import ExitCode
from meshclaw.frozen import dataclass
from meshclaw.pricing import dollars, format_usd
from meshclaw.runs import Event

EVERY = 20
"""Plain progress says how far things are this many times, apart from what did not end well."""


@dataclass(slots=True)
class Tally:
    """What has happened so far. `clock` gives seconds; `doing` says what each item under way is at."""

    clock: Callable[[], float] = monotonic
    began: float = 0.0
    names: Mapping[int, str] = field(default_factory=dict)
    done: int = 0
    before: int = 0
    bad: int = 0
    nusd: int = 0
    at_least: bool = False
    doing: dict[int, str] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        data = event.data
        match event.kind:
            case "batch-start":
                self.names = {one["item"]: one["name"] for one in data["items"]}
                self.done = self.before = data["done"]
                self.began = self.clock()
            case "run-start":
                self.doing[data["item"]] = "starting"
            case "request":
                self.doing[data["item"]] = "asking the model"
            case "tool-start":
                self.doing[data["item"]] = shorten(data["name"], 20)
            case "check":
                self.doing[data["item"]] = "checking"
            case "call":
                self.nusd += data["cost_nusd"] or 0
                self.at_least = self.at_least or data["cost_nusd"] is None
            case "item-end":
                self.doing.pop(data["item"], None)
                self.done += 1
                self.bad += went_wrong(data)
            case _:
                pass

    @property
    def left(self) -> float | None:
        """Seconds until the end if things go on as they have; None before anything has ended."""
        finished = self.done - self.before
        if not finished:
            return None
        return (self.clock() - self.began) / finished * (len(self.names) - self.done)

    def words(self) -> str:
        """`333 of 1,000 done, 2 not well · $0.42 · 1 min 23 s, about 2 min 46 s left`."""
        counted = f"{self.done:,} of {len(self.names):,} done"
        if self.bad:
            counted += f", {self.bad:,} not well"
        parts = [counted]
        if self.nusd or self.at_least:
            at_least = "\u2265" if self.at_least else ""
            parts.append(f"{at_least}{dollars(format_usd(self.nusd))}")
        time = seconds_in_words(self.clock() - self.began)
        if self.left:
            time += f", about {seconds_in_words(self.left)} left"
        return " \u00b7 ".join([*parts, time])


def good(record: Mapping[str, Any]) -> bool:
    return record["exit"] in (ExitCode.OK, ExitCode.SKIPPED)


def went_wrong(data: Mapping[str, Any]) -> bool:
    """Whether an item is worth a line of its own: those that were never begun are named at the end."""
    return data["exit"] is not None and not good(data)


def end_in_words(data: Mapping[str, Any], width: int = 100) -> str:
    """An item that did not end well: its name, how it ended, and why."""
    reason = f": {data['reason']}" if data["reason"] else ""
    run = f" (run {data['run'][:13]})" if data["run"] else ""
    return f"{shorten(data['name'], width // 2)} {word_of(data)}{shorten(reason, width)}{run}"


class PlainBatchView:
    """A line for each item that did not end well, and now and then one that says how far things are."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._said = 0

    def listen(self, event: Event) -> None:
        self._tally.take(event)
        if event.kind == "batch-start":
            before = f", {event.data['done']:,} done before" if event.data["done"] else ""
            count = len(self._tally.names)
            runs = "1 run" if count == 1 else f"{count:,} runs"
            say(f"batch {event.data['batch']}: {runs}{before}")
        elif event.kind == "item-end":
            if went_wrong(event.data):
                say(end_in_words(event.data))
            step = self._tally.done * EVERY // len(self._tally.names)
            if step > self._said or len(self._tally.names) <= EVERY:
                self._said = step
                say(self._tally.words())

    def note(self, text: str) -> None:
        say(text)

    def close(self) -> None: ...

    def leave(self) -> None: ...
