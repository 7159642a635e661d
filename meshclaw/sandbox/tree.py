"""What lies in a project's folders that commands must be kept from, found anew for each command.

A command may rename and link as it likes where it may write, so what was found before the last one proves
nothing. A folder is read again only when its change time says so; what is remembered goes by inode.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat as st
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import field
from pathlib import Path

from meshclaw.frozen import dataclass
from meshclaw.sandbox.base import SandboxError
from meshclaw.workspace.repositories import is_repository

MOST_FOLDERS = 100_000
"""Beneath what may be written; with more, no command runs, since nobody can say what is in there."""
MOST_SECONDS = 30.0
"""The longest that one look may take, likewise."""
MOST_READ = 500
"""Folders that are only read, nearest first, in which sockets and FIFOs are found."""

Identity = tuple[int, int, int]
"""Device, inode and kind: what a rename does not change. Free inodes are used again, for any kind."""

_HINT = "name narrower folders in allow.write, or run with --no-sandbox"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SHOWN = 200
"""Characters of a path in a message."""
_COARSE = 2 * 10**9
"""Nanoseconds in which a folder can change twice and show one time, with room for a server's clock."""
_RECENT = 10**8
"""The same of a file system of this machine, whose times are those of the last tick."""


@dataclass(slots=True)
class Found:
    """`repositories` are every `.git`, of whatever kind, and folders that are one without that name;
    `linked` are files that have another name elsewhere, `special` sockets and FIFOs, `locked` folders of
    ours that may not be looked into. `settled`: nothing was moved while this was looked for."""

    repositories: dict[Path, Identity] = field(default_factory=dict)
    linked: list[Path] = field(default_factory=list)
    special: dict[Path, Identity] = field(default_factory=dict)
    locked: dict[Path, Identity] = field(default_factory=dict)
    settled: bool = True


@dataclass(frozen=True, slots=True)
class _Folder:
    changed: int
    stable: bool
    inner: tuple[str, ...]
    git: tuple[tuple[str, Identity], ...]
    linked: tuple[tuple[str, Identity, int], ...]
    special: tuple[tuple[str, Identity], ...]
    bare: bool
    odd: bool
    """Whether it holds anything but folders and plain files."""


class Tree:
    """One for a run. `links`: also look for files with other names, which takes a look at each file."""

    def __init__(self, *, links: bool = True) -> None:
        self._links = links
        self._known: dict[Identity, _Folder] = {}
        self._shared: frozenset[Identity] = frozenset()

    def look(self, folders: Sequence[Path]) -> Found:
        """At all that is beneath `folders`, but within repositories. Follows no link.

        Raises SandboxError when there is too much to see it all.
        """
        found, shared = self._look(folders)
        if shared != self._shared:
            # A file's names are counted where it is named, and a new name elsewhere does not show here.
            self._known.clear()
            found, shared = self._look(folders)
            self._shared = shared
        return found

    def nearest(self, folder: Path, skip: Iterable[Path]) -> dict[Path, Identity]:
        """Sockets and FIFOs beneath `folder`, in the MOST_READ folders that are nearest."""
        skipped, waiting = set(map(str, skip)), deque([str(folder)])
        special: dict[Path, Identity] = {}
        for _ in range(MOST_READ):
            if not waiting:
                break
            path = waiting.popleft()
            seen = None
            with contextlib.suppress(SandboxError):
                seen = self._folder(path, Found(), time.time_ns())
            if seen is not None:
                special.update((Path(path, name), identity) for name, identity in seen[1].special)
                waiting += [inner for name in seen[1].inner if (inner := f"{path}/{name}") not in skipped]
        return special

    def _look(self, folders: Sequence[Path]) -> tuple[Found, frozenset[Identity]]:
        started = time.time_ns()
        end = time.monotonic() + MOST_SECONDS
        found = Found()
        names: defaultdict[Identity, set[Path]] = defaultdict(set)
        links: dict[Identity, int] = {}
        seen: set[Identity] = set()
        tops = set(map(str, folders))
        # Text, not Path: most of the time goes here.
        waiting = list(tops)
        while waiting:
            path = waiting.pop()
            if len(seen) >= MOST_FOLDERS or time.monotonic() > end:
                shown = ", ".join(sorted(tops))
                raise SandboxError(f"there are too many folders to look through in {shown}", hint=_HINT)
            looked = self._folder(path, found, started)
            if looked is None or looked[0] in seen:
                continue
            identity, inside = looked
            seen.add(identity)
            if inside.odd:
                here = Path(path)
                found.repositories.update((here / name, one) for name, one in inside.git)
                found.special.update((here / name, one) for name, one in inside.special)
                if inside.bare:
                    found.repositories[here] = identity
                    if path not in tops:
                        continue
                for name, one, most in inside.linked:
                    names[one].add(here / name)
                    links[one] = most
            waiting += [f"{path}/{name}" for name in inside.inner]
        elsewhere = {one for one, paths in names.items() if len(paths) < links[one]}
        found.linked = sorted(path for one in elsewhere for path in names[one])
        return found, frozenset(elsewhere)

    def _folder(self, path: str, found: Found, started: int) -> tuple[Identity, _Folder] | None:
        """What is in one folder, from memory where it has not changed."""
        try:
            now = os.lstat(path)
            if not st.S_ISDIR(now.st_mode):
                return None
            identity = identity_of(now)
            known = self._known.get(identity)
            if known is None or not known.stable or known.changed != now.st_ctime_ns:
                identity, known = self._opened(path)
        except PermissionError:
            # Who owns it can open it again; for others' it stays closed.
            if now.st_uid == os.geteuid():
                found.locked[Path(path)] = identity
            return None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            text = f"a folder cannot be looked into ({error.strerror}): {path[:_SHOWN]}"
            raise SandboxError(text, hint="remove it, or name other folders in allow.write") from error
        found.settled = found.settled and known.changed < started - _RECENT
        return identity, known

    def _opened(self, path: str) -> tuple[Identity, _Folder]:
        descriptor = os.open(path, _FOLDER)
        try:
            # Fails where the names can be listed, but what they stand for cannot be seen.
            now = os.stat(".", dir_fd=descriptor)
            identity = identity_of(now)
            known = self._known[identity] = self._read(descriptor, now.st_ctime_ns)
        finally:
            os.close(descriptor)
        return identity, known

    def _read(self, descriptor: int, changed: int) -> _Folder:
        inner, git, linked, special = [], [], [], []
        names = set()
        began = time.time_ns()
        with os.scandir(descriptor) as entries:
            for entry in entries:
                name = entry.name
                names.add(name)
                try:
                    if name.lower() == ".git":
                        git.append((name, identity_of(entry.stat(follow_symlinks=False))))
                    elif entry.is_dir(follow_symlinks=False):
                        inner.append(name)
                    elif entry.is_file(follow_symlinks=False):
                        if self._links and (now := entry.stat(follow_symlinks=False)).st_nlink > 1:
                            linked.append((name, identity_of(now), now.st_nlink))
                    elif not entry.is_symlink():
                        special.append((name, identity_of(entry.stat(follow_symlinks=False))))
                except FileNotFoundError:
                    continue  # Somebody has removed it just now.
        bare = is_repository(names) and "HEAD" not in inner
        return _Folder(
            changed,
            changed < began - _COARSE,
            tuple(inner),
            tuple(git),
            tuple(linked),
            tuple(special),
            bare,
            bool(git or linked or special or bare),
        )


def identity_of(now: os.stat_result) -> Identity:
    return now.st_dev, now.st_ino, st.S_IFMT(now.st_mode)
