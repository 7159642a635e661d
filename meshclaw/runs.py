"""A Run and its parts, and the directory that holds its record and transcript."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from meshclaw.errors import LedgerError, LockedError, Problem, ProblemsError
from meshclaw.messages import Response, ToolResult


class RunStatus(StrEnum):
    """How a run ended; `running` until then."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    OVER_BUDGET = "over_budget"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


class Outcome(StrEnum):
    """What the result is worth, apart from how the run ended."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNCHECKED = "unchecked"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Step:
    """One model response and the results of the tool calls that it asked for."""

    number: int
    response: Response
    results: tuple[ToolResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a Runner hands back. `status` is `succeeded` when the runner reached an answer."""

    text: str
    status: RunStatus
    reason: str = ""
    steps: int = 0
    value: Any = None
    denied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run, for live views and `--stream-json`; see EVENTS."""

    kind: str
    data: Mapping[str, Any]


EVENTS: dict[str, str] = {
    "run-start": "a run begins: run, task, model, runner, directory",
    "start": "an attempt begins: system text, tools, first message",
    "request": "a call is about to leave: call, step, max_output, messages, digest of the request",
    "retry": "a call failed and will be tried again: failure, wait_s",
    "text": "a piece of the answer, as it arrives: delta",
    "response": "a response as received: call, response",
    "call": "a call was settled in the ledger: call, status, usage, cost_nusd, cost_state",
    "tool-start": "a tool call begins: id, name, arguments",
    "tool-result": "a tool call ended: id, content, is_error, display",
    "notice": "text that we added to the conversation: text, why",
    "compaction": "older tool outputs were replaced by stubs: ids, bytes",
    "end": "an attempt ended: status, reason",
    "run-end": "a run ended: the same object as `run --json`",
}
"""Every kind of event, in one place."""

TRANSCRIPT_EVENTS = frozenset(
    {"start", "request", "response", "tool-start", "tool-result", "notice", "compaction", "end"}
)
"""The kinds that are lines of the transcript. They hold no clock, no run id and no random value, so
that the same work gives the same bytes; times and prices are the ledger's."""

UNSYNCED_EVENTS = frozenset({"start", "request", "notice", "compaction"})
"""Lines that may be lost with the machine: the next synced line makes them durable too."""


def encode_line(event: Event) -> bytes:
    """One transcript line: a JSON object with the key `event` first, UTF-8, ending in LF."""
    fields = {"event": event.kind, **event.data}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read_transcript(path: Path) -> Iterator[Event]:
    """The lines of a transcript in order. A torn last line (a crash) is left out.

    Raises ProblemsError when another line is not a transcript's.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                fields = json.loads(line)
                kind = fields.pop("event")
            except (ValueError, KeyError, AttributeError, TypeError):
                problem = Problem(str(path), number, 1, "this is not a line of a transcript")
                raise ProblemsError([problem]) from None
            yield Event(kind, fields)


class RunDirectory:
    """One run's folder: `run.json`, `transcript.jsonl`, `outputs/` (whole tool outputs), `files/`.

    While the run is alive its process holds a lock on the folder, so anybody can tell a run that was
    killed from one that still works.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._transcript = -1
        self._lock = -1

    @property
    def outputs(self) -> Path:
        return self.path / "outputs"

    @property
    def transcript(self) -> Path:
        return self.path / "transcript.jsonl"

    @property
    def record(self) -> Path:
        return self.path / "run.json"

    def open(self) -> None:
        """Makes the folder if needed and takes its lock; a torn last line is cut off.

        Raises LockedError, or LedgerError when the disk refuses.
        """
        try:
            self.outputs.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._transcript = os.open(self.transcript, flags, 0o600)
            _cut_torn_line(self.transcript, self._transcript)
        except BlockingIOError:
            self.close()
            raise LockedError(f"another process works in {self.path}") from None
        except OSError as error:
            self.close()
            raise _disk_error(self.path, error) from error

    def append(self, event: Event) -> None:
        """Writes one transcript line; `sync` makes it durable, with all before it.

        Raises LedgerError; the file then ends with its last whole line.
        """
        line = encode_line(event)
        end = os.lseek(self._transcript, 0, os.SEEK_END)
        try:
            if os.write(self._transcript, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.ftruncate(self._transcript, end)
            raise _disk_error(self.transcript, error) from error

    def sync(self) -> None:
        """Waits until all that was appended is on the disk. Raises LedgerError."""
        try:
            os.fdatasync(self._transcript)
        except OSError as error:
            raise _disk_error(self.transcript, error) from error

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replaces `run.json` in one step. Raises LedgerError."""
        draft = self.path / ".run.json.new"
        try:
            with open(draft, "w", encoding="utf-8", opener=_private) as file:
                json.dump(record, file, ensure_ascii=False, indent=1)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.record)
        except OSError as error:
            raise _disk_error(self.record, error) from error

    def read_record(self) -> dict[str, Any]:
        """The run's record. Raises ProblemsError when it is missing or not one."""
        try:
            record = json.loads(self.record.read_bytes())
        except (OSError, ValueError):
            record = None
        if not isinstance(record, dict):
            raise ProblemsError([Problem(str(self.record), 0, 0, "there is no readable run here")])
        return record

    def close(self) -> None:
        """Gives back the lock; may be called twice."""
        for descriptor in (self._transcript, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._transcript = self._lock = -1

    def __enter__(self) -> RunDirectory:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _cut_torn_line(path: Path, descriptor: int) -> None:
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        os.ftruncate(descriptor, whole)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _disk_error(path: Path, error: OSError) -> LedgerError:
    return LedgerError(f"cannot write {path}: {error.strerror}", hint="free some space or fix its owner")
