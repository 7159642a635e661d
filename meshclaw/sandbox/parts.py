"""The parts of a project that a command may write, and what in them is kept from it."""

from __future__ import annotations

import os
import stat as st
from collections.abc import Callable, Sequence
from dataclasses import field
from pathlib import Path

from meshclaw.frozen import dataclass
from meshclaw.sandbox.base import SandboxError
from meshclaw.sandbox.names import grouped
from meshclaw.sandbox.planted import itself, put_aside
from meshclaw.sandbox.shadow import WriteRules
from meshclaw.sandbox.tree import Found, Identity, Tree
from meshclaw.workspace.beneath import FOLDER_FLAGS, make_folder, open_folder


@dataclass(slots=True)
class Trees:
    """What a run remembers of its project from command to command.

    `own` are sockets and FIFOs that its commands made: nobody outside listens there.
    """

    written: Tree = field(default_factory=Tree)
    read: Tree = field(default_factory=lambda: Tree(links=False))
    own: set[Identity] = field(default_factory=set)


class Parts:
    """For one command in the project `root`, which it sees at `at`.

    Sources of mounts are opened here and handed over as descriptors (`handed`) where bubblewrap takes them
    (`by_descriptor`): a path could be made to lead elsewhere before it looks. Else the command is alone.
    `covered` is what is masked by its path, and so has to stay there.
    """

    def __init__(
        self,
        root: Path,
        at: Path,
        rules: WriteRules,
        trees: Trees,
        *,
        by_descriptor: Callable[[], bool],
        covered: Sequence[Path] = (),
    ) -> None:
        self._root = root
        self._at = at
        self._rules = rules
        self._trees = trees
        self._by_descriptor = by_descriptor
        self._opened = rules.opened()
        self._folders = [root / name for name in self._opened]
        self._deep = [name for name in self._opened if "/" in name]
        self._files = [name for name in rules.files if "/" in name and not rules.covers(name)]
        self._covered = [path for path in covered if self._is_open(path) and os.path.exists(path)]
        self.handed: list[int] = []

    @property
    def writes(self) -> bool:
        """Whether anything but single files at the top may be written."""
        return bool(self._folders or self._files)

    def look(self) -> tuple[Found, bool]:
        """What lies in the writable folders, and whether it takes a command that is alone to hold it.

        Makes the folders that globs name and that are not there. Raises SandboxError and OSError.
        """
        project = itself(self._root)
        for name in self._opened:
            self._made(name)
        found = self._trees.written.look(self._folders)
        if not project:
            # Even if the folders that were just made have made it one.
            found.repositories.pop(self._root, None)
        found.repositories |= project
        mounts = (
            self._kept(found),
            self._linked(found),
            self._masked(found),
            self._protected(),
            self._covered,
        )
        return found, any(mounts) or (bool(self._deep or self._files) and not self._by_descriptor())

    def arguments(self, found: Found, nothing: Path, hidden: Sequence[str]) -> list[str]:
        """Bubblewrap's mounts for what was found; `nothing` is an empty file, and the project's own content
        is not shown at `hidden` names."""
        mounts: dict[Path, list[str]] = {}
        for name in (*self._deep, *self._files):
            if source := self._writable(name):
                mounts[self._root / name] = source
        for name in self._protected():
            self._made(name)
        linked = self._linked(found)
        in_place = [*self._kept(found), *(self._root / name for name in self._protected())]
        for path in (*in_place, *linked):
            mounts[path] = ["--ro-bind", str(_as_found(path))]
        for path in (*in_place, *self._covered):
            # The folders above are mounted too: else they could be renamed, and others put in their place.
            for above in self._between(path):
                mounts.setdefault(above, ["--bind", str(_as_found(above))])
        skip = [*self._folders, self._root / ".git", *(self._root / name for name in hidden)]
        skip += [self._root / "node_modules"]
        for path in (*self._masked(found), *self._trees.read.nearest(self._root, skip)):
            mounts[path] = ["--ro-bind", str(nothing)]
        arguments = []
        # What is above is mounted first.
        for path in sorted(mounts, key=lambda one: one.parts):
            inside = path.relative_to(self._root)
            if not any(inside.is_relative_to(name) for name in hidden):
                arguments += [*mounts[path], str(self._at / inside)]
        return arguments

    def put_aside(self, found: Found, *, remove: bool) -> list[str]:
        """Undoes repositories that the command made; their names."""
        now, moved = put_aside(self._root, self._folders, self._trees.written, found, remove=remove)
        self._trees.own |= {*now.special.values()} - {*found.special.values()}
        return moved

    def close(self) -> None:
        while self.handed:
            os.close(self.handed.pop())

    def _kept(self, found: Found) -> list[Path]:
        """Repositories, and folders that are locked: read-only, and where they are.

        Not a link: it cannot be mounted on, and where it leads is another place. Nor a folder that a glob
        names as it is.
        """
        kept = [path for path in (*found.repositories, *found.locked) if path not in self._folders]
        return [path for path in kept if self._is_open(path) and not path.is_symlink()]

    def _linked(self, found: Found) -> list[Path]:
        """What is read-only for its other names elsewhere. What lies at the top is looked at there."""
        linked = [path for path in grouped(self._folders, found.linked) if self._is_open(path)]
        return [path for path in linked if path.parent != self._root or path.is_dir()]

    def _masked(self, found: Found) -> list[Path]:
        """Sockets and FIFOs that somebody outside may serve."""
        return [
            path
            for path, one in found.special.items()
            if one not in self._trees.own and path.parent != self._root and self._is_open(path)
        ]

    def _protected(self) -> list[str]:
        return [name for folder in self._opened for name in self._rules.kept_in(folder)]

    def _is_open(self, path: Path) -> bool:
        """Whether it lies where something may be written: of the project as a whole not all is open."""
        above = [one for one in self._folders if one != path and path.is_relative_to(one)]
        if above == [self._root]:
            return self._rules.folder(path.relative_to(self._root).parts[0])
        return bool(above)

    def _above(self, path: Path) -> Path:
        """The folder that may be written and that holds a path."""
        above = (one for one in self._folders if path.is_relative_to(one))
        return max(above, key=lambda one: len(one.parts))

    def _between(self, path: Path) -> list[Path]:
        """The folders above a path that could be renamed."""
        top = self._above(path)
        if top == self._root:
            top = top / path.relative_to(top).parts[0]
        return [one for one in path.parents if one != top and one.is_relative_to(top)]

    def _made(self, name: str) -> None:
        path = self._root / name
        if os.path.realpath(path) == str(path) and path.exists():
            return
        top = os.open(self._root, FOLDER_FLAGS)
        try:
            os.close(make_folder(top, path.relative_to(self._root).parts))
        except OSError as error:
            text = f"{name} leads elsewhere through a symlink, so commands cannot be contained"
            if os.path.realpath(path) == str(path):
                text = f"{name} cannot be made, which commands may write: {error}"
            raise SandboxError(text) from error
        finally:
            os.close(top)

    def _writable(self, name: str) -> list[str]:
        """A writable mount's kind and source; empty for a file that is not there or has other names."""
        path = self._root / name
        top = os.open(self._root, FOLDER_FLAGS)
        try:
            above = open_folder(top, path.relative_to(self._root).parts[:-1])
        except OSError:
            return []
        finally:
            os.close(top)
        try:
            source = os.open(path.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
        except OSError:
            return []
        finally:
            os.close(above)
        self.handed.append(source)
        found = os.fstat(source)
        if not (st.S_ISDIR(found.st_mode) or (st.S_ISREG(found.st_mode) and found.st_nlink == 1)):
            return []
        return ["--bind-fd", str(source)] if self._by_descriptor() else ["--bind", str(_as_found(path))]


def _as_found(path: Path) -> Path:
    """Raises SandboxError where a path leads through a link by now."""
    if os.path.realpath(path) != str(path):
        raise SandboxError(f"{path} has been moved while a command was prepared")
    return path
