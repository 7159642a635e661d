"""What earlier processes of a run have left, from which it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any

from meshclaw.dispatch.delegation import House
from meshclaw.dispatch.purse import Spent
from meshclaw.errors import ExitCode
from meshclaw.frozen import dataclass
from meshclaw.ledger.entry import Call, Correction, Reserve
from meshclaw.runs import History, RunDirectory, RunStatus, read_history

CUT_SHORT = (RunStatus.INTERRUPTED, RunStatus.TIMED_OUT, RunStatus.OVER_BUDGET)
"""The states of a run that can go on."""
CUT_SHORT_BY = (ExitCode.PROVIDER, ExitCode.LEDGER)
"""A failed run can go on when this is why it failed."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """`record` is the run's as it stood, empty for a new run. `seconds` is the time that was used."""

    record: Mapping[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=History)
    spent: Spent = field(default_factory=Spent)
    started: datetime | None = None
    seconds: float = 0.0
    denied: Sequence[str] = ()


NOTHING = Earlier()


def may_resume(record: Mapping[str, Any]) -> bool:
    """Whether a run's record says that it was cut short, not that it ended or was given up."""
    if record.get("final"):
        return False
    return record["status"] in CUT_SHORT or (
        record["status"] == RunStatus.FAILED and record["exit"] in CUT_SHORT_BY
    )


def read_earlier(house: House, run: str) -> Earlier:
    """Reads the run's folder and the ledger. Blocks. Raises ProblemsError when the run cannot be read."""
    from meshclaw.ledger.fold import fold  # Most runs never read the ledger.

    directory = RunDirectory(house.runs / run)
    record = directory.read_record()
    history = read_history(directory.transcript)
    entries = [
        entry
        for entry in house.history()
        if isinstance(entry, Correction) or (isinstance(entry, Reserve | Call) and entry.run == run)
    ]
    facts = fold(entries, house.now())
    return Earlier(
        record=record,
        history=history,
        spent=Spent(
            tuple(entry for entry in entries if isinstance(entry, Call)), facts.calls, len(history.steps)
        ),
        started=datetime.fromisoformat(record["started_at"]),
        seconds=float(record["duration_s"]),
        denied=tuple(record["denied"]),
    )
