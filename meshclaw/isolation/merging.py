"""Brings one file's change into a file that may have moved on: three versions in, one or a conflict out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from meshclaw.frozen import dataclass
from meshclaw.isolation.git import Git
from meshclaw.workspace import Entry, shown_name

_HUNK = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
MOST_CONFLICTS = 127
"""What `git merge-file` ends with at most when it could tell how many there are."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Where a change does not fit. `line` is in the file as it is now; None is the whole file."""

    path: str
    line: int | None
    why: str

    def __str__(self) -> str:
        place = shown_name(self.path) + ("" if self.line is None else f":{self.line}")
        return f"{place}: {self.why}"


@dataclass(frozen=True, slots=True)
class Three:
    """A file before and after the change, and as it is now; None is a file that is not there."""

    path: str
    before: Entry | None
    after: Entry | None
    now: Entry | None

    def merge(self, git: Git, room: Path) -> Entry | list[Conflict] | None:
        """What the file is to be: text is merged line by line, of the rest what one side changed is taken.

        `room` is a folder of ours. Blocks; raises GitError.
        """
        before, after, now = self.before, self.after, self.now
        if now == before or after == now:
            return after
        if before is None:
            return self._conflict("it is there already, and is another")
        if now is None:
            return self._conflict("it was removed")
        if after is None:
            return self._conflict("it was changed, and the patch removes it")
        if not before.kind == after.kind == now.kind == "file":
            return self._conflict("a link was changed on both sides")
        executable = now.executable if before.executable == after.executable else after.executable
        data: bytes | list[Conflict]
        if before.data == after.data:
            data = now.data
        elif before.data == now.data:
            data = after.data
        elif b"\0" not in now.data and in_line_ends_of(now.data, before.data) == now.data:
            # Only the line ends are others: a repository that keeps them differs from its work tree so.
            data = in_line_ends_of(now.data, after.data)
        else:
            data = self._merge_text(git, room, before.data, after.data, now.data)
        return Entry("file", data, executable) if isinstance(data, bytes) else data

    def _merge_text(
        self, git: Git, room: Path, before: bytes, after: bytes, now: bytes
    ) -> bytes | list[Conflict]:
        with TemporaryDirectory(dir=room) as folder:
            for name, data in (("now", now), ("before", before), ("after", after)):
                Path(folder, name).write_bytes(data)
            here = replace(git, folder=Path(folder), git_dir=None)
            done = here.finish("merge-file", "-p", "-q", "now", "before", "after")
            if done.returncode == 0:
                return done.stdout
            if done.returncode > MOST_CONFLICTS:
                return self._conflict("it was changed on both sides, and is not text")
            ours, theirs = _hunks(here, "now"), _hunks(here, "after")
        places = sorted({one.line for one in ours if any(one.meets(other) for other in theirs)})
        return [Conflict(self.path, line, "it was changed on both sides") for line in places or [1]]

    def _conflict(self, why: str) -> list[Conflict]:
        return [Conflict(self.path, None, why)]


@dataclass(frozen=True, slots=True)
class _Hunk:
    """Lines `start` to `end` (counted from 0, the end not included) that became others, from `line` on."""

    start: int
    end: int
    line: int
    text: bytes

    def meets(self, other: _Hunk) -> bool:
        same = (self.start, self.end, self.text) == (other.start, other.end, other.text)
        return not same and self.start <= other.end and other.start <= self.end


def _hunks(git: Git, name: str) -> list[_Hunk]:
    """What became of `before` in `name`."""
    options = ("--no-index", "--no-ext-diff", "--no-textconv", "-U0")
    text = git.run("diff", *options, "before", name, codes=(0, 1))
    headers = list(_HUNK.finditer(text))
    ends = [*(header.start() for header in headers[1:]), len(text)]
    hunks = []
    for header, end in zip(headers, ends, strict=True):
        at, count, line = int(header[1]), int(header[2] or 1), int(header[3])
        start = at - 1 if count else at
        hunks.append(_Hunk(start, start + count, max(line, 1), text[header.end() : end]))
    return hunks


def in_line_ends_of(now: bytes, data: bytes) -> bytes:
    """`data` with the line ends of `now`, when all of its lines end in the same way."""
    windows = now.count(b"\r\n")
    plain = data.replace(b"\r\n", b"\n")
    if windows == 0:
        return plain
    return plain.replace(b"\n", b"\r\n") if windows == now.count(b"\n") else data
