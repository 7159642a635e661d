"""How the project looks to a contained command: what is read-only, writable, private or absent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from meshclaw.sandbox.base import Confinement
from meshclaw.sandbox.git_secrets import known
from meshclaw.sandbox.parts import Parts, Trees
from meshclaw.sandbox.private import remove_folder
from meshclaw.sandbox.repository import GIT_FOLDERS, common_folder, is_git_file
from meshclaw.sandbox.shadow import Shadow, WriteRules
from meshclaw.sandbox.tree import Found

CACHES = (
    ".gradle",
    ".mypy_cache",
    ".next",
    ".nox",
    ".nyc_output",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".turbo",
    "__pycache__",
    "node_modules/.cache",
    "node_modules/.vite",
    "target",
)
"""Caches and build outputs: private and writable for one run, whatever the project holds there."""
OUTPUTS = ("build", "coverage", "dist", "htmlcov", "out")
"""The same, but only where the project has nothing of that name."""


class ProjectView:
    """One command's view of the project `root`; `private` is the run's private folder.

    `scratch` are further names of private writable folders; `trees` is what the run remembers of the
    project. A copy is shown at the path of the original that the confinement names, with what is shared
    from there, and its repository is its own to write. `handed` are descriptors for bubblewrap to inherit.
    """

    def __init__(
        self,
        root: Path,
        private: Path,
        confinement: Confinement,
        scratch: Sequence[str],
        number: int,
        trees: Trees,
        *,
        by_descriptor: Callable[[], bool],
        covered: Sequence[Path] = (),
    ) -> None:
        self.root = root
        self._at = confinement.shown(root)
        self._confinement = confinement
        self._private = private
        self._rules = WriteRules(confinement.write, confinement.protected)
        self._scratch = scratch
        self._top = Shadow(root, private / f"top-{number}", self._rules.top, self._at)
        self._git = Shadow(
            root / ".git", private / f"git-{number}", is_git_file, self._at / ".git", git=True
        )
        self._shadows: list[Shadow] = []
        self._found: Found | None = None
        # As what it shows at, in a workspace that stands for another.
        masked = [root / path.relative_to(self._at) for path in covered if path.is_relative_to(self._at)]
        self.parts = Parts(root, self._at, self._rules, trees, by_descriptor=by_descriptor, covered=masked)
        self.handed = self.parts.handed

    def arguments(self, found: Found) -> list[str]:
        """What bubblewrap is told, after what `parts` has found. Raises SandboxError or OSError; changes
        only the private folder, but for empty folders that globs and protected paths name."""
        self._found = found
        scratch = self._scratch_names()
        skip = {".git", *(name for name in (*scratch, *self._confinement.shared) if "/" not in name)}
        self._shadows.append(self._top)
        self._top.fill(skip, self._rules.folder)
        arguments = ["--bind", str(self._top.folder), str(self._at)]
        arguments += self._repository()
        inside = self._share()
        for name in scratch:
            self._top.bind(name, self._scratch_folder(name), write=True)
        hidden = [*scratch, *self._confinement.shared]
        arguments += [*self._top.binds, *self.parts.arguments(found, self._private / "nothing", hidden)]
        arguments += [*inside, *self._without_credentials(scratch)]
        if not self._rules.root:
            arguments += ["--remount-ro", str(self._at)]
        return arguments

    def close(self) -> tuple[str, ...]:
        """Brings back what may stay; what could not is returned, by name. Raises SandboxError when a
        repository that the command has made could not be put aside."""
        self.parts.close()
        lost: list[str] = []
        for shadow in self._shadows:
            prefix = "" if shadow is self._top else ".git/"
            with contextlib.suppress(FileNotFoundError):
                lost += [prefix + name for name in shadow.bring_back()]
            remove_folder(shadow.folder)
        if self._found is not None:
            lost += self.parts.put_aside(self._found, remove=self._confinement.appears_at is not None)
        return tuple(lost)

    def _share(self) -> list[str]:
        """Shows what is shared at the top; returns how to show the rest, further down.

        What the project itself has as a link is not followed: it leads where it leads.
        """
        arguments = []
        for original in self._confinement.originals():
            name = str(original.relative_to(self._at))
            if "/" not in name:
                self._top.bind(name, original)
            elif self._can_mount(self.root / name, original):
                arguments += ["--ro-bind", str(original), str(original)]
        for name in self._confinement.shared:
            if "/" not in name and (self._at / name).is_symlink():
                self._top.link(name, str((self._at / name).readlink()))
        return arguments

    def _can_mount(self, path: Path, original: Path) -> bool:
        """Makes an empty place to mount on, where the copy has its link to the original or nothing."""
        if os.path.realpath(path.parent) != str(path.parent) or not path.parent.is_dir():
            return False
        if path.is_symlink():
            path.unlink()
        if original.is_dir():
            path.mkdir(exist_ok=True)
            return True
        path.touch()
        return path.is_file()

    def _scratch_names(self) -> list[str]:
        names = [name for name in (*CACHES, *self._scratch) if not self._rules.folder(name.split("/")[0])]
        names += [name for name in OUTPUTS if not os.path.lexists(self.root / name)]
        if self._rules.root:
            # What may be made at the top is to be kept.
            names = [name for name in names if not self._rules.top(name, True)]
        return [name for name in dict.fromkeys(names) if "/" not in name or self._can_hold(name)]

    def _can_hold(self, name: str) -> bool:
        """A scratch folder further down is mounted on a folder that is there."""
        root = self._at if name.split("/")[0] in self._confinement.shared else self.root
        path = root / name
        return path.is_dir() and os.path.realpath(path) == str(path)

    def _scratch_folder(self, name: str) -> Path:
        folder = self._private / "scratch" / name.replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _repository(self) -> list[str]:
        git = self.root / ".git"
        if git.is_symlink() or not git.exists():
            return []
        if self._confinement.own_repository(self.root):
            self._top.bind(".git", write=True)
            return []
        if git.is_file():
            self._top.bind(".git")
            common = common_folder(git)
            if common is None:
                return []
            covers = known(self._private, self.root, common)
            return [text for one in ((common, common), *covers) for text in _read_only(*one)]
        if not self._rules.git:
            self._top.bind(".git")
            return []
        (git / "logs").mkdir(exist_ok=True)
        self._shadows.append(self._git)
        self._git.fill((), GIT_FOLDERS.__contains__)
        if _is_real(borrowed := git / "objects" / "info"):
            # Names other folders of objects, which a copy of the project would then be shown.
            borrowed.mkdir(parents=True, exist_ok=True)
            self._git.bind("objects/info")
        self._top.bind(".git", self._git.folder, write=True)
        self._top.binds += self._git.binds
        return []

    def _without_credentials(self, scratch: Sequence[str]) -> Iterator[str]:
        """Covers git's files that hold some: those of the project's, and of what is shared with it."""
        absent = [*self._confinement.own_repository(self.root), *(self.root / name for name in scratch)]
        for path, copy in known(self._private, self.root, None):
            if path.exists() and not any(path.is_relative_to(one) for one in absent):
                yield from ("--ro-bind", str(copy), str(self._at / path.relative_to(self.root)))
        for original in self._confinement.originals():
            for path, copy in known(self._private, original, None):
                yield from ("--ro-bind", str(copy), str(path))


def _read_only(place: Path, source: Path) -> tuple[str, ...]:
    return ("--ro-bind", str(source), str(place))


def _is_real(path: Path) -> bool:
    return os.path.realpath(path) == str(path)
