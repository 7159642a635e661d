"""Which files of a project a snapshot holds, and what they are."""

from __future__ import annotations

import os
import stat as st
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from meshclaw.frozen import dataclass
from meshclaw.isolation.guarded_names import CACHES
from meshclaw.isolation.guarding import Guard
from meshclaw.isolation.ignoring import find_ignored
from meshclaw.isolation.names import is_beneath, is_git_name
from meshclaw.isolation.patch import MAX_IGNORE_FILE
from meshclaw.isolation.repository import FILE, LINK, PROGRAM, Blob, Repository, read_state
from meshclaw.isolation.store import Store
from meshclaw.isolation.trees import Folders, walk


@dataclass(frozen=True, slots=True)
class Files:
    """Paths from the project to record, what git holds of them, and places that are not looked at."""

    paths: Sequence[str]
    held: Mapping[str, Blob]
    skip: frozenset[str]


def tracked(store: Store, repository: Repository, skip: Sequence[str], guard: Guard) -> Files:
    """What git tracks or would track or the guard names, and which places it ignores.

    Of repositories in the project git tells nothing: what lies in them is listed as well.
    """
    state = read_state(store.git, repository, repository.commit, untracked=True)
    prefix = repository.prefix
    index = store.folder / "users-index"
    ignored: list[str] = []
    if index.is_file():
        asking = store.git.within(store.folder, repository.top, index)
        options = ("--others", "--ignored", "--exclude-standard", "--directory", "-z")
        listed = asking.run("ls-files", *options).split(b"\0")[:-1]
        ignored = [os.fsdecode(name) for name in listed]

    def inside(paths: Iterable[str]) -> list[str]:
        return [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]

    named = [place.rstrip("/") for place in inside(ignored) if guard.names(place)]
    project = repository.top / prefix
    paths = {*inside({*state.index, *state.untracked}), *_beneath(project, named)}
    if nested := [place for place in inside(state.nested) if not is_beneath(place, skip)]:
        paths.update(_in_repositories(project, nested, paths, store, guard))
    return Files(
        [path for path in paths if not is_beneath(path, skip)],
        {path.removeprefix(prefix): blob for path, blob in state.index.items()},
        frozenset((*skip, *(place.rstrip("/") for place in inside(ignored)))) - {*named},
    )


def _in_repositories(
    project: Path, places: Iterable[str], paths: Iterable[str], store: Store, guard: Guard
) -> Iterator[str]:
    """The files in these, but for those that are ignored there; `paths` are the project's own."""
    found = [path for path in _beneath(project, places) if not is_git_name(path.rpartition("/")[2])]
    rules = {}
    with Folders(project) as folders:
        for path in sorted({*paths, *found}, key=lambda one: one.split("/")):
            one = folders.find(path) if path.rpartition("/")[2] == ".gitignore" else None
            if one and one.kind == st.S_IFREG and one.status.st_size <= MAX_IGNORE_FILE:
                with one.open() as file:
                    rules[path] = file.read(MAX_IGNORE_FILE)
    ignored = find_ignored(store, rules, found, ())
    yield from (path for path in found if path not in ignored or guard.names(path))


def _beneath(project: Path, places: Iterable[str]) -> Iterator[str]:
    for place in places:
        if (project / place).is_dir() and not (project / place).is_symlink():
            yield from (f"{place}/{path}" for path in walked(project / place, ()))
        else:
            yield place


def walked(project: Path, skip: Sequence[str]) -> Iterator[str]:
    """All files but caches and what is closed to us."""
    for found in walk(project, {".git", *skip}, enter=is_looked_into, closed=lambda _: None):
        if not found.is_folder:
            yield found.path


def is_looked_into(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name not in CACHES and not is_git_name(name)


def record(project: Path, files: Files, store: Store) -> Iterator[tuple[str, Blob]]:
    """What each file is; contents that git does not hold are kept."""
    with Folders(project) as folders:
        for path in sorted(files.paths, key=lambda one: one.split("/")):
            try:
                found = folders.find(path)
            except PermissionError:  # No work has begun that could hide it.
                continue
            if found is None:
                continue
            if found.kind == st.S_IFLNK:
                yield path, Blob(LINK, store.put_bytes(found.target()))
            elif found.kind == st.S_IFREG and (file := found.open_unless_closed()) is not None:
                with file:
                    mode = PROGRAM if found.status.st_mode & 0o100 else FILE
                    yield path, Blob(mode, _put(file, files.held.get(path), store))


def _put(file: BinaryIO, held: Blob | None, store: Store) -> str:
    size = os.fstat(file.fileno()).st_size
    if held is None:
        return store.put(file, size, keep=True)
    oid = store.put(file, size, keep=False)
    if oid != held.oid:
        file.seek(0)
        oid = store.put(file, size, keep=True)
    return oid
