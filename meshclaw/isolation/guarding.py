"""Keeps checks honest: what they are made of is put back as it was before the start."""

from __future__ import annotations

import contextlib
import posixpath
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from meshclaw.errors import WorkError
from meshclaw.frozen import dataclass
from meshclaw.isolation.guarded_names import CONFIGURATION, FORGEABLE, RUNNER_MODULES, TESTS
from meshclaw.isolation.ignoring import literal_folders
from meshclaw.isolation.names import is_beneath
from meshclaw.isolation.repository import FILE, LINK, PROGRAM, SUBMODULE, Blob
from meshclaw.isolation.scripts import named_files
from meshclaw.isolation.store import Store
from meshclaw.isolation.trees import Folders, remove_tree
from meshclaw.policies import matches_glob
from meshclaw.sandbox.base import Confinement

_MODULE = re.compile(r"(.+?)(/__init__)?(?:\.[\w-]+)?\.(?:py|pyc|so|pyd)")
"""A file that Python imports: its path as a module's, without what says that it is a package."""


@dataclass(frozen=True, slots=True)
class CheckTree:
    """What checks look at: `path` is the project in it. `confine` is for commands that run in it.
    `left_out` could not be copied.
    """

    path: Path
    confine: Callable[[Confinement], Confinement]
    left_out: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Guard:
    """Which files checks see as they were before the start.

    Where a task states no globs in `protect:` these are TESTS, and, unless `writable` (`allow.write`) names
    that very file, CONFIGURATION, new modules of Python that would take the place of a test or of what runs
    it, and the files that a check's command (one of `scripts`) runs by name. What is `stated` takes the
    place of all that, and new files that it matches go; globs that begin with `!` only take away.
    """

    stated: Sequence[str] | None = None
    scripts: Sequence[str] = ()
    writable: Sequence[str] = ()

    def altered(self, base: Mapping[str, Blob], now: Mapping[str, Blob]) -> tuple[str, ...]:
        """The guarded files that are not as they were. Paths are from the project."""
        changed = [path for path in {**base, **now} if base.get(path) != now.get(path)]
        named = self._named(base)
        return tuple(sorted(path for path in changed if self._guards(path, base, named)))

    def may_be_work(self, path: str) -> bool:
        """Whether a guarded file may be what the task is about, so that checks have to pass with it as it
        is left, too: it is no test, and nobody stated that it is to be seen as it was.
        """
        return self._globs is None and not _matches(path, TESTS)

    def concerns(self, path: str) -> bool:
        """Whether the file matters here as it was or as new; but for those that commands name."""
        globs = (*TESTS, *CONFIGURATION, "*.*", "*/__init__.*") if self._globs is None else self._globs
        return _matches(path, globs)

    def names(self, ignored: str) -> bool:
        """Whether something that git ignores, a folder with `/` at its end, counts all the same.

        It does when stated globs lead there, and what tests leave behind does not otherwise.
        """
        globs = self._globs
        if globs is None:
            return not ignored.endswith("/") and _matches(ignored, CONFIGURATION)
        folder = ignored.rstrip("/")
        return _matches(folder, globs) or any(is_beneath(one, (folder,)) for one in literal_folders(globs))

    @property
    def _globs(self) -> list[str] | None:
        """The stated ones, None where those of our own hold."""
        if self.stated is None:
            return None
        globs = [glob for glob in self.stated if not glob.startswith("!")]
        return globs if globs or not self.stated else None

    def _named(self, base: Collection[str]) -> set[str]:
        if self._globs is not None:
            return set()
        return {path for script in self.scripts for path in named_files(script, base)}

    def _guards(self, path: str, base: Collection[str], named: Collection[str]) -> bool:
        globs = self._globs
        if _matches(path, [glob[1:] for glob in self.stated or () if glob.startswith("!")]):
            return False
        if globs is not None:
            return _matches(path, globs)
        if path in base and _matches(path, TESTS):
            return True
        if path in {glob.removeprefix("./") for glob in self.writable}:
            return False
        if path in base:
            return path in named or _matches(path, CONFIGURATION)
        return _matches(path, CONFIGURATION) or self._hides(path, base, named)

    def _hides(self, path: str, base: Collection[str], named: Collection[str]) -> bool:
        """Whether Python would import this new file in place of what runs tests, or of a test."""
        found = _MODULE.fullmatch(path)
        if found is None:
            return False
        module = found[1]
        if module in sys.stdlib_module_names or module in RUNNER_MODULES:
            return True
        known = [one for one in (f"{module}.py", f"{module}/__init__.py") if one in base]
        return any(one in named or _matches(one, TESTS) for one in known)


def _matches(path: str, globs: Iterable[str]) -> bool:
    # There are many globs and may be many files: most are told apart by what a glob has literally.
    return any(_literal(glob) in path and matches_glob(path, glob) for glob in globs)


@cache
def _literal(glob: str) -> str:
    """Text that every path has which the glob matches."""
    plain = glob.partition("[")[0].removeprefix("./")
    return max(re.split(r"[*?/]", plain), key=len)


def is_forgeable(path: str) -> bool:
    """Whether it lies in a cache that a tool would believe."""
    return not FORGEABLE.isdisjoint(path.split("/"))


def in_the_way(path: str, kept: Collection[str]) -> bool:
    """Whether there can be no such file where the files `kept` are to be as they were."""
    return is_beneath(path, kept) or any(is_beneath(one, (path,)) for one in kept)


def reached(files: Mapping[str, Blob], prefix: str, paths: Collection[str]) -> Mapping[str, Blob]:
    """Those of the files that `paths` from the project, which is at `prefix`, lead to.

    All of them where a link is on the way: it may lead anywhere.
    """
    plain = [posixpath.normpath(path) for path in paths]
    places = [prefix + path for path in plain]
    folders = {place[:at] for place in places for at, one in enumerate(place) if one == "/"}
    on_the_way = (files.get(place) for place in (*places, *folders))
    anywhere = {"", ".", ".."} & {path.partition("/")[0] for path in plain}
    if anywhere or any(blob is not None and blob.mode == LINK for blob in on_the_way):
        return files
    return {path: blob for path, blob in files.items() if is_beneath(path, places)}


def lay(tree: Path, files: Mapping[str, Blob], store: Store, most: int) -> None:
    """Makes the folder `tree` with these files, but for caches that can be forged; submodules are empty.

    Blocks. Raises OSError and WorkError, also when there are more than `most` bytes.
    """
    tree.mkdir()
    with Folders(tree, create=True) as folders, store.reader() as reader:
        for path in sorted(files, key=lambda one: one.split("/")):
            blob = files[path]
            if is_forgeable(path):
                continue
            if blob.mode == SUBMODULE:
                folders.make(path)
            elif blob.mode == LINK:
                folders.link(path, reader.read(blob.oid))
            elif blob.mode in (FILE, PROGRAM):
                with folders.create(path, executable=blob.mode == PROGRAM) as file:
                    reader.copy(blob.oid, file)
                    most -= file.tell()
            if most < 0:
                raise WorkError("the project is too large to be copied for its checks")


def put_back(tree: Path, paths: Sequence[str], base: Mapping[str, Blob], store: Store) -> None:
    """Makes the files `paths` beneath `tree`, a folder of ours, what `base` says they were.

    Blocks. Raises OSError and WorkError.
    """
    for path in paths:
        _clear(tree, path)
    with Folders(tree, create=True) as folders, store.reader() as reader:
        for path in sorted(paths, key=lambda one: one.split("/")):
            blob = base.get(path)
            if blob is None or blob.mode not in (FILE, PROGRAM, LINK):
                continue
            if blob.mode == LINK:
                folders.link(path, reader.read(blob.oid))
                continue
            with folders.create(path, executable=blob.mode == PROGRAM) as file:
                reader.copy(blob.oid, file)


def _clear(tree: Path, path: str) -> None:
    """Removes whatever is at `path`, and what is no folder on the way there."""
    names = path.split("/")
    for count in range(1, len(names) + 1):
        place = tree / "/".join(names[:count])
        if place.is_symlink() or place.is_file():
            with contextlib.suppress(FileNotFoundError):
                place.unlink()
            return
    if place.is_dir():
        remove_tree(place)
