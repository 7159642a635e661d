"""A batch's folder: `batch.json`, fixed before the first run begins, and `log.jsonl`, which only grows.

The log says which item got which run, before that run begins, and how it ended, so whoever goes on after
a kill knows what is done, what was under way, and what has not begun.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from meshclaw.dispatch import may_resume
from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.runs import Event, RunDirectory, read_transcript


class BatchDirectory(RunDirectory):
    """As a run's folder, with the plan as its record and the log as its transcript."""

    @property
    def transcript(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def record(self) -> Path:
        return self.path / "batch.json"


@dataclass(slots=True)
class Progress:
    """How far a batch has come. `done` are records of items that came to their end, by number.

    `cut_short` are the runs of items that have begun and can go on. `runs` are all that were ever begun.
    `unlogged` are the items whose end the log has missed, the process having died.
    """

    done: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    cut_short: dict[int, str] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    unlogged: list[int] = field(default_factory=list)


def started(item: int, run: str) -> Event:
    """The line that is on the disk before an item's run begins."""
    return Event("item-start", {"item": item, "run": run})


def ended(item: int, record: Mapping[str, Any], *, done: bool) -> Event:
    """The line of an item's end; `done` says that it is never to be run again in this batch."""
    return Event("item-end", {"item": item, "done": done, **{key: record.get(key) for key in KEPT}})


KEPT = ("run", "status", "outcome", "exit", "reason", "steps", "calls", "usage", "cost_usd", "cost_state")
"""What the log keeps of a run's record: all but what may be long."""


def read_progress(directory: BatchDirectory, runs: Path) -> Progress:
    """What the log and the folders of the runs say. `recover` must have closed runs that were killed.

    Raises ProblemsError for a log that cannot be read.
    """
    found = Progress()
    begun: dict[int, str] = {}
    for event in _lines(directory.transcript):
        item, run = event.data["item"], event.data["run"]
        if event.kind == "item-start":
            found.runs.append(run)
            begun[item] = run
        elif event.data["done"]:
            # Of a run whose folder is gone this is all there is.
            found.done[item] = {key: event.data[key] for key in KEPT} | {"result": None, "problems": []}
    for item, run in begun.items():
        record = _record(runs / run)
        if item in found.done:
            # The folder knows more: the result, and what a person has said of it since.
            found.done[item] = record or found.done[item]
        elif record is not None and may_resume(record):
            found.cut_short[item] = run
        elif record is not None:
            found.done[item] = record
            found.unlogged.append(item)
    return found


def _lines(log: Path) -> Iterator[Event]:
    try:
        for event in read_transcript(log) if log.exists() else ():
            if not (isinstance(event.data["item"], int) and {"run"} <= event.data.keys()):
                raise KeyError("item")
            yield event
    except (KeyError, TypeError):
        raise ProblemsError([Problem(str(log), 0, 0, "this is not the log of a batch")]) from None
    except OSError as error:
        raise ProblemsError([Problem(str(log), 0, 0, f"cannot be read: {error.strerror}")]) from None


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        return RunDirectory(folder).read_record()
    except ProblemsError:
        return None
