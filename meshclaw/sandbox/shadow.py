"""The project inside the sandbox: a private folder in which every top-level entry is bound by itself.

So nothing is ever created in the user's folder as a place to mount on, and a name that may not be written
cannot appear there: what a command puts at the top lands in the private folder, and only what the globs
allow is brought back. Folders that a glob allows as a whole (`src/**`) are bound writable; finer globs
(`src/*.py`) are for the file tools, and read-only to commands.
"""

from __future__ import annotations

import os
import shutil
import stat as st
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from pathlib import Path

from meshclaw.frozen import dataclass
from meshclaw.policies import matches_glob
from meshclaw.sandbox.base import SandboxError
from meshclaw.sandbox.private import remove_folder
from meshclaw.workspace.repositories import is_repository, names_in

MAX_ENTRIES = 2_000
"""Entries of one shadowed folder; each is a mount."""
MAX_COPY = 16 * 2**20
"""Bytes of a writable top-level file that is copied; a longer one is bound, and cannot be renamed over."""


@dataclass(slots=True)
class Shadow:
    """One folder `root` and the private `folder` that stands for it, inside at the path `at`.

    `allows(name, is_folder)` says which top-level names may be made, changed and removed. What would make
    `root` a repository may not, unless it is the inside of one (`git`).
    """

    root: Path
    folder: Path
    allows: Callable[[str, bool], bool]
    at: Path
    git: bool = False
    binds: list[str] = field(default_factory=list)
    _bound: set[str] = field(default_factory=set)
    _copied: dict[str, os.stat_result] = field(default_factory=dict)
    _linked: dict[str, str] = field(default_factory=dict)
    _left: list[str] = field(default_factory=list)

    def fill(self, skip: Iterable[str] = (), writable: Callable[[str], bool] = lambda name: False) -> None:
        """Decides for every entry of `root`. Raises SandboxError when there are too many."""
        self.folder.mkdir(mode=0o700)
        skipped = set(skip)
        with os.scandir(self.root) as entries:
            for count, entry in enumerate(sorted(entries, key=lambda entry: entry.name)):
                if count >= MAX_ENTRIES:
                    hint = "move files into folders, or run with --no-sandbox"
                    raise SandboxError(f"more than {MAX_ENTRIES} entries in {self.root}", hint=hint)
                if entry.name not in skipped:
                    self._add(entry, writable)

    def _add(self, entry: os.DirEntry[str], writable: Callable[[str], bool]) -> None:
        if entry.is_symlink():
            self._linked[entry.name] = os.readlink(entry.path)  # noqa: PTH115
            os.symlink(self._linked[entry.name], self.folder / entry.name)  # noqa: PTH211
        elif entry.is_dir(follow_symlinks=False):
            self.bind(entry.name, write=writable(entry.name))
        elif entry.is_file(follow_symlinks=False):
            found = entry.stat(follow_symlinks=False)
            if not self.allows(entry.name, False) or found.st_nlink > 1:
                self.bind(entry.name)
            elif found.st_size > MAX_COPY:
                self.bind(entry.name, write=True)
            else:
                _copy(Path(entry.path), self.folder / entry.name)
                self._copied[entry.name] = found

    def bind(self, name: str, source: Path | None = None, *, write: bool = False) -> None:
        """Binds an entry, or something else in its place."""
        kind = "--bind" if write else "--ro-bind"
        self.binds += [kind, str(source or self.root / name), str(self.at / name)]
        self._bound.add(name.split("/")[0])

    def link(self, name: str, target: str) -> None:
        """Puts a link there that is not `root`'s."""
        os.symlink(target, self.folder / name)  # noqa: PTH211
        self._bound.add(name)

    def bring_back(self) -> list[str]:
        """Puts what may stay into `root`. Returns what may not, by name."""
        there = set(os.listdir(self.folder))  # noqa: PTH208
        new = sorted(there - self._bound)
        new = [name for name in new if not self._unchanged(name)]
        refused = self._repository_files() & {*new}
        lost = [name for name in new if name in refused or not self._bring(name)]
        for name, before in self._copied.items():
            if name not in there and _same(self.root / name, before):
                (self.root / name).unlink()
        for name, target in self._linked.items():
            path = self.root / name
            gone = name not in there and self.allows(name, False) and path.is_symlink()
            if gone and str(path.readlink()) == target:
                path.unlink()
        return lost + self._left

    def _repository_files(self) -> set[str]:
        """What may not be made or changed, since git takes `root` for a repository, or would with it."""
        makes = not self.git and is_repository(names_in(self.root) | names_in(self.folder))
        return {"HEAD", "commondir", "config", "config.worktree"} if makes else set()

    def _unchanged(self, name: str) -> bool:
        path = self.folder / name
        if name in self._linked:
            return path.is_symlink() and str(path.readlink()) == self._linked[name]
        before = self._copied.get(name)
        return before is not None and _same(path, before)

    def _bring(self, name: str) -> bool:
        source, target = self.folder / name, self.root / name
        mode = source.lstat().st_mode
        if not (st.S_ISREG(mode) or st.S_ISDIR(mode)) or not self.allows(name, st.S_ISDIR(mode)):
            return False
        before = self._copied.get(name)
        # Somebody else's change in the meantime is not overwritten.
        free = not os.path.lexists(target) if before is None else _same(target, before)
        if not free:
            return False
        draft = self.root / f".meshclaw-{self.folder.name}.tmp"
        try:
            if st.S_ISDIR(mode):
                shutil.copytree(source, draft, symlinks=True, ignore=self._without, copy_function=_copied)
            else:
                _copy(source, draft)
            draft.rename(target)
        except (OSError, RecursionError):
            if draft.is_dir():
                remove_folder(draft)
            draft.unlink(missing_ok=True)
            return False
        return True

    def _without(self, folder: str, names: list[str]) -> list[str]:
        """What of a folder stays behind: FIFOs, sockets and devices, and what makes it a repository."""
        git = _repository_parts(Path(folder), names)
        self._left += [str(Path(folder, name).relative_to(self.folder)) for name in git]
        return [*git, *(name for name in names if _is_odd(Path(folder, name)))]


def _copy(source: Path, target: Path) -> None:
    """Content, permissions and times of a regular file; follows no link, keeps no setuid bit."""
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(reading, "rb") as file:
        found = os.fstat(reading)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(target, flags, 0o600), "wb") as copy:
            shutil.copyfileobj(file, copy)
            os.fchmod(copy.fileno(), found.st_mode & 0o777)
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def _copied(source: str, target: str) -> None:
    if Path(source).is_symlink():
        shutil.copy2(source, target, follow_symlinks=False)
    else:
        _copy(Path(source), Path(target))


def _same(path: Path, before: os.stat_result) -> bool:
    try:
        now = path.lstat()
    except FileNotFoundError:
        return False
    keys = ("st_size", "st_mtime_ns")
    same_mode = st.S_ISREG(now.st_mode) and now.st_mode & 0o777 == before.st_mode & 0o777
    return same_mode and all(getattr(now, key) == getattr(before, key) for key in keys)


def _repository_parts(folder: Path, names: Sequence[str]) -> list[str]:
    """Of a folder's entries those that make it a git repository."""
    parts = {".git", "head"} if is_repository(names_in(folder)) else {".git"}
    return sorted(name for name in names if name.lower() in parts)


def _is_odd(path: Path) -> bool:
    mode = path.lstat().st_mode
    return not (st.S_ISREG(mode) or st.S_ISDIR(mode) or st.S_ISLNK(mode))


class WriteRules:
    """What the globs of `allow.write` mean for commands."""

    def __init__(self, globs: Iterable[str], protected: Sequence[str]) -> None:
        self._protected = protected
        self._globs = [glob.removeprefix("./") for glob in globs]
        whole = [glob + "**" if glob.endswith("/") else glob for glob in self._globs]
        folders = [glob.removesuffix("**").rstrip("/") for glob in whole if glob.endswith("**")]
        self.folders = sorted(
            folder
            for folder in folders
            if not any(character in folder for character in "*?[") and ".git" not in folder.split("/")
        )
        """Folders that may be written as a whole; the empty text is the project."""
        self.git = any(glob.split("/")[0] == ".git" for glob in self._globs)
        self.files = [glob for glob in self._globs if not any(character in glob for character in "*?[")]
        self.root = any(glob.split("/")[0] == "**" or "/" not in glob for glob in self._globs)
        """Whether any name at the top may be written."""

    def folder(self, name: str) -> bool:
        """Whether a top-level folder is writable with all that is in it."""
        return name in self.folders or ("" in self.folders and not self._guards(name))

    def opened(self) -> list[str]:
        """Of `folders` those to open: not what is open anyway, since it lies beneath another."""
        return [folder for folder in self.folders if not self.covers(folder)]

    def covers(self, path: str) -> bool:
        """Whether a path lies in another folder that may be written, with nothing that is kept between."""
        for folder in self.folders:
            beneath = (
                path.startswith(f"{folder}/") if folder else path and not self._guards(path.split("/")[0])
            )
            if beneath and not any(f"{path}/".startswith(f"{one}/") for one in self.kept_in(folder)):
                return True
        return False

    def kept_in(self, folder: str) -> list[str]:
        """Protected paths further down in a writable folder, unless a glob names them."""
        above = f"{folder}/" if folder else ""
        deep = [one for one in self._protected if "/" in one and one.startswith(above)]
        return [one for one in deep if one not in self.folders]

    def _guards(self, name: str) -> bool:
        folded = name.lower()
        return folded == ".git" or any(folded == one.lower() for one in self._protected)

    def top(self, name: str, is_folder: bool) -> bool:
        """Whether a top-level name may be made, changed or removed."""
        if is_folder:
            return self.folder(name)
        globs = [glob for glob in self._globs if not self._guards(name) or glob == name]
        return name.lower() != ".git" and any(matches_glob(name, glob) for glob in globs)
