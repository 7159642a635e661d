"""Private folders, which go with their run: at its end, or when the next one starts if it was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

PREFIX = "run-"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Private:
    """One run's folder in `parent`, locked while it is in use. `close` removes it."""

    def __init__(self, parent: Path) -> None:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(parent) as above:
            stale = [*_unused(parent)]
            self.folder = Path(mkdtemp(prefix=PREFIX, dir=parent)).resolve()
            self._lock = os.open(self.folder, _FOLDER)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._above = os.dup(above)
        for name, lock in stale:
            remove_tree(name, self._above)
            os.close(lock)

    def close(self) -> None:
        remove_tree(self.folder.name, self._above)
        os.close(self._lock)
        os.close(self._above)


@contextlib.contextmanager
def _alone(parent: Path) -> Iterator[int]:
    """So that none is taken for unused between its making and its locking."""
    descriptor = os.open(parent, _FOLDER)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _unused(parent: Path) -> Iterator[tuple[str, int]]:
    """Folders whose run has ended without removing them, each with the lock that was taken on it."""
    for path in parent.glob(f"{PREFIX}*"):
        try:
            lock = os.open(path, _FOLDER)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        yield path.name, lock


def remove_folder(folder: Path) -> None:
    """`remove_tree` of a path."""
    with contextlib.suppress(OSError):
        above = os.open(folder.parent, _FOLDER)
        try:
            remove_tree(folder.name, above)
        finally:
            os.close(above)


def remove_tree(name: str, above: int) -> None:
    """All of the folder `name` in an open one, however deep it is and whatever has been locked in it.

    What cannot be removed stays. What the usual way has left is gone through with one folder open at once.
    """
    with contextlib.suppress(RecursionError):
        shutil.rmtree(name, ignore_errors=True, dir_fd=above)
    with contextlib.suppress(OSError):
        _empty(_opened(name, above))
        os.rmdir(name, dir_fd=above)


def _empty(here: int) -> None:
    """Removes what is in an open folder, and closes it."""
    pending = [_folders_left(here)]
    way: list[tuple[str, os.stat_result]] = []
    try:
        while pending[-1] or way:
            if pending[-1]:
                inner = pending[-1].pop()
                with contextlib.suppress(OSError):
                    descriptor = _opened(inner, here)
                    way.append((inner, os.fstat(here)))
                    os.close(here)
                    here = descriptor
                    pending.append(_folders_left(here))
                continue
            inner, above = way.pop()
            pending.pop()
            descriptor = os.open("..", _FOLDER, dir_fd=here)
            os.close(here)
            here = descriptor
            if not os.path.samestat(os.fstat(here), above):
                raise OSError("a folder was moved while it was removed")
            with contextlib.suppress(OSError):
                os.rmdir(inner, dir_fd=here)
    finally:
        os.close(here)


def _opened(name: str, above: int) -> int:
    try:
        found = os.open(name, _FOLDER, dir_fd=above)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=above)
        return os.open(name, _FOLDER, dir_fd=above)
    with contextlib.suppress(PermissionError):
        os.fchmod(found, 0o700)
    return found


def _folders_left(folder: int) -> list[str]:
    """Removes what is no folder; the names of the others."""
    left = []
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            try:
                os.unlink(name, dir_fd=folder)
            except IsADirectoryError:
                left.append(name)
            except OSError:
                continue
    return left
