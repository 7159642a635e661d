"""A Run and its parts: states, events, history, and the directory that holds its record and transcript."""

from meshclaw.runs.directory import RunDirectory, is_held
from meshclaw.runs.events import (
    EVENTS,
    HELD_EVENTS,
    TRANSCRIPT_EVENTS,
    UNSYNCED_EVENTS,
    Event,
    encode_line,
    read_transcript,
)
from meshclaw.runs.history import Done, History, Step, is_judges, read_history
from meshclaw.runs.values import Candidate, Outcome, RunStatus

__all__ = [
    "EVENTS",
    "HELD_EVENTS",
    "TRANSCRIPT_EVENTS",
    "UNSYNCED_EVENTS",
    "Candidate",
    "Done",
    "Event",
    "History",
    "Outcome",
    "RunDirectory",
    "RunStatus",
    "Step",
    "encode_line",
    "is_held",
    "is_judges",
    "read_history",
    "read_transcript",
]
