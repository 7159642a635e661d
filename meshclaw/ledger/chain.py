"""Checking that a ledger is what was written.

The hash of a line is h = SHA-256(previous h as 32 bytes, or 32 zero bytes before the first line,
followed by the exact bytes of the line before `,"h":"`). The framing bytes around it are compared too.

What a chain can see: any changed, inserted, removed or reordered byte above the last line. What it
cannot: lines dropped from the end, and a whole file written anew by whoever can write it, hashes
included. Only a copy of a hash kept elsewhere shows those.
"""

from __future__ import annotations

import hashlib
from dataclasses import field
from pathlib import Path
from typing import Literal

from meshclaw.errors import Problem
from meshclaw.frozen import dataclass
from meshclaw.ledger.codec import GENESIS, broken_chain, decode, follows
from meshclaw.ledger.disk import disk_error
from meshclaw.ledger.entry import Call, Entry, Reserve, Rotation
from meshclaw.ledger.file import read_entries
from meshclaw.ledger.rotation import files
from meshclaw.ledger.tail import read_lines

Previous = Literal["none", "matches", "differs", "missing"]


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found in one file.

    `entries`, `bytes` and `last_hash` (64 hex digits) are of the whole lines before `bad`, the first
    line that is not in order, or of the file when `bad` is None. `previous`: whether the file that a
    rotation names is still there, with the same size and digest. Call ids: `repeated_reserves` were
    reserved and `repeated_calls` settled more than once, `unreserved_calls` were settled and never
    reserved, here or in an earlier file that is there.
    """

    path: Path
    entries: int
    bytes: int
    last_hash: str
    bad: Problem | None = None
    previous: Previous = "none"
    repeated_reserves: tuple[str, ...] = ()
    repeated_calls: tuple[str, ...] = ()
    unreserved_calls: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing is wrong; a previous file that is not there any more is no fault of this one."""
        return self.lines_ok and self.previous != "differs"

    @property
    def lines_ok(self) -> bool:
        """Nothing is wrong with this file itself, whatever has become of the one before."""
        odd = self.repeated_reserves or self.repeated_calls or self.unreserved_calls
        return self.bad is None and not odd


@dataclass(slots=True)
class _Ids:
    """Call ids seen, and what is odd about them; the lists keep the file's order."""

    reserved: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    repeated_reserves: list[str] = field(default_factory=list)
    repeated_calls: list[str] = field(default_factory=list)
    unreserved: list[str] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        if isinstance(entry, Reserve):
            if entry.call in self.reserved:
                self.repeated_reserves.append(entry.call)
            self.reserved.add(entry.call)
        elif isinstance(entry, Call):
            if entry.call in self.called:
                self.repeated_calls.append(entry.call)
            elif entry.call not in self.reserved:
                self.unreserved.append(entry.call)
            self.called.add(entry.call)


def verify(path: Path) -> Verification:
    """Checks every line of one file, up to the first that is not in order.

    A rotated file that the first line names is checked by size and digest; `verify` it by itself to
    know its lines. A missing file has no entries and is in order. Raises LedgerError when the file
    is there and cannot be read.
    """
    ids, digest, number, size = _Ids(), GENESIS, 0, 0
    rotation: Rotation | None = None
    bad: Problem | None = None
    try:
        for number, (offset, line) in enumerate(read_lines(path), 1):
            found = follows(line, digest)
            entry = decode(line) if found else None
            if found is None or isinstance(entry, str):
                broken = broken_chain(line, str(path), number)
                bad = Problem(str(path), number, 1, entry if isinstance(entry, str) else broken.message)
                number -= 1
                break
            digest, size = found, offset + len(line)
            if isinstance(entry, Rotation) and number == 1:
                rotation = entry
            elif entry is not None:
                ids.add(entry)
        previous, unreserved = _before(path, rotation, ids.unreserved)
    except OSError as error:
        raise disk_error(path, error, "read") from error
    return Verification(
        path=path,
        entries=number,
        bytes=size,
        last_hash=digest.hex(),
        bad=bad,
        previous=previous,
        repeated_reserves=tuple(ids.repeated_reserves),
        repeated_calls=tuple(ids.repeated_calls),
        unreserved_calls=tuple(unreserved),
    )


def _before(path: Path, rotation: Rotation | None, unreserved: list[str]) -> tuple[Previous, list[str]]:
    """How the file before is, and which of the ids were not reserved there or earlier either."""
    if rotation is None:
        return "none", unreserved
    earlier = path.with_name(Path(rotation.previous).name)
    if not earlier.is_file() or earlier.is_symlink():
        # Where a call was reserved in a file that is gone, nobody can tell any more.
        return "missing", []
    state: Previous = "matches" if _same(earlier, rotation) else "differs"
    if unreserved:
        reserved = {
            entry.call
            for file in files(path)
            if file != path
            for entry in read_entries(file)
            if isinstance(entry, Reserve)
        }
        unreserved = [call for call in unreserved if call not in reserved]
    return state, unreserved


def _same(earlier: Path, rotation: Rotation) -> bool:
    if not earlier.is_file() or earlier.stat().st_size != rotation.size:
        return False
    with earlier.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == rotation.sha256
