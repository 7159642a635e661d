"""What an agent changed in its copy, as a patch that git can apply.

The copy's files are compared byte by byte with what they were when it was made. Git sees objects only:
not the copy, and not the repository in it.
"""

from __future__ import annotations

import os
import posixpath
import stat as st
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

from meshclaw.errors import WorkError
from meshclaw.frozen import dataclass
from meshclaw.isolation.ignoring import find_ignored, literal_folders
from meshclaw.isolation.names import is_git_name
from meshclaw.isolation.repository import FILE, LINK, PROGRAM, SUBMODULE, Blob
from meshclaw.isolation.store import Store
from meshclaw.isolation.trees import MAX_DEPTH, Folders, Found, walk
from meshclaw.policies import Rules

MAX_FILE = 128 * 2**20
"""Bytes of one changed file."""
MAX_LEFT_OUT = 1_000
MAX_IGNORE_FILE = 2**20

Kind = Literal["added", "changed", "deleted"]

UNHELD = Blob("", "")
"""Stands for what is too large, too deep, or no file."""

NOT_ALLOWED = "allow.write does not name it"
IGNORED = "git ignores it"


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """One file of a patch. `added` and `removed` count lines; None for what is not text.

    `path` is relative to the project. A file that was renamed is one deleted and one added.
    """

    path: str
    kind: Kind
    added: int | None
    removed: int | None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that changed in the copy and is not in the patch. A folder stands for all that is in it."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Patch:
    """`text` is what `git apply` takes at the repository's top; it can hold binary files and any name.

    `before` and `after` name trees in the run's store that hold the changed files, and only those.
    """

    text: bytes
    files: tuple[ChangedFile, ...]
    left_out: tuple[LeftOut, ...]
    before: str
    after: str

    @property
    def lines(self) -> int:
        """Lines added and removed, of text files."""
        return sum((one.added or 0) + (one.removed or 0) for one in self.files)


class Comparison:
    """How the files in `copy` are compared with `base`. All paths are from the repository's top.

    `prefix` leads to the project. `shared` is not looked at, and neither is the copy's own repository, nor
    folders that `enter` does not want, nor files that `wants` does not. `ours` says that the files are our
    own, whose rights may be mended.
    """

    def __init__(
        self,
        copy: Path,
        store: Store,
        base: Mapping[str, Blob],
        prefix: str,
        shared: Iterable[str],
        *,
        enter: Callable[[str], bool] = lambda path: True,
        wants: Callable[[str], bool] = lambda path: True,
        ours: bool = True,
    ) -> None:
        self._copy = copy
        self._store = store
        self._base = base
        self._prefix = prefix
        self._skip = {".git", *shared}
        self._enter = enter
        self._wants = wants
        self._ours = ours
        self._submodules = {path for path, blob in base.items() if blob.mode == SUBMODULE}

    def patch(self, rules: Rules) -> Patch:
        """The patch of what `rules` let through. Blocks; raises WorkError and OSError."""
        return self.look(rules)[0]

    def look(self, rules: Rules) -> tuple[Patch, dict[str, Blob]]:
        """The patch, and what `now` gives. Blocks; raises WorkError and OSError."""
        now, left_out, ignore_files = self._read()
        unheld = self._unheld(left_out)
        changed = [path for path in {**self._base, **now} if self._base.get(path) != now.get(path)]
        wanted = [self._prefix + folder for folder in literal_folders(rules.write)]
        new = [path for path in changed if path not in self._base]
        ignored = find_ignored(self._store, ignore_files, new, wanted)
        kept = []
        for path in sorted(changed):
            reason, place = self._reason(path, rules, ignored)
            if reason:
                left_out[place] = reason
            else:
                kept.append(path)
        self._keep({path: now[path] for path in kept if path in now and now[path].mode != LINK})
        before = self._store.tree({path: self._base[path] for path in kept if path in self._base})
        after = self._store.tree({path: now[path] for path in kept if path in now})
        named = sorted((posixpath.relpath(path, self._prefix or "."), left_out[path]) for path in left_out)
        patch = Patch(
            diff(self._store, before, after),
            changed_files(self._store, before, after, self._prefix),
            tuple(LeftOut(path, reason) for path, reason in named[:MAX_LEFT_OUT]),
            before,
            after,
        )
        return patch, now | unheld

    def now(self) -> dict[str, Blob]:
        """What the files are now, by path; UNHELD is one that no patch can hold. Blocks."""
        now, left_out, _ = self._read()
        return now | self._unheld(left_out)

    def _unheld(self, left_out: Iterable[str]) -> dict[str, Blob]:
        return {path: UNHELD for path in left_out if not is_git_name(path.rpartition("/")[2])}

    def _read(self) -> tuple[dict[str, Blob], dict[str, str], dict[str, bytes]]:
        """What the copy holds now, what cannot be in a patch and why, and the files of ignore rules."""
        now = {
            path: blob
            for path, blob in self._base.items()
            if blob.mode == SUBMODULE or path.count("/") >= MAX_DEPTH
        }
        left_out: dict[str, str] = {}
        ignore_files: dict[str, bytes] = {}
        for found in walk(self._copy, self._skip, enter=self._enters, mend=self._ours, closed=_pass_over):
            if reason := self._unfit(found):
                left_out[found.path] = reason
                if found.path in self._base:
                    now[found.path] = self._base[found.path]
            elif not found.is_folder and not self._wants(found.path):
                continue
            elif found.kind == st.S_IFLNK:
                now[found.path] = Blob(LINK, self._store.put_bytes(found.target()))
            elif found.kind == st.S_IFREG:
                if (blob := self._hash(found)) is None:
                    continue
                now[found.path] = blob
                if found.name == ".gitignore" and found.status.st_size <= MAX_IGNORE_FILE:
                    with found.open() as file:
                        ignore_files[found.path] = file.read(MAX_IGNORE_FILE)
        return now, left_out, ignore_files

    def _enters(self, path: str) -> bool:
        own = is_git_name(path.rpartition("/")[2]) or path in self._submodules
        return not own and self._enter(path)

    def _unfit(self, found: Found) -> str:
        """Why no patch can hold this; empty when one can, or when it is a folder like any."""
        if found.kind == st.S_IFDIR:
            if found.path in self._submodules and found.names():
                return "it is a submodule, which is not a part of the copy"
            if is_git_name(found.name):
                return "it is a repository of its own"
            return f"more than {MAX_DEPTH} folders deep" if found.path.count("/") >= MAX_DEPTH - 1 else ""
        if is_git_name(found.name) or (found.name.lower() == ".gitmodules" and found.kind == st.S_IFLNK):
            return "git cannot hold it"
        if found.kind not in (st.S_IFREG, st.S_IFLNK):
            return "it is not a file"
        if found.status.st_size > MAX_FILE and found.status.st_size != self._size(found.path):
            return f"it is larger than {MAX_FILE // 2**20} MiB"
        return ""

    def _size(self, path: str) -> int | None:
        """Bytes of what the copy began with."""
        blob = self._base.get(path)
        return int(self._store.git.run("cat-file", "-s", blob.oid)) if blob else None

    def _hash(self, found: Found) -> Blob | None:
        """None for what is closed to us."""
        mode = PROGRAM if found.status.st_mode & 0o100 else FILE
        if (file := found.open_unless_closed()) is None:
            return None
        with file:
            return Blob(mode, self._store.put(file, os.fstat(file.fileno()).st_size, keep=False))

    def _reason(self, path: str, rules: Rules, ignored: Mapping[str, str]) -> tuple[str, str]:
        """Why a change is not to be in the patch, or empty, and of what to say so."""
        if not path.startswith(self._prefix):
            return "it lies outside of the project", path
        if path in ignored:
            return IGNORED, ignored[path]
        return "" if rules.may_write(path.removeprefix(self._prefix)) else NOT_ALLOWED, path

    def _keep(self, changed: Mapping[str, Blob]) -> None:
        with Folders(self._copy) as folders:
            for path, blob in changed.items():
                found = folders.find(path)
                if found is None:
                    raise WorkError(f"{path} was removed while it was read")
                with found.open() as file:
                    oid = self._store.put(file, os.fstat(file.fileno()).st_size, keep=True)
                if oid != blob.oid:
                    raise WorkError(f"{path} was changed while it was read")


def _pass_over(path: str) -> None:
    """What is closed to us was so before: nobody here has changed it."""


def diff(store: Store, before: str, after: str) -> bytes:
    """The difference of two trees, as a patch."""
    options = ("--binary", "--full-index", "--src-prefix=a/", "--dst-prefix=b/")
    return _diff(store, "--patch", *options, before, after)


def changed_files(store: Store, before: str, after: str, prefix: str) -> tuple[ChangedFile, ...]:
    """The same in figures; `prefix` is taken off the names."""
    counts = {}
    for record in _diff(store, "--numstat", "-z", before, after).split(b"\0")[:-1]:
        added, removed, path = record.split(b"\t", 2)
        counts[path] = (_count(added), _count(removed))
    fields = _diff(store, "--name-status", "-z", before, after).split(b"\0")[:-1]
    return tuple(
        ChangedFile(os.fsdecode(path).removeprefix(prefix), _KINDS.get(status, "changed"), *counts[path])
        for status, path in zip(fields[::2], fields[1::2], strict=True)
    )


def _diff(store: Store, *arguments: str) -> bytes:
    return store.git.run(
        "diff-tree", "-r", "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv", *arguments
    )


def _count(text: bytes) -> int | None:
    return None if text == b"-" else int(text)


_KINDS: dict[bytes, Kind] = {b"A": "added", b"D": "deleted"}
