"""Brings a kept patch into a work tree: all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from meshclaw.errors import WorkError
from meshclaw.frozen import dataclass
from meshclaw.isolation.git import Git
from meshclaw.isolation.merging import Conflict, Three
from meshclaw.isolation.repository import LINK, PROGRAM, Blob
from meshclaw.isolation.store import Store
from meshclaw.isolation.trees import walk
from meshclaw.workspace import Entry, ExactWorkspace, WorkspaceError, leads_out


class ConflictError(WorkError):
    """The patch does not fit; nothing was changed. `conflicts` say where."""

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        places = "\n".join(f"  {one}" for one in conflicts)
        super().__init__(f"the patch does not fit, so nothing was changed:\n{places}")
        self.conflicts = tuple(conflicts)


class _MovedOnError(WorkError):
    """A file is not any more what it was when the changes were worked out; nothing was changed."""

    def __init__(self, path: str) -> None:
        hint = "try again once nothing else writes there"
        super().__init__(f"{path} was changed in the meantime, so nothing was changed", hint=hint)


TRIES = 5
"""How often changes are worked out anew for files that somebody else is writing."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of one file; None is its removal."""

    path: str
    now: Entry | None
    then: Entry | None


@dataclass(frozen=True, slots=True)
class Delta:
    """A patch's files before and after, by path: from the repository's top, or from the project."""

    before: Mapping[str, Entry]
    after: Mapping[str, Entry]

    @classmethod
    def read(cls, store: Store, before: str, after: str, prefix: str = "") -> Delta:
        """From two trees of the store; `prefix` is taken off the paths."""

        def load(tree: str) -> dict[str, Entry]:
            found = load_entries(store, store.entries(tree))
            return {path.removeprefix(prefix): entry for path, entry in found.items()}

        return cls(load(before), load(after))

    @property
    def paths(self) -> list[str]:
        return sorted({**self.before, **self.after})

    @property
    def removed(self) -> frozenset[str]:
        return frozenset(self.before) - frozenset(self.after)

    def changes(self, now: Mapping[str, Entry | None], git: Git, room: Path) -> list[Change]:
        """What is to be done to files that are `now`. Raises ConflictError with all conflicts there are."""
        changes: list[Change] = []
        conflicts: list[Conflict] = []
        for path in self.paths:
            merged = Three(path, self.before.get(path), self.after.get(path), now[path]).merge(git, room)
            if isinstance(merged, list):
                conflicts += merged
            elif merged != now[path]:
                changes.append(Change(path, now[path], merged))
        if conflicts:
            raise ConflictError(conflicts)
        # What is removed may be in the way of what is made.
        return sorted(changes, key=lambda one: one.then is not None)


def load_entries(store: Store, blobs: Mapping[str, Blob]) -> dict[str, Entry]:
    """The files themselves. Raises WorkError when the store does not hold one."""
    entries = {}
    with store.reader() as reader:
        for path, blob in blobs.items():
            data = reader.read(blob.oid)
            link = blob.mode == LINK
            entries[path] = Entry("link" if link else "file", data, blob.mode == PROGRAM)
    return entries


def apply(delta: Delta, project: Path, git: Git, room: Path, *, check: bool) -> tuple[str, ...]:
    """Makes the changes in the project's work tree, whatever git holds; returns which files they were.

    With `check` only tells. No link is followed. An error in the middle undoes what was done. A file that
    somebody else changes meanwhile is looked at again. Raises ConflictError, and WorkError when a file
    cannot be read or written.
    """
    for _ in range(TRIES - 1):
        with suppress(_MovedOnError):
            return _apply(delta, project, git, room, check=check)
    return _apply(delta, project, git, room, check=check)


def _apply(delta: Delta, project: Path, git: Git, room: Path, *, check: bool) -> tuple[str, ...]:
    workspace = ExactWorkspace(project)
    now, conflicts = {}, []
    for path in delta.paths:
        try:
            now[path] = _entry(workspace, delta, path)
            wanted = delta.after.get(path)
            if wanted and wanted.kind == "link" and leads_out(path, wanted.data) and wanted != now[path]:
                conflicts.append(Conflict(path, None, "it would be a link that leads out of the project"))
        except WorkspaceError as error:
            conflicts.append(Conflict(path, None, error.message.partition(": ")[2] or error.message))
    if conflicts:
        raise ConflictError(conflicts)
    changes = delta.changes(now, git, room)
    if not check:
        _write(workspace, delta, changes)
    return tuple(sorted(one.path for one in changes))


def _entry(workspace: ExactWorkspace, delta: Delta, path: str) -> Entry | None:
    try:
        return workspace.entry(path)
    except WorkspaceError:
        # A file that the patch removes makes room for a folder, and files that it removes for a file.
        above = path.split("/")
        if any("/".join(above[:count]) in delta.removed for count in range(1, len(above))):
            return None
        folder = workspace.root / path
        if path not in delta.before and folder.is_dir() and not folder.is_symlink():
            inside = [f"{path}/{found.path}" for found in walk(folder) if not found.is_folder]
            if all(name in delta.removed for name in inside):
                return None
        raise


def _write(workspace: ExactWorkspace, delta: Delta, changes: Sequence[Change]) -> None:
    done: list[Change] = []
    try:
        for change in changes:
            if _entry(workspace, delta, change.path) != change.now:
                raise _MovedOnError(change.path)
            done.append(change)
            _become(workspace, change.path, change.then)
    except BaseException as error:
        kept = [change.path for change in reversed(done) if not _undo(workspace, change)]
        if kept:
            hint = "see what git says of them"
            text = f"{error}, and these could not be put back: {', '.join(kept)}"
            raise WorkError(text, hint=hint) from error
        if isinstance(error, WorkspaceError):
            raise WorkError(f"{error.message}, so nothing was changed") from error
        raise


def _undo(workspace: ExactWorkspace, change: Change) -> bool:
    try:
        if workspace.entry(change.path) != change.now:
            _become(workspace, change.path, change.now)
    except WorkspaceError:
        return False
    return True


def _become(workspace: ExactWorkspace, path: str, entry: Entry | None) -> None:
    if entry is not None:
        workspace.put(path, entry)
    elif workspace.entry(path) is not None:
        workspace.remove(path)
