"""What became of a run's patch, read from plain git, offline.

A patch counts as taken up when the branch looked at has a commit that names the run (`MeshClaw-Run:`),
when commits since the run began made files just what the run had left, at least half of the patch by lines,
or when most of the patch's lines are there. It is alive while at least half of them are.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Literal

from meshclaw.frozen import dataclass
from meshclaw.isolation.git import Git, GitError
from meshclaw.isolation.kept import TRAILER, Side
from meshclaw.isolation.repository import FILE, PROGRAM, Blob, Repository, find_repository, parse_tree

TAKEN = 0.8
"""The share of a patch's lines that, found on the branch, shows that it was taken up."""
ALIVE = 0.5
"""The share of them that must be left for it to count as alive."""
GONE = 0.1
MAX_FILE = 4 * 2**20
GONE_MODE = "000000"
"""What git says of a file that a commit removes."""

Standing = Literal["alive", "merged", "reverted", "rewritten", "not taken up", "waiting"]
"""`merged`: taken up, but not long ago. `waiting`: not taken up, and there is time left."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one patch. `share` of its lines are on the branch; `commit` took it up, if known.

    `verdict` is None as long as nothing can be said.
    """

    standing: Standing
    share: float
    commit: str | None
    verdict: Literal["accepted", "rejected"] | None
    why: str


class Settling:
    """Looks at one branch of a project's repository; nothing that the repository names is run."""

    def __init__(self, git: Git, repository: Repository, ref: str) -> None:
        self._git = git.within(repository.git_dir)
        self.commit = self._ask("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        self._files = dict(parse_tree(self._git.run("ls-tree", "-r", "-z", "--full-tree", self.commit)))

    @classmethod
    def open(cls, environment: Mapping[str, str], project: Path, ref: str) -> Settling:
        """Blocks. Raises ProblemsError without a repository, GitError for a `ref` that is no commit."""
        git, repository = find_repository(environment, project)
        return cls(git, repository, ref)

    def judge(
        self,
        run: str,
        base: str,
        before: Side,
        after: Side,
        ended: datetime,
        now: datetime,
        patience: timedelta,
    ) -> Finding:
        """What became of the run's patch, which is not empty. Blocks.

        `base` is the commit that it was made upon, `ended` when the run did; what was not taken up by
        `patience` later never was.
        """
        paths = sorted({**before.blobs, **after.blobs})
        parts = {path: self._kept(path, before, after) for path in paths}
        share = sum(part.kept for part in parts.values()) / sum(part.of for part in parts.values())
        since = self._since(base, ended)
        commit, at = self._naming(run, since) or self._making(parts, after, since) or (None, None)
        if commit is None and share < TAKEN:
            if now - ended < patience:
                return Finding("waiting", share, None, None, "not taken up yet")
            why = f"not taken up within {patience.days} days"
            return Finding("not taken up", share, None, "rejected", why)
        if share < ALIVE:
            return self._lost(share, commit)
        age = now - (at or ended)
        named = f" in {commit[:12]}" if commit else ""
        if age < patience:
            return Finding("merged", share, commit, None, f"taken up{named} {age.days} days ago")
        why = f"taken up{named}; {share:.0%} of it alive after {age.days} days"
        return Finding("alive", share, commit, "accepted", why)

    def _lost(self, share: float, commit: str | None) -> Finding:
        reverting = self._reverting(commit) if commit else None
        if reverting or share < GONE:
            by = f" in {reverting[:12]}" if reverting else ""
            return Finding("reverted", share, commit, "rejected", f"taken up, then reverted{by}")
        why = f"taken up, then rewritten: {share:.0%} of it is left"
        return Finding("rewritten", share, commit, "rejected", why)

    def _kept(self, path: str, before: Side, after: Side) -> Part:
        there = self._files.get(path)
        return _kept_part(_file(before, path), _file(after, path), _File(there, self._read(there)))

    def _read(self, blob: Blob | None) -> bytes | None:
        if blob is None or blob.mode not in (FILE, PROGRAM):
            return None
        return self._git.run("cat-file", "blob", blob.oid)

    def _since(self, base: str, ended: datetime) -> str:
        """Leaves out what the branch held before the run: an old commit took nothing up."""
        try:
            self._ask("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}")
        except GitError:
            return f"--since={ended.isoformat()}"  # The history was rewritten.
        return f"^{base}"

    def _naming(self, run: str, since: str) -> tuple[str, datetime] | None:
        return self._oldest("--fixed-strings", f"--grep={TRAILER}: {run}", since)

    def _making(self, parts: Mapping[str, Part], after: Side, since: str) -> tuple[str, datetime] | None:
        """The oldest of the commits that made files what the run had left, if those are half of it.

        An empty file says nothing: many are, by chance.
        """
        wanted = [path for path in parts if "\n" not in path and after.contents.get(path) != b""]
        asked = ["--", *(f":(literal){path}" for path in wanted)]
        form = ("--raw", "-z", "--no-abbrev", "--no-renames", "--reverse", "--format=%H %ct")
        said = self._git.run(
            "log", *form, "--stdin", since, self.commit, stdin=os.fsencode("\n".join(asked))
        )
        found: set[str] = set()
        oldest = at = ""
        tokens = iter(said.decode("utf-8", "surrogateescape").split("\0"))
        for token in map(str.lstrip, tokens):
            if not token.startswith(":"):
                at = token or at
                continue
            _, mode, _, oid, _ = token.split(" ")
            path = next(tokens)
            left = after.blobs.get(path)
            if path in wanted and (left == Blob(mode, oid) or (left is None and mode == GONE_MODE)):
                found.add(path)
                oldest = oldest or at
        if sum(parts[path].of for path in found) < ALIVE * sum(part.of for part in parts.values()):
            return None
        return _commit(oldest)

    def _oldest(self, *options: str) -> tuple[str, datetime] | None:
        """The oldest commit on the branch that the options find."""
        said = self._ask("log", "--reverse", "--format=%H %ct", *options, self.commit)
        first = said.split("\n", 1)[0]
        return _commit(first) if first else None

    def _reverting(self, commit: str) -> str | None:
        found = self._oldest("--fixed-strings", f"--grep=This reverts commit {commit}", f"^{commit}")
        return found[0] if found else None

    def _ask(self, *arguments: str) -> str:
        return self._git.run(*arguments).decode("utf-8", "replace").strip()


def _commit(line: str) -> tuple[str, datetime]:
    commit, _, seconds = line.partition(" ")
    return commit, datetime.fromtimestamp(int(seconds), UTC)


@dataclass(frozen=True, slots=True)
class Part:
    """What a patch does to one file, in lines: `of` so many, `kept` are as the patch made them."""

    kept: int
    of: int


@dataclass(frozen=True, slots=True)
class _File:
    """`blob` is None for one that is not there, `data` also for a link and what is too long."""

    blob: Blob | None
    data: bytes | None


def _file(side: Side, path: str) -> _File:
    return _File(side.blobs.get(path), side.contents.get(path))


def _kept_part(was: _File, left: _File, there: _File) -> Part:
    kept, of = _kept_lines(was, left, there)
    if was.blob and left.blob and was.blob.mode != left.blob.mode:
        kept += there.blob is not None and there.blob.mode == left.blob.mode
        of += 1
    return Part(of if there.blob == left.blob else kept, of)


def _kept_lines(was: _File, left: _File, there: _File) -> tuple[int, int]:
    """How many of a file's changed lines are as the patch made them, and how many there are.

    Added lines count when they are there, more of them than before; where there are none, removed ones when
    they are not. Where only order or blank lines differ, it is pairs of lines. A file that is not text, or
    that was removed, counts as one line.
    """
    if left.blob is None:
        return int(there.blob is None), 1
    if was.blob and was.blob.oid == left.blob.oid:
        return 0, 0
    same = int(there.blob is not None and there.blob.oid == left.blob.oid)
    if any(one.blob and (one.data is None or b"\0" in one.data) for one in (was, left)):
        return same, 1
    for cut in (_lines, _pairs):
        old, new, now = cut(was.data or b""), cut(left.data or b""), cut(there.data or b"")
        added, removed = new - old, old - new
        if added:
            return ((new & now) - old).total(), added.total()
        if removed:
            return (old - (new | now)).total() if there.blob else 0, removed.total()
    return same, 1


def _lines(data: bytes) -> Counter[bytes]:
    return Counter(line for one in data.splitlines() if (line := one.rstrip()))


def _pairs(data: bytes) -> Counter[bytes]:
    lines = [b"", *data.splitlines(keepends=True)]
    return Counter(b"\n".join(pair) for pair in pairwise(lines))
