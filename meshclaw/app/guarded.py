"""What of a project no task may write unless a pattern names it, and what no pattern opens."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import meshclaw
from meshclaw.config import Config
from meshclaw.errors import PolicyError
from meshclaw.policies import PROTECTED, guarding

if TYPE_CHECKING:
    from meshclaw.app.app import App

ENVIRONMENT = "pyvenv.cfg"
"""Marks a folder as a virtual environment."""
DEPTH = 3
"""How far down in a project virtual environments are looked for, in folders."""
MOST = 2_000
"""Folders that are looked at for them."""
PASSED_OVER = frozenset({".git", "node_modules"})


def protected_paths(app: App, config: Config) -> tuple[str, ...]:
    """PROTECTED, and what lies in this project only because of how it is used: its folder of tasks, our
    ledger and data, keys, virtual environments, and the code that this very process runs.
    """
    own = [app.project / config.tasks, app.ledger_path, app.data_dir, *config.key_files]
    own += map(Path, running_code())
    if named := app.environment.get("VIRTUAL_ENV"):
        own.append(Path(named))
    found = [*_beneath(own, app.project), *virtual_environments(app.project)]
    # What lies in another is kept with it.
    outermost = [
        one for one in found if guarding(str(PurePosixPath(one).parent), (*PROTECTED, *found)) is None
    ]
    return tuple(dict.fromkeys((*PROTECTED, *outermost)))


def running_code() -> list[str]:
    """Folders that this process's code comes from, the next one's as well."""
    package = Path(meshclaw.__file__).parent
    return [sys.prefix, sys.base_prefix, str(package), *filter(os.path.isabs, sys.path)]


def virtual_environments(project: Path) -> list[str]:
    """The virtual environments in a project, as far down as DEPTH and MOST say."""
    return [os.path.relpath(path, project) for path in _marked(str(project))]


def refuse_in_home(home: Path, project: Path, patterns: Sequence[str]) -> None:
    """Raises PolicyError for a pattern that opens the home folder itself, when the project holds it: there
    everything is obeyed by something, and no list of names is whole.
    """
    root, home = Path(os.path.realpath(project)), Path(os.path.realpath(home))
    if not home.is_relative_to(root):
        return
    for pattern in patterns:
        names = pattern.removeprefix("./").split("/")
        literal = next((at for at, name in enumerate(names) if not name or set(name) & set("*?[")), None)
        if literal is not None and home.is_relative_to(root.joinpath(*names[:literal])):
            raise PolicyError(
                f'the project {project} holds the home folder, so "{pattern}" could write what your shell '
                "and other programs obey",
                hint="name folders in allow.write, such as notes/**, or work in a folder of its own",
            )


def _beneath(paths: Iterable[Path], project: Path) -> Iterator[str]:
    roots = {project, Path(os.path.realpath(project))}
    for path in paths:
        for one in dict.fromkeys((Path(os.path.normpath(path)), Path(os.path.realpath(path)))):
            for root in roots:
                if one != root and one.is_relative_to(root):
                    yield one.relative_to(root).as_posix()


def _marked(project: str) -> Iterator[str]:
    folders, looked = [project], 0
    for _ in range(DEPTH):
        further: list[str] = []
        for folder in folders[: MOST - looked]:
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                inner = [one for one in entries if one.name not in PASSED_OVER]
                further += [one.path for one in inner if one.is_dir(follow_symlinks=False)]
        looked += len(folders)
        found = {folder for folder in further if os.path.isfile(f"{folder}/{ENVIRONMENT}")}  # noqa: PTH113
        yield from sorted(found)
        folders = [folder for folder in further if folder not in found]
