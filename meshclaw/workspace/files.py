"""Opens files beneath one folder, by descriptor, never through a symlink that leads out.

Paths are relative to the project and `/`-separated; an absolute path that lies beneath the project is
taken as such. `@run/NAME` reaches the whole tool outputs in the run's folder, for reading only.

A path is resolved in two moves. First it is worked out where symlinks lead (for reading only; writing
follows none), and whatever leads out is refused. Then that place is opened beneath the project's folder
without following any link (`beneath`). So a symlink that is swapped in between makes the open fail and
can never redirect it, on any kernel, and `/proc`'s magic links are refused like every other.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from meshclaw.workspace.beneath import FOLDER_FLAGS, Opener, make_folder, open_folder
from meshclaw.workspace.entries import (
    FileInfo,
    IsFolderError,
    NotFoundError,
    RefusedError,
    WorkspaceError,
    explained,
    is_git,
    kind_of,
    require_file,
    shown_name,
)
from meshclaw.workspace.ignore import IgnoreFile, is_ignored, parse_ignore_file
from meshclaw.workspace.links import real_names
from meshclaw.workspace.repositories import require_no_repository

RUN_FOLDER = "@run"
MAX_FILE = 64 * 2**20
"""What `read_bytes` reads when it is not told otherwise, in bytes."""
MAX_PATH = 4_096
MAX_IGNORE_FILE = 256 * 2**10
MAX_ENTRIES = 100_000
"""Entries of one folder that are looked at; more are as if they were not there."""
MAX_DEPTH = 100

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Workspace:
    """All methods raise WorkspaceError and block: call them from a worker thread.

    `known_as` is for a copy: an absolute path beneath it is taken as one beneath `root`. `opener` opens
    folders that exist. `hidden` are files and folders that are not opened, wherever they are.
    """

    def __init__(
        self,
        root: Path,
        outputs: Path | None = None,
        known_as: Path | None = None,
        opener: Opener = open_folder,
        hidden: Iterable[Path] = (),
    ) -> None:
        self._opener = opener
        self._hidden = frozenset(Path(os.path.realpath(path)) for path in hidden)
        self.root = Path(os.path.realpath(root))
        self.known_as = known_as
        self.outputs = None if outputs is None else Path(os.path.realpath(outputs))

    def relative(self, path: str) -> str:
        """`path` as the workspace understands it: no `.`, no doubled `/`; the root is the empty text.

        Only looks at the text. Raises for `..`, for what lies outside and for what cannot be a name.
        """
        shown = shown_name(path)
        try:
            impossible = "\0" in path or len(os.fsencode(path)) > MAX_PATH
        except UnicodeEncodeError:
            impossible = True
        if impossible:
            raise WorkspaceError(f"{shown[:80]}: not a possible file name")
        if path.startswith("/"):
            roots = [str(root).rstrip("/") for root in (self.root, self.known_as) if root is not None]
            root = next((one for one in roots if f"{path}/".startswith(f"{one}/")), None)
            if root is None:
                raise RefusedError(f"{shown}: outside of the project; give a path relative to it")
            path = path[len(root) :]
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise RefusedError(f"{shown}: `..` is not allowed; give a path relative to the project")
        return "/".join(parts)

    def stat(self, path: str) -> FileInfo:
        """What is there, with symlinks followed as far as they stay inside."""
        root, parts, relative = self._locate(path)
        with self._folder(root, parts[:-1]) as parent:
            found = _lstat(parent, parts[-1], relative) if parts else os.fstat(parent)
        return FileInfo(relative, kind_of(found.st_mode), found.st_size)

    def exists(self, path: str) -> bool:
        """False also for what may not be opened."""
        try:
            self.stat(path)
        except WorkspaceError:
            return False
        return True

    def open(self, path: str) -> io.BufferedReader:
        """A regular file, for reading. Devices, sockets and FIFOs are refused without being opened."""
        root, parts, relative = self._locate(path)
        if not parts:
            raise IsFolderError(f"{shown_name(path)}: is a folder")
        with self._folder(root, parts[:-1]) as parent:
            return open_file(parent, parts[-1], relative)

    def read_bytes(self, path: str, limit: int = MAX_FILE, offset: int = 0) -> bytes:
        """At most `limit` bytes from `offset` on."""
        with self.open(path) as file, explained(path):
            file.seek(offset)
            return file.read(limit)

    def list_dir(self, path: str = "") -> list[FileInfo]:
        """What a folder holds, sorted by name; symlinks as such, `.git` left out."""
        root, parts, relative = self._locate(path)
        found = []
        with self._folder(root, parts) as folder, explained(relative):
            with os.scandir(folder) as entries:
                names = [entry.name for entry in itertools.islice(entries, MAX_ENTRIES)]
            for name in sorted(names):
                with contextlib.suppress(FileNotFoundError):
                    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    place = f"{relative}/{name}" if relative else name
                    found.append(FileInfo(place, kind_of(status.st_mode), status.st_size))
        return [entry for entry in found if not is_git(entry.name)]

    def walk(self, path: str = "", depth: int = MAX_DEPTH) -> Iterator[FileInfo]:
        """Files and folders beneath `path`, sorted, without what `.gitignore` files exclude.

        Symlinks are left out. A folder that is itself ignored is walked when it is named, without the
        rules above it. `depth` 1 means `path`'s own entries. Folders that cannot be read are passed over.
        """
        relative = self.relative(path)
        ignore_files: list[IgnoreFile] = []
        for index in range(relative.count("/") + 1 if relative else 0):
            above = "/".join(relative.split("/")[:index])
            ignore_files += self._ignore_file(above)
        if relative and is_ignored(ignore_files, f"{relative}/"):
            ignore_files = []
        yield from self._walk(self.list_dir(path), relative, ignore_files, depth)

    def _walk(
        self, entries: list[FileInfo], folder: str, ignore_files: list[IgnoreFile], depth: int
    ) -> Iterator[FileInfo]:
        if any(entry.name == ".gitignore" for entry in entries):
            ignore_files = [*ignore_files, *self._ignore_file(folder)]
        for entry in entries:
            if entry.kind == "file" and not is_ignored(ignore_files, entry.path):
                yield entry
            elif entry.kind == "folder" and not is_ignored(ignore_files, f"{entry.path}/"):
                yield entry
                if depth > 1:
                    with contextlib.suppress(WorkspaceError):
                        inner = self.list_dir(entry.path)
                        yield from self._walk(inner, entry.path, ignore_files, depth - 1)

    def _ignore_file(self, folder: str) -> list[IgnoreFile]:
        prefix = f"{folder}/" if folder else ""
        try:
            data = self.read_bytes(f"{prefix}.gitignore", MAX_IGNORE_FILE)
        except WorkspaceError:
            return []
        return [parse_ignore_file(prefix, data)]

    def write_bytes(self, path: str, data: bytes, *, executable: bool | None = None) -> None:
        """Puts `data` there in one step, and makes the folders on the way. The file's mode is kept, but
        for who may execute it where `executable` says.

        Follows no symlink. Refuses `.git` and other repositories, what is not a regular file, what has a
        second hard link, and what nobody may write. On an error the file is as it was.
        """
        relative = self.relative(path)
        parts = relative.split("/")
        if not relative or parts[0] == RUN_FOLDER or any(map(is_git, parts)):
            raise RefusedError(f"{shown_name(path)}: may not be written")
        self._require_shown(self.root, parts, path)
        with explained(relative):
            require_no_repository(self.root, parts, self._opener)
        with self._folder(self.root, parts[:-1], create=True) as folder:
            mode = _mode_to_keep(folder, parts[-1], relative)
            with explained(relative):
                _replace(folder, parts[-1], data, _new_mode(mode, executable))

    def _locate(self, path: str) -> tuple[Path, list[str], str]:
        """The folder to start from, the names to open from there, and the path to show."""
        relative = inside = self.relative(path)
        root = self.root
        if self.outputs is not None and relative.split("/")[0] == RUN_FOLDER:
            root, inside = self.outputs, relative[len(RUN_FOLDER) + 1 :]
        with explained(relative):
            parts = real_names(root, inside)
        if parts is None:
            raise RefusedError(f"{shown_name(path)}: leads out of the project through a symlink")
        self._require_shown(root, parts, path)
        if any(map(is_git, parts)):
            raise RefusedError(f"{shown_name(path)}: what is inside .git may not be read")
        return root, parts, relative

    def _require_shown(self, root: Path, parts: list[str], path: str) -> None:
        if not self._hidden:
            return
        real = root.joinpath(*parts)
        if any(one in self._hidden for one in (real, *real.parents)):
            raise RefusedError(f"{shown_name(path)}: is not for tools")

    @contextlib.contextmanager
    def _folder(self, root: Path, parts: list[str], *, create: bool = False) -> Iterator[int]:
        shown = "/".join(parts) or "the project's folder"
        with explained(shown):
            descriptor = os.open(root, FOLDER_FLAGS)
            if parts:
                top = descriptor
                try:
                    descriptor = self._opener(top, parts)
                except FileNotFoundError:
                    if not create:
                        raise
                    descriptor = make_folder(top, parts)
                finally:
                    os.close(top)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def open_file(folder: int, name: str, path: str) -> io.BufferedReader:
    """A regular file in an open folder, for reading; `path` is for messages."""
    require_file(_lstat(folder, name, path), path)
    with explained(path):
        descriptor = os.open(name, _READ_FLAGS, dir_fd=folder)
    try:
        require_file(os.fstat(descriptor), path)
    except WorkspaceError:
        os.close(descriptor)
        raise
    return io.BufferedReader(io.FileIO(descriptor))


def _lstat(folder: int, name: str, path: str) -> os.stat_result:
    with explained(path):
        return os.stat(name, dir_fd=folder, follow_symlinks=False)


def _mode_to_keep(folder: int, name: str, path: str) -> int | None:
    """The permissions of the file that will be replaced, or None when there is none."""
    try:
        found = _lstat(folder, name, path)
    except NotFoundError:
        return None
    require_file(found, path)
    if found.st_nlink > 1:
        raise RefusedError(f"{shown_name(path)}: has another hard link, so it may not be written")
    if not found.st_mode & 0o222:
        raise WorkspaceError(f"{shown_name(path)}: is read-only")
    return found.st_mode & 0o777


def _new_mode(mode: int | None, executable: bool | None) -> tuple[int, bool]:
    """The permissions to give, and whether they hold as they are: a new file's are masked as usual."""
    if mode is None:
        return (0o777 if executable else 0o666), False
    if executable is None:
        return mode, True
    return (mode | (mode & 0o444) >> 2 if executable else mode & ~0o111), True


def _replace(folder: int, name: str, data: bytes, mode: tuple[int, bool]) -> None:
    permissions, exact = mode
    for number in itertools.count():
        draft = f".meshclaw-{os.getpid()}-{number}.tmp"
        try:
            descriptor = os.open(draft, _CREATE_FLAGS, permissions, dir_fd=folder)
            break
        except FileExistsError:
            continue
    try:
        with os.fdopen(descriptor, "wb") as file:
            if exact:
                os.fchmod(descriptor, permissions)
            file.write(data)
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft, dir_fd=folder)
        raise
