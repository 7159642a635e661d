"""Reads and removes folder trees by descriptor: no symlink is followed, no depth is too deep.

Paths are `/`-separated and relative to the tree's root, decoded as the file system's names are, so that
every name survives. All of it blocks: call it from a worker thread.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat as st
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from anyio import from_thread

from meshclaw.errors import WorkError
from meshclaw.frozen import dataclass

MAX_DEPTH = 128
"""Folders within folders; what lies deeper is not looked at."""
MAX_ENTRIES = 1_000_000
CHUNK = 2**20

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of a tree. `folder` is the descriptor of where it lies, open until the next is sought."""

    path: str
    folder: int
    status: os.stat_result

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def kind(self) -> int:
        return st.S_IFMT(self.status.st_mode)

    @property
    def is_folder(self) -> bool:
        return self.kind == st.S_IFDIR

    def open(self) -> BinaryIO:
        """A regular file, for reading. Raises OSError, also when it is not one any more."""
        return open_file(self.folder, self.name)

    def open_unless_closed(self) -> BinaryIO | None:
        """The same; None when it is another account's and may not be read."""
        try:
            return self.open()
        except PermissionError:
            if is_others(self.status):
                return None
            raise

    def names(self) -> list[str]:
        """What a folder holds."""
        descriptor = os.open(self.name, _FOLDER, dir_fd=self.folder)
        try:
            return os.listdir(descriptor)  # noqa: PTH208
        finally:
            os.close(descriptor)

    def target(self) -> bytes:
        """Where a link leads."""
        return os.readlink(os.fsencode(self.name), dir_fd=self.folder)


def walk(
    root: Path,
    skip: Collection[str] = (),
    *,
    enter: Callable[[str], bool] = lambda path: True,
    mend: bool = False,
    closed: Callable[[str], None] | None = None,
) -> Iterator[Found]:
    """Everything beneath `root`, sorted by name, each folder before what is in it, but for paths in `skip`.

    Folders that `enter` does not want, and those deeper than MAX_DEPTH, are given and not looked into.
    `mend` is for trees of our own: rights that keep us out are added. `closed` is told of what others own
    and nobody else may look into, which an error would be otherwise. Raises OSError, and WorkError above
    MAX_ENTRIES.
    """
    top = os.open(root, _FOLDER)

    def look(folder: int, prefix: str, depth: int) -> Iterator[Found]:
        from_thread.check_cancelled()
        for name in sorted(os.listdir(folder)):
            path = prefix + name
            if path in skip:
                continue
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue
            except PermissionError:
                if closed is None or not is_others(os.fstat(folder)):
                    raise
                closed(path)
                continue
            if mend:
                _mend(folder, name, status.st_mode)
            yield Found(path, folder, status)
            if st.S_ISDIR(status.st_mode) and depth < MAX_DEPTH and enter(path):
                try:
                    inner = os.open(name, _FOLDER, dir_fd=folder)
                except PermissionError:
                    if closed is None or not is_others(status):
                        raise
                    closed(path)
                    continue
                try:
                    yield from look(inner, f"{path}/", depth + 1)
                finally:
                    os.close(inner)

    try:
        for count, found in enumerate(look(top, "", 1)):
            if count >= MAX_ENTRIES:
                raise WorkError(f"more than {MAX_ENTRIES} files in {root}")
            yield found
    finally:
        os.close(top)


def is_others(status: os.stat_result) -> bool:
    """Whether it is another account's: no work that is done here can have closed it to hide something."""
    return status.st_uid != os.geteuid()


def _mend(folder: int, name: str, mode: int) -> None:
    needed = 0o700 if st.S_ISDIR(mode) else 0o400 if st.S_ISREG(mode) else 0
    if mode & needed != needed:
        os.chmod(name, st.S_IMODE(mode) | needed, dir_fd=folder)


class Folders:
    """Opens folders beneath one, each from the one above; the last path stays open, for sorted paths."""

    def __init__(self, root: Path, *, create: bool = False) -> None:
        self._open = [os.open(root, _FOLDER)]
        self._names: list[str] = []
        self._create = create

    def at(self, path: str) -> tuple[int, str]:
        """The descriptor of the folder that `path` lies in, and its name there. Raises OSError."""
        *names, name = path.split("/")
        same = 0
        while same < min(len(names), len(self._names)) and names[same] == self._names[same]:
            same += 1
        while len(self._names) > same:
            os.close(self._open.pop())
            self._names.pop()
        for one in names[same:]:
            if self._create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(one, dir_fd=self._open[-1])
            self._open.append(os.open(one, _FOLDER, dir_fd=self._open[-1]))
            self._names.append(one)
        return self._open[-1], name

    def find(self, path: str) -> Found | None:
        """What is there; None also where a link or a file is in the way."""
        try:
            folder, name = self.at(path)
            return Found(path, folder, os.stat(name, dir_fd=folder, follow_symlinks=False))
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise

    def create(self, path: str, *, executable: bool = False) -> BinaryIO:
        """A new file, for writing. Raises OSError, also when there is something."""
        folder, name = self.at(path)
        return os.fdopen(os.open(name, _CREATE, 0o777 if executable else 0o666, dir_fd=folder), "wb")

    def link(self, path: str, target: bytes) -> None:
        folder, name = self.at(path)
        os.symlink(target, os.fsencode(name), dir_fd=folder)

    def make(self, path: str) -> None:
        """A folder, and those on the way."""
        self.at(f"{path}/.")

    def __enter__(self) -> Folders:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in reversed(self._open):
            os.close(descriptor)


def open_file(folder: int, name: str) -> BinaryIO:
    """A regular file, for reading, whatever is put there meanwhile. Raises OSError."""
    descriptor = os.open(name, _READ, dir_fd=folder)
    if not st.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", name)
    return os.fdopen(descriptor, "rb")


def remove_tree(folder: Path) -> None:
    """Removes a folder with all that is in it, however deep and locked; nothing there is no error.

    It is moved aside first, so it is gone at once; what an interrupted removal left is removed by the
    next. No link is followed. Raises WorkError when something cannot be removed.
    """
    aside = folder.with_name(f".{folder.name}.removing")
    try:
        aside.mkdir(mode=0o700, exist_ok=True)
        numbers = _free_numbers(aside)
        with contextlib.suppress(FileNotFoundError):
            folder.rename(aside / str(next(numbers)))
        descriptor = os.open(aside, _FOLDER)
        try:
            while names := os.listdir(descriptor):  # noqa: PTH208
                for name in names:
                    _remove(descriptor, name, numbers)
        finally:
            os.close(descriptor)
        aside.rmdir()
    except OSError as error:
        raise WorkError(f"cannot remove {folder}: {error.strerror}") from error


def _remove(top: int, name: str, numbers: Iterator[int]) -> None:
    """A file or an emptied folder; the folders in it are moved up to `top`, so no path gets long, and are
    named there by the next of `numbers`.
    """
    if not st.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=top)
        return
    os.chmod(name, 0o700, dir_fd=top)
    folder = os.open(name, _FOLDER, dir_fd=top)
    try:
        for entry in os.listdir(folder):  # noqa: PTH208
            if st.S_ISDIR(os.stat(entry, dir_fd=folder, follow_symlinks=False).st_mode):
                os.chmod(entry, 0o700, dir_fd=folder)
                os.rename(entry, str(next(numbers)), src_dir_fd=folder, dst_dir_fd=top)
            else:
                os.unlink(entry, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)


def _free_numbers(folder: Path) -> Iterator[int]:
    """Names that nothing has there: each is given once, so the folder is listed but once."""
    taken = (int(name) for name in os.listdir(folder) if name.isdecimal())  # noqa: PTH208
    return itertools.count(1 + max(taken, default=-1))
