"""Makes a copy: the files, what they are compared with later, and a repository of the agent's own."""

from __future__ import annotations

import os
import stat as st
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from meshclaw.errors import WorkError
from meshclaw.isolation.git import Git
from meshclaw.isolation.names import is_beneath, is_tracked_path
from meshclaw.isolation.repository import (
    FILE,
    LINK,
    NOTHING,
    PROGRAM,
    SUBMODULE,
    Blob,
    Repository,
    State,
)
from meshclaw.isolation.store import Reader, Store, borrow
from meshclaw.isolation.trees import Folders, Found


def fill(
    copy: Path, store: Store, repository: Repository, state: State, *, dirty: bool, shares: Sequence[str]
) -> dict[str, Blob]:
    """Writes the files into `copy` and returns what they are, by path from the repository's top.

    Without `dirty` that is what HEAD holds; with it, what the work tree holds. A file that is as git left
    it is taken from the work tree, so that line endings and large files are as the user has them. The
    contents are recorded byte by byte, whatever attributes say. Raises WorkError and OSError.
    """
    shared = [repository.prefix + name for name in shares]
    base: dict[str, Blob] = {}
    with (
        Folders(repository.top) as theirs,
        Folders(copy, create=True) as ours,
        store.reader() as reader,
    ):
        for path, blob, fresh in sorted(_wanted(state, dirty=dirty), key=lambda one: one[0].split("/")):
            if not is_tracked_path(path) or is_beneath(path, shared):
                continue
            if blob is not None and blob.mode == SUBMODULE:
                ours.make(path)
                base[path] = blob
            elif made := _place(path, blob, theirs.find(path) if fresh else None, ours, store, reader):
                base[path] = made
    return base


def uncommitted(state: State, base: Mapping[str, Blob], shared: Sequence[str]) -> dict[str, Blob]:
    """Which of the files in `base`, that a copy began with, may be others than HEAD's; NOTHING is none.

    Submodules are left out, and what lies beneath `shared`.
    """
    found = {}
    for path in state.uncommitted:
        blob, head = base.get(path), state.head.get(path)
        modules = any(one is not None and one.mode == SUBMODULE for one in (blob, head))
        if not modules and is_tracked_path(path) and not is_beneath(path, shared) and (blob or head):
            found[path] = blob or NOTHING
    return found


def _wanted(state: State, *, dirty: bool) -> Iterator[tuple[str, Blob | None, bool]]:
    """Path, what git holds there, and whether the work tree's file is the one to take."""
    if not dirty:
        for path, blob in state.head.items():
            yield path, blob, state.index.get(path) == blob and path not in state.dirty
        return
    for path, blob in state.index.items():
        submodule = blob.mode == SUBMODULE
        yield path, blob if submodule or path not in state.dirty else None, not submodule
    for path in state.untracked - state.index.keys():
        yield path, None, True


def _place(
    path: str, blob: Blob | None, found: Found | None, ours: Folders, store: Store, reader: Reader
) -> Blob | None:
    """Puts one file there. `found` is the user's file to take, `blob` is what git holds of it, None for
    a file that git does not hold as it is. None when there is nothing to put."""
    mode = _mode(found) if found is not None else None
    if found is not None and mode is not None and (blob is None or _same_type(blob.mode, mode)):
        mode = mode if blob is None else blob.mode
        return Blob(mode, _take(path, found, mode, blob, ours, store))
    if blob is None:
        return None
    if blob.mode == LINK:
        ours.link(path, reader.read(blob.oid))
    else:
        with ours.create(path, executable=blob.mode == PROGRAM) as target:
            reader.copy(blob.oid, target)
    return blob


def _take(path: str, found: Found, mode: str, blob: Blob | None, ours: Folders, store: Store) -> str:
    if mode == LINK:
        target = found.target()
        ours.link(path, target)
        return store.put_bytes(target)
    with found.open() as file:
        size = os.fstat(file.fileno()).st_size
        with ours.create(path, executable=mode == PROGRAM) as copy:
            oid = store.put(file, size, keep=False, also=copy)
        if blob is None or oid != blob.oid:
            file.seek(0)
            if store.put(file, size, keep=True) != oid:
                raise WorkError(f"{path} was changed while it was copied", hint="try again")
    return oid


def _mode(found: Found) -> str | None:
    if found.kind == st.S_IFLNK:
        return LINK
    if found.kind != st.S_IFREG:
        return None
    return PROGRAM if found.status.st_mode & 0o100 else FILE


def _same_type(one: str, other: str) -> bool:
    return (one == LINK) == (other == LINK)


def add_repository(
    git: Git, copy: Path, repository: Repository, borrowed: Sequence[Path], shares: Sequence[str]
) -> None:
    """Makes `copy/.git`: the history up to the copy's commit, the branch's name, tags and ignore rules.

    It borrows its objects, and there is nothing of the user's settings, hooks, remotes or stash in it.
    Git is not shown the copy's files.
    """
    folder = copy / ".git"
    tags = git.within(repository.git_dir).run(
        "for-each-ref", "--format=%(objectname) %(refname)", "refs/tags"
    )
    folder.mkdir(mode=0o700)
    here = git.within(folder, copy)
    here.run("init", "--quiet", "--template=", f"--object-format={repository.object_format}")
    borrow(folder / "objects", borrowed)
    rules = repository.common / "info" / "exclude"
    users = rules.read_bytes() if rules.is_file() else b""
    shared = (f"/{repository.prefix}{name}".replace("\\", r"\\").replace(" ", r"\ ") for name in shares)
    (folder / "info").mkdir(exist_ok=True)
    (folder / "info" / "exclude").write_bytes(b"\n".join((users, *map(os.fsencode, shared), b"")))
    shallow = repository.common / "shallow"
    if shallow.is_file():
        (folder / "shallow").write_bytes(shallow.read_bytes())
    (folder / "packed-refs").write_bytes(tags)
    if repository.branch is None:
        here.run("update-ref", "--no-deref", "HEAD", repository.commit)
    else:
        here.run("symbolic-ref", "HEAD", f"refs/heads/{repository.branch}")
        here.run("update-ref", "HEAD", repository.commit)
    here.run("read-tree", repository.commit)


def refresh(git: Git, copy: Path) -> None:
    """Lets the copy's repository know that its files are as they should be: before any agent was there."""
    git.within(copy / ".git", copy).run("update-index", "-q", "--refresh", codes=(0, 1))


def link_shares(copy: Path, project: Path, shares: Sequence[str]) -> tuple[str, ...]:
    """Puts a link to each shared file or folder that the project has. Returns which there are.

    An empty folder in the place is a sandbox's, to mount on, and gives way.
    """
    found = []
    with Folders(project) as theirs, Folders(copy, create=True) as ours:
        for name in shares:
            if theirs.find(name) is None:
                continue
            found.append(name)
            there = ours.find(name)
            if there is not None and there.is_folder and not there.names():
                os.rmdir(there.name, dir_fd=there.folder)
                there = None
            if there is None:
                ours.link(name, os.fsencode(project / name))
    return tuple(found)
