"""Accepted results of earlier runs, so that the same work is not paid for twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.ledger.entry import Entry, RunEnd
from meshclaw.runs import Outcome, RunDirectory


@dataclass(frozen=True, slots=True)
class Reused:
    """An accepted result: the run that made it, its text and record."""

    run: str
    text: str
    record: dict[str, Any]


class AcceptedWork:
    """What the ledger says was accepted, by the digest of the work; read once, at the first question."""

    def __init__(self, history: Callable[[], Iterable[Entry | Problem]]) -> None:
        self._history = history
        self._known: dict[str, RunEnd] | None = None
        self._lock = Lock()

    def find(self, digest: str, runs: Path, now: datetime) -> Reused | None:
        """The newest accepted run of the same work whose result is still in its folder, unchanged. Blocks.

        Later verdicts count: what a person has rejected is not handed back.
        """
        with self._lock:
            if self._known is None:
                from meshclaw.ledger.fold import fold  # Most runs never read the ledger.

                self._known = {}
                facts = fold(self._history(), now)
                for fact in sorted(facts.runs.values(), key=lambda fact: fact.started):
                    if fact.end and fact.end.work_digest and fact.outcome == Outcome.ACCEPTED:
                        self._known[fact.end.work_digest] = fact.end
            end = self._known.get(digest)
        return None if end is None else _read(runs, end)

    def add(self, end: RunEnd) -> None:
        """Takes note of a run that this process has just ended."""
        with self._lock:
            if self._known is not None and end.work_digest and end.outcome == Outcome.ACCEPTED:
                self._known[end.work_digest] = end


def _read(runs: Path, end: RunEnd) -> Reused | None:
    directory = RunDirectory(runs / (end.reused or end.run))
    try:
        record = directory.read_record()
        text = (directory.path / "result.txt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ProblemsError):
        return None
    if hashlib.sha256(text.encode()).hexdigest() != end.result_digest:
        return None
    return Reused(directory.path.name, text, record)
