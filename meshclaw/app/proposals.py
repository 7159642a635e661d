"""What a run proposed, and what has been done of it: written down beside its record, in the order it came.

`proposals.jsonl` in the run's folder holds a line before a command begins and one after it has ended, each
on the disk before anything else happens: a command whose end is missing may have happened, and is never
done again without saying so.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from meshclaw.errors import LedgerError, Problem, ProblemsError
from meshclaw.frozen import dataclass

FILE = "proposals.jsonl"
State = Literal["open", "done", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposed command, as it was read. `number` counts from 1.

    `state` is `open` until it has been begun; then `done` (exit code 0), `failed`, or `unknown`: it was
    begun and its end was never written down. `at` is when it began last, an RFC 3339 time; `reason` says
    why it has no exit code of its own.
    """

    number: int
    command: str
    state: State = "open"
    at: str | None = None
    exit_code: int | None = None
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "command": self.command,
            "state": self.state,
            "at": self.at,
            "exit": self.exit_code,
            "reason": self.reason,
        }


def read_proposals(folder: Path, record: Mapping[str, Any]) -> list[Proposal]:
    """The proposals of the run in `folder`, with what has been done of them.

    Raises ProblemsError when what was written down cannot be read: nobody could say what was done.
    """
    found = {one["command"]: Proposal(one["number"], one["command"]) for one in record.get("proposals", [])}
    for line in _lines(folder / FILE):
        before = found.get(line["command"])
        if before is not None:
            found[before.command] = _after(before, line)
    return list(found.values())


class ProposalLog:
    """Writes down what is done of the proposals of the run in `folder`, whose lock the caller holds."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def begin(self, one: Proposal, at: str) -> None:
        """Before the command begins. Raises LedgerError; then it must not begin."""
        self._append({"event": "begin", "number": one.number, "command": one.command, "at": at})

    def end(self, one: Proposal, at: str, *, exit_code: int | None, reason: str, output: str) -> None:
        """After it has ended, however it did. `output` is the end of what it wrote. Raises LedgerError."""
        line = {"event": "end", "number": one.number, "command": one.command, "at": at}
        self._append({**line, "exit": exit_code, "reason": reason, "output": output})

    def _append(self, fields: Mapping[str, Any]) -> None:
        line = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        try:
            with open(self._path, "r+b" if self._path.exists() else "xb", opener=_private) as file:
                whole = _whole(self._path)
                file.truncate(whole)
                file.seek(whole)
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                file.flush()
                os.fsync(file.fileno())
            _sync_folder(self._path.parent)
        except OSError as error:
            raise LedgerError(
                f"cannot write {self._path}: {error.strerror}", hint="free some space or fix its owner"
            ) from error


def _after(before: Proposal, line: Mapping[str, Any]) -> Proposal:
    if line["event"] == "begin":
        return replace(before, state="unknown", at=line["at"], exit_code=None, reason="")
    state: State = "done" if line["exit"] == 0 else "failed"
    return replace(before, state=state, exit_code=line["exit"], reason=line["reason"])


def _lines(path: Path) -> Sequence[Mapping[str, Any]]:
    """Without a torn last line: what it says had not begun."""
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_bytes()[: _whole(path)].split(b"\n")[:-1], 1):
        try:
            fields = json.loads(line)
            wanted = {"event", "command", "at"} | (
                {"exit", "reason"} if fields["event"] == "end" else set()
            )
            if not wanted <= set(fields):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            message = "this does not say what was done of the run's proposals"
            hint = "look for yourself what was done, then move the file away"
            raise ProblemsError([Problem(str(path), number, 1, message, hint)]) from None
        found.append(fields)
    return found


def _whole(path: Path) -> int:
    """The size of the whole lines, in bytes."""
    return path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
