"""The directory that holds a run's record, its transcript and what else it leaves."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from meshclaw.errors import LedgerError, LockedError, Problem, ProblemsError
from meshclaw.runs.events import Event, encode_line

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",\n ", ": ")).encode
"""A line for each value, since people look into these files. `indent` would have all done in Python."""
TRIES, PAUSE = 3, 0.01
"""How often a lock is asked for again, and the seconds between."""


class RunDirectory:
    """One run's folder: `run.json` and `transcript.jsonl`; what needs them makes `outputs/` (whole tool
    outputs) and `files/`.

    While the run is alive its process holds a lock on the folder, so anybody can tell a run that was
    killed from one that still works.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._transcript = -1
        self._end = 0
        self._held = b""
        self._writing = Lock()
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

    @property
    def saved(self) -> Path:
        return self.path / "saved.json"

    def open(self) -> None:
        """Makes the folder if needed and takes its lock; a torn last line is cut off.

        Raises LockedError, or LedgerError when the disk refuses.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            _take(self._lock)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._transcript = os.open(self.transcript, flags, 0o600)
            self._end = _whole_lines(self.transcript, self._transcript)
        except BlockingIOError:
            self.close()
            raise LockedError(f"another process works in {self.path}") from None
        except OSError as error:
            self.close()
            raise _disk_error(self.path, error) from error

    def append(self, event: Event, *, with_next: bool = False) -> None:
        """Writes one transcript line; `sync` makes it durable, with all before it.

        One that is to go `with_next` is written together with the next, or by `sync`: a process that is
        killed in between loses it. Raises LedgerError; the file then ends with its last whole line.
        """
        line = encode_line(event)
        with self._writing:
            self._held += line
        if not with_next:
            self._write_held()

    def sync(self) -> None:
        """Waits until all that was appended is written and on the disk. Raises LedgerError."""
        self._write_held()
        try:
            os.fdatasync(self._transcript)
        except OSError as error:
            raise _disk_error(self.transcript, error) from error

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replaces `run.json` in one step. Raises LedgerError."""
        self._replace(self.record, record)

    def write_saved(self, saved: Mapping[str, Any]) -> None:
        """Keeps in `saved.json` what `resume` makes the delegation from. Raises LedgerError."""
        if saved:
            self._replace(self.saved, saved)

    def read_saved(self) -> dict[str, Any]:
        """What `write_saved` wrote. Raises ProblemsError when it is missing or not that."""
        return _read_object(self.saved, "this run cannot go on: what it was made from is not here")

    def read_record(self) -> dict[str, Any]:
        """The run's record. Raises ProblemsError when it is missing or not one."""
        return _read_object(self.record, "there is no readable run here")

    def _write_held(self) -> None:
        with self._writing:
            lines, self._held = self._held, b""
            if not lines:
                return
            try:
                if os.write(self._transcript, lines) != len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                os.ftruncate(self._transcript, self._end)
                raise _disk_error(self.transcript, error) from error
            self._end += len(lines)

    def _replace(self, path: Path, data: Mapping[str, Any]) -> None:
        draft = self.path / f".{path.name}.new"
        try:
            with open(draft, "w", encoding="utf-8", opener=_private) as file:
                file.write(_encode(data) + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            raise _disk_error(path, error) from error

    def close(self) -> None:
        """Gives back the lock; may be called twice."""
        if self._transcript >= 0:
            with suppress(LedgerError):
                self._write_held()
        for descriptor in (self._transcript, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._transcript = self._lock = -1

    def __enter__(self) -> RunDirectory:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_held(path: Path) -> bool:
    """Whether a process works in a run's folder; one whose folder is gone is held by nobody."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _take(lock: int) -> None:
    """Raises BlockingIOError when another process keeps it; `is_held` only ever has it for an instant."""
    for _ in range(TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(PAUSE)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _whole_lines(path: Path, descriptor: int) -> int:
    """Cuts off a torn last line; the size that is left, in bytes."""
    size = os.fstat(descriptor).st_size
    if size == 0:
        return 0
    whole = path.read_bytes().rfind(b"\n") + 1
    if whole != size:
        os.ftruncate(descriptor, whole)
    return whole


def _read_object(path: Path, message: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ProblemsError([Problem(str(path), 0, 0, message)])
    return found


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _disk_error(path: Path, error: OSError) -> LedgerError:
    return LedgerError(f"cannot write {path}: {error.strerror}", hint="free some space or fix its owner")
