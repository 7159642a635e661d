"""Where the operator's programs are installed: what their PATH leads to, and what belongs to it.

What lies in the project is the project's word, and may be a model's: it never names a folder to bind. What
this account may not look into is not there, as it is for a shell (`os.path`: Path's own questions raise).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

PROGRAM_FOLDERS = frozenset({"bin", "sbin", "libexec", "shims", "condabin", "Scripts", "current"})
"""Folders that belong to the folder above them, where that looks like an installation (see MARKS)."""

MARKS = (
    "composer",
    "conda-meta",
    "include",
    "installs",
    "lib",
    "lib64",
    "libexec",
    "package.json",
    "pkg",
    "pyvenv.cfg",
    "registry",
    "share",
    "toolchains",
    "tools",
    "versions",
)
"""What an installation holds beside its programs. A folder with nothing of it is an application's own, with
its settings, tokens and sockets: of `~/.docker/bin` only the programs are bound."""

FOLDER_VARIABLES = (
    "PYENV_ROOT",
    "RUSTUP_HOME",
    "CARGO_HOME",
    "NVM_DIR",
    "JAVA_HOME",
    "GOROOT",
    "VIRTUAL_ENV",
)
"""Variables that name a toolchain's folder."""

MAX_PROGRAMS = 5_000
"""Entries of one PATH folder that are followed to where they lead."""

MAX_LINKS = 40
"""As many as the kernel follows on one way."""


def installations(
    environment: Mapping[str, str],
    home: Path,
    project: Path,
    refused: frozenset[Path],
    system: list[Path],
) -> Iterator[Path]:
    """The folders to bind; none of `refused`, nor one above them. `system` is there already.

    Of a PATH folder in the project, only the interpreter of a virtual environment is followed.
    """
    listed = map(Path, environment.get("PATH", "").split(os.pathsep))
    folders = [path for path in listed if path.is_absolute()]
    for folder in folders:
        if not os.path.isdir(folder) or any(folder.is_relative_to(one) for one in system):
            continue
        inside = _lies_in(folder, project)
        if not inside:
            yield from installation(folder, refused)
        followed = (one for one in _targets(folder) if not inside or _is_interpreter(one))
        for programs in {one.parent for one in followed}:
            yield from installation(programs, refused)
    for name in FOLDER_VARIABLES:
        folder = Path(environment.get(name, "."))
        if folder.is_absolute() and os.path.isdir(folder) and not _lies_in(folder, project):
            yield from installation(folder / "bin", refused, named=True)
    if any(folder == home / ".cargo/bin" for folder in folders) and os.path.isdir(home / ".rustup"):
        yield home / ".rustup"


def installation(programs: Path, refused: frozenset[Path], *, named: bool = False) -> Iterator[Path]:
    """The folder to bind for a folder of programs: the one above it, if that is an installation and not
    too much. `named`: the operator says that it is one."""
    programs = Path(os.path.realpath(programs))
    above = programs.parent
    belongs = programs.name in PROGRAM_FOLDERS and (named or _is_installation(above))
    for folder in (above, programs) if belongs else (programs,):
        if os.path.isdir(folder) and not any(one.is_relative_to(folder) for one in refused):
            yield folder
            return


def _is_installation(folder: Path) -> bool:
    return any(os.path.exists(folder / mark) for mark in MARKS)


def _lies_in(folder: Path, project: Path) -> bool:
    """Whether the project decides what is there: the way to it, link by link, leads through it."""
    roots = (project, Path(os.path.realpath(project)))
    return any(place.is_relative_to(root) for place in _way(folder) for root in roots)


def _way(path: Path) -> Iterator[Path]:
    """All that the kernel meets on its way to an absolute path."""
    place, left, links = Path("/"), list(path.parts[1:]), 0
    while left:
        name = left.pop(0)
        place = place.parent if name == ".." else place / name
        yield place
        if os.path.islink(place) and links < MAX_LINKS:
            links += 1
            target = place.readlink()
            left = [*target.parts[target.is_absolute() :], *left]
            place = Path("/") if target.is_absolute() else place.parent


def _is_interpreter(target: Path) -> bool:
    """A Python with its library beside it: what a virtual environment's link leads to."""
    prefix = target.parent.parent
    return (
        target.name.startswith("python")
        and target.parent.name == "bin"
        and any(prefix.glob("lib*/python3*/os.py"))
    )


def _targets(folder: Path) -> set[Path]:
    """The files that a folder's links lead to."""
    targets = set()
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for _, entry in zip(range(MAX_PROGRAMS), entries, strict=False):
            if entry.is_symlink():
                target = Path(os.path.realpath(entry.path))
                if os.path.isfile(target):
                    targets.add(target)
    return targets
