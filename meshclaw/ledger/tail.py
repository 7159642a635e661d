"""The end of a ledger file, read backwards and checked, and its lines, read forwards."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from meshclaw.frozen import dataclass
from meshclaw.ledger.codec import GENESIS, MAX_READ, follows, stated_hash

_FIRST_WINDOW = 4 * 1024
_LARGEST_WINDOW = 4 * MAX_READ
_BLOCK = 1024 * 1024


class TailError(Exception):
    """The last line cannot be continued; the message says why."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Where the next line goes: at offset `size`, after the line with this `hash`.

    `lacks_newline`: the last line is whole but for its LF. `torn`: bytes from `size` on that are no
    whole line.
    """

    size: int
    hash: bytes
    lacks_newline: bool = False
    torn: bytes = b""


def read_tail(descriptor: int, size: int) -> Tail:
    """Checks the last line against the one before it. Raises TailError when it does not follow."""
    at_start, lines, rest = _last_lines(descriptor, size)
    digest = GENESIS
    if lines:
        before = stated_hash(lines[-2]) if len(lines) > 1 else GENESIS if at_start else None
        if before is None:
            raise TailError("the line before the last is not a ledger's")
        found = follows(lines[-1], before)
        if found is None:
            raise TailError("its last line does not match its hash: it was changed, or is no ledger's")
        digest = found
    if not rest:
        return Tail(size, digest)
    following = follows(rest + b"\n", digest)
    if following is not None:
        return Tail(size, following, lacks_newline=True)
    return Tail(size - len(rest), digest, torn=rest)


def read_lines(path: Path, since: int = 0) -> Iterator[tuple[int, bytes]]:
    """The lines from byte offset `since` on, each with its offset, LF included.

    Takes no lock and never blocks a writer. Ends with a line that has no LF, if there is one, or
    with the first piece of a line longer than MAX_READ. A missing file has no lines. Raises OSError
    for what is not a regular file, ValueError when no line begins at `since`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    with open(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        if since and os.pread(descriptor, 1, since - 1) != b"\n":
            raise ValueError(f"no line begins at byte {since} of {path}")
        offset = file.seek(since)
        rest = b""
        while block := file.read(_BLOCK):
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            for line in lines:
                yield offset, line + b"\n"
                offset += len(line) + 1
            if len(rest) > MAX_READ:
                break
        if rest:
            yield offset, rest


def _last_lines(descriptor: int, size: int) -> tuple[bool, list[bytes], bytes]:
    """Whether the file's start is included; its last lines (two, if it has two); what follows them."""
    window = _FIRST_WINDOW
    while True:
        start = max(0, size - window)
        lines = os.pread(descriptor, size - start, start).split(b"\n")
        if start == 0 or len(lines) > 3:
            break
        if window >= _LARGEST_WINDOW:
            raise TailError("its last line is longer than any line may be")
        window *= 4
    rest = lines.pop()
    if start:
        del lines[0]
    return start == 0, [line + b"\n" for line in lines[-2:]], rest
