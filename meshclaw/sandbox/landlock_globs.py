"""What a task's globs open to commands under Landlock, which opens files and folders only as a whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from meshclaw.sandbox.base import Command, Confinement, SandboxError
from meshclaw.sandbox.planted import itself, put_aside
from meshclaw.sandbox.shadow import WriteRules
from meshclaw.sandbox.tree import Found, Tree

HINT = "install bubblewrap (on Debian: apt-get install bubblewrap), or name folders such as reports/**"


def refusal(confinement: Confinement) -> str:
    """Why no command can be held like that, as far as its globs and hosts show; else empty."""
    rules = WriteRules(confinement.write, confinement.protected)
    if confinement.network:
        return "Landlock cannot open single hosts to a command"
    if ("" in rules.folders and not is_ours(confinement)) or rules.git:
        return "Landlock cannot keep a part of a folder that may be written as a whole"
    for name in rules.folders:
        if any(_guards(one, name, rules.folders) for one in confinement.protected):
            return f"Landlock cannot keep a part of {name} from being written"
    return ""


class Grant:
    """What one command may write, found without `masked`. What is not there yet is made, for its time."""

    def __init__(self, command: Command, masked: list[Path], tree: Tree) -> None:
        self.project = Path(os.path.realpath(command.project))
        self.masked = masked
        self.folders: list[Path] = []
        self._confinement = command.confinement
        self._rules = WriteRules(command.confinement.write, command.confinement.protected)
        self._tree = tree
        self._found: Found | None = None
        self._made: list[Path] = []

    def look(self) -> tuple[Found, bool]:
        """What the folders hold, and whether to be alone. Raises SandboxError for one that would have to be
        kept in part."""
        project = itself(self.project)
        self.open()
        found = self._tree.look(self.folders)
        _require_whole(found, self.project)
        found.repositories |= project
        self._found = found
        # What is opened by its path must not be moved before: by commands that may write above it.
        return found, any("/" in name for name in (*self._rules.opened(), *self._rules.files))

    def open(self) -> None:
        """The folders that the globs name as a whole. Raises SandboxError as `look` does."""
        self.folders = []
        for name in self._rules.opened():
            path = self.project / name
            if os.path.realpath(path) != str(path):
                text = f"{name} leads elsewhere through a symlink, so commands cannot be contained"
                raise SandboxError(text)
            if any(one.is_relative_to(path) or path.is_relative_to(one) for one in self.masked):
                raise SandboxError(f"Landlock cannot keep a part of {name} from being written", hint=HINT)
            _make_folder(path, self._made)
            self.folders.append(path)

    def files(self) -> Iterator[Path]:
        """The single files that the globs name. Raises SandboxError for one that is not for commands."""
        for name in self._rules.files:
            path = self.project / name
            if name.endswith("/") or ".git" in path.parts or os.path.realpath(path) != str(path):
                continue
            if any(path.is_relative_to(one) for one in self.masked):
                raise SandboxError(f"{name} is not for commands, so it cannot be written", hint=HINT)
            if self._rules.covers(name):
                continue
            if not path.exists() and path.parent.is_dir():
                path.touch(exist_ok=False)
                self._made.append(path)
            if path.is_file() and path.stat().st_nlink == 1:
                yield path

    def close(self) -> tuple[str, ...]:
        """Removes what stayed empty, and puts aside the repositories that the command made, by name."""
        _remove_unused(self._made)
        moved: list[str] = []
        if self._found is not None:
            remove = self._confinement.appears_at is not None
            moved = put_aside(self.project, self.folders, self._tree, self._found, remove=remove)[1]
        return tuple(moved)


def _require_whole(found: Found, project: Path) -> None:
    """Raises SandboxError when something in the folders that may be written is to be kept from it."""
    for path in found.repositories:
        where = path.relative_to(project).parent
        raise SandboxError(f"Landlock cannot keep the repository in {where} from being written", hint=HINT)
    for path in found.linked:
        shown = path.relative_to(project)
        text = f"Landlock cannot keep {shown} from being written, which has another name elsewhere"
        raise SandboxError(text, hint=HINT)
    for path in found.locked:
        raise SandboxError(f"{path.relative_to(project)} cannot be looked into, so it may hold anything")


def is_ours(confinement: Confinement) -> bool:
    """Whether the workspace stands for another, and nothing in it is kept: a copy that is thrown away."""
    return confinement.appears_at is not None and not confinement.protected


def _guards(protected: str, folder: str, folders: Iterable[str]) -> bool:
    """Whether something in a writable folder is protected and not named by a glob itself."""
    return protected.startswith(f"{folder}/") and protected not in folders


def _make_folder(path: Path, made: list[Path]) -> None:
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir()
        made.append(one)


def _remove_unused(made: list[Path]) -> None:
    """Files that are still as empty as they were made, and empty folders."""
    for path in reversed(made):
        with contextlib.suppress(OSError):
            if path.is_dir():
                path.rmdir()
            elif path.stat().st_size == 0:
                path.unlink()
