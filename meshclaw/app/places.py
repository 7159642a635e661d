"""Where things are: the project, its tasks, and the user's folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from meshclaw.app.options import TaskSource
from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass

SETTINGS_FILE = "meshclaw.yaml"
TASK_SUFFIX = ".yaml"


@dataclass(frozen=True, slots=True)
class Folders:
    """The user's folders, as the platform names them; XDG variables hold on Linux."""

    config: Path
    data: Path
    cache: Path


def user_folders(environment: Mapping[str, str]) -> Folders:
    """The folders of the user that `environment` belongs to.

    A cron job without HOME gets the account's home from the password database, as `~` does. Raises
    ProblemsError when there is no home at all.
    """
    from platformdirs import PlatformDirs

    dirs = PlatformDirs("meshclaw", appauthor=False)
    if environment.get("HOME") or os.name != "posix":
        return Folders(dirs.user_config_path, dirs.user_data_path, dirs.user_cache_path)
    import pwd

    try:
        home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        hint = "set HOME to a folder that this account may write"
        raise ProblemsError([Problem("HOME", 0, 0, "this account has no home folder", hint)]) from None

    def folder(variable: str, usual: str) -> Path:
        named = environment.get(variable, "")
        return (Path(named) if Path(named).is_absolute() else home / usual) / "meshclaw"

    return Folders(
        folder("XDG_CONFIG_HOME", ".config"),
        folder("XDG_DATA_HOME", ".local/share"),
        folder("XDG_CACHE_HOME", ".cache"),
    )


def find_project(cwd: Path) -> Path:
    """The nearest folder upwards that holds `meshclaw.yaml`, else the one that holds `.git`, else `cwd`.

    A `meshclaw.yaml` above the enclosing repository's root is not this project's.
    """
    for folder in (cwd, *cwd.parents):
        if (folder / SETTINGS_FILE).is_file():
            return folder
        if (folder / ".git").exists():
            return folder
    return cwd


def example_tasks() -> Path:
    """The folder of the example tasks: in the package when installed, beside it in a checkout."""
    package = Path(str(files("meshclaw")))
    installed = package / "example_tasks"
    return installed if installed.is_dir() else package.parent / "tasks"


def list_sources(places: Mapping[str, Path]) -> list[TaskSource]:
    """All tasks by name; of two with one name, the first place's counts. `places` maps origin to folder.

    Hidden files (an editor's drafts and locks) and folders are no tasks.
    """
    found: dict[str, TaskSource] = {}
    for origin, folder in places.items():
        if not folder.is_dir():
            continue
        for path in sorted(folder.glob(f"*{TASK_SUFFIX}")):
            if path.is_file() and not path.name.startswith("."):
                found.setdefault(path.stem, TaskSource(path.stem, path, origin))
    return sorted(found.values(), key=lambda source: source.name)


def find_source(name: str, places: Mapping[str, Path], cwd: Path) -> TaskSource:
    """The task called `name`, or the file at that path. Raises ProblemsError with a suggestion."""
    if "/" in name or name.endswith((TASK_SUFFIX, ".yml")):
        path = cwd / name
        if path.is_file():
            return TaskSource(path.stem, path, "file")
        raise ProblemsError([Problem(name, 0, 0, "there is no such task file")])
    sources = {source.name: source for source in list_sources(places)}
    if name in sources:
        return sources[name]
    for folder in places.values():
        if (other := folder / f"{name}.yml").is_file():
            hint = f"there is {shown_path(other, cwd)}: rename it to {name}{TASK_SUFFIX}"
            raise ProblemsError([Problem("task", 0, 0, f"unknown task '{name}'", hint)])
    close = get_close_matches(name, list(sources), n=1)
    hint = f"did you mean '{close[0]}'?" if close else "`meshclaw tasks list` shows what there is"
    raise ProblemsError([Problem("task", 0, 0, f"unknown task '{name}'", hint)])


def shown_path(path: Path, cwd: Path) -> str:
    """`path` as a person in `cwd` would write it."""
    try:
        return str(path.relative_to(cwd))
    except ValueError:
        return str(path)
