"""What a project could make happen, and whether the user trusts it with that.

A clone brings tasks and settings that nobody here has read. Before anything of them runs or takes effect,
they must be trusted as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshclaw.app.acceptance import HARMLESS_CHECKS
from meshclaw.app.families import Family, load_family
from meshclaw.app.options import TaskSource
from meshclaw.app.places import SETTINGS_FILE, shown_path
from meshclaw.documents import parse, read_file
from meshclaw.errors import LockedError, Problem, ProblemsError
from meshclaw.tasks import Task
from meshclaw.trust import StoreError, TrustStore, Untrusted, UntrustedError

if TYPE_CHECKING:
    from meshclaw.app.app import App

STORE_FILE = "trust.json"
HARMLESS_RUNNERS = ("agent", "prompt")
"""They act only through a task's tools."""


def powers_of(task: Task) -> dict[str, Any]:
    """What a task could make happen, as plain data; {} for one that can only ask a model.

    Values of parameters and what is said to be believed make nothing happen alone; they count as soon as
    something else does, because a command may run what a parameter holds.
    """
    commands = {one.name: {"command": one.value} for one in task.inputs if one.kind == "command"}
    found: dict[str, Any] = {
        "allow": {what: list(names) for what, names in asdict(task.allow).items() if names},
        "propose": list(task.propose),
        "tools": list(task.tools),
        "inputs": commands,
        "matrix": _axis_commands(task),
        # Who needs another task makes it run, be it the user's own.
        "needs": [need.task for need in task.needs],
        "output": {} if task.output.file is None else {"file": task.output.file},
        "accept": [
            {one.kind: one.argument, **one.options}
            for one in task.accept
            if one.kind not in HARMLESS_CHECKS
        ],
        "isolate": _isolation_powers(task),
        "runner": "" if task.runner in HARMLESS_RUNNERS else task.runner,
    }
    if not any(found.values()):
        return {}
    found["params"] = {one.name: one.default for one in task.params if one.default is not None}
    found["matrix"] = _matrix(task)
    found["trusted inputs"] = [one.name for one in task.inputs if one.trusted]
    found["accept_risk"] = task.accept_risk
    found["protect"] = None if task.protect is None else {"files": list(task.protect)}
    return {what: value for what, value in found.items() if value}


def _isolation_powers(task: Task) -> dict[str, Any]:
    if task.isolate == "none":
        return {}
    stated = {"share": None if task.share is None else list(task.share), "branch": task.branch}
    found = {what: value for what, value in stated.items() if value is not None}
    return {"in": task.isolate, "include_dirty": task.include_dirty, **found}


def _axis_commands(task: Task) -> list[str]:
    axes = task.matrix.axes if task.matrix else ()
    return [axis.source.value for axis in axes if axis.source and axis.source.kind == "command"]


def _matrix(task: Task) -> dict[str, Any]:
    """Where the parameters' values come from when a matrix gives them."""
    if task.matrix is None:
        return {}
    found: dict[str, Any] = {
        axis.param: {axis.source.kind: axis.source.value} if axis.source else list(axis.values)
        for axis in task.matrix.axes
    }
    rows = {"include": task.matrix.include, "exclude": task.matrix.exclude}
    return found | {what: [dict(row) for row in some] for what, some in rows.items() if some}


def run_powers(app: App, source: TaskSource, task: Task) -> dict[str, Any]:
    """What has to be trusted before `task` may run: its own powers and the project's settings, by name.

    The user's own tasks and the built-in ones need no trust; the settings hold for them as well.
    """
    found = _settings_powers(app)
    name = project_name(app, source)
    if name is not None and (powers := powers_of(task)):
        found[name] = powers
    return found


def all_powers(app: App, problems: list[Problem]) -> dict[str, Any]:
    """What the project's settings and all of its tasks could make happen, by name.

    Tasks that do not load are added to `problems`: they cannot run either.
    """
    found = _settings_powers(app)
    for source in app.task_sources():
        if source.origin == "project":
            try:
                found |= run_powers(app, source, app.read_task(source.path))
            except ProblemsError as error:
                problems += error.problems
    return found


def project_name(app: App, source: TaskSource) -> str | None:
    """The path in the project by which a task is trusted; None for a task that is not the project's."""
    if source.origin not in ("project", "file"):
        return None
    root = os.path.realpath(app.project)
    real = os.path.realpath(source.path.parent)
    # A folder may be linked into the project, or the file be named by a way through a link.
    candidates = [
        (str(app.project), os.path.normpath(source.path)),
        (root, os.path.join(real, source.path.name)),  # noqa: PTH118
        (root, os.path.realpath(source.path)),
    ]
    for folder, path in candidates:
        if Path(path).is_relative_to(folder):
            return Path(path).relative_to(folder).as_posix()
    return None


def open_store(app: App) -> TrustStore:
    """The user's store. Raises StoreError for one in the project: a clone could bring its own."""
    store = TrustStore(app.data_dir / STORE_FILE, redact=app.redactor.known_data)
    project = Path(os.path.realpath(app.project))
    # Whoever works in their home, or above it, has the usual folder beneath them.
    home = app.environment.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - without one, no error
    at_home = os.path.isabs(home) and Path(os.path.realpath(home)).is_relative_to(project)  # noqa: PTH117
    if Path(os.path.realpath(store.path)).is_relative_to(project) and not at_home:
        raise StoreError(
            f"{store.path} lies in the project, which could bring one of its own",
            hint="name another data folder (MESHCLAW_DATA_DIR, or data_dir in your settings)",
        )
    return store


def find_untrusted(app: App, powers: Mapping[str, Any]) -> list[Untrusted]:
    """Which of `powers` are not trusted as they are. Raises UntrustedError for a store of no use."""
    if not powers:
        return []
    try:
        store = open_store(app)
    except StoreError as error:
        raise UntrustedError([Untrusted(*item) for item in powers.items()], error) from None
    return store.missing(app.project, powers)


def require_ledger(app: App) -> None:
    """Raises UntrustedError for a ledger that only the project names, when its settings are not trusted:
    it is not written to then. Reading it needs no trust."""
    if _ledger_is_projects(app):
        require_trust(app, _settings_powers(app))


def tell_of_ledger(app: App) -> None:
    """Notifies whoever reads such a ledger of whose word it is."""
    if _ledger_is_projects(app) and find_untrusted(app, _settings_powers(app)):
        app.notify(f"{app.ledger_path} is the project's word: it names this ledger and is not trusted")


def _ledger_is_projects(app: App) -> bool:
    config = app.config
    return config.origins["ledger"].layer == "project" and app.ledger_path == config.ledger


def require_trust(app: App, powers: Mapping[str, Any]) -> None:
    """Raises UntrustedError unless all of `powers` are trusted as they are."""
    missing = find_untrusted(app, powers)
    if missing:
        raise UntrustedError(missing)


def powers_to_run(app: App, name: str) -> dict[str, Any]:
    """As `family_powers`, for the task called `name`. Raises ProblemsError when there is none."""
    return family_powers(app, load_family(app, name))


def family_powers(app: App, family: Family) -> dict[str, Any]:
    """What has to be trusted before a task may run with all that it needs, as `run_powers` gives it."""
    found: dict[str, Any] = {}
    for name, task in family.tasks.items():
        found |= run_powers(app, family.sources[name], task)
    return found


def trust_items(app: App, items: Sequence[Untrusted]) -> None:
    """Trusts exactly what the items say, which a person has seen, whatever the files hold by now."""
    open_store(app).trust(app.project, {one.name: one.powers for one in items}, app.now())


def trust_written(app: App, paths: Sequence[Path]) -> None:
    """Trusts the files that a command of ours has just written for the user."""
    powers: dict[str, Any] = {}
    for path in paths:
        if path == app.project / SETTINGS_FILE:
            powers |= _settings_powers(app)
        else:
            name = project_name(app, TaskSource(path.stem, path, "project"))
            if name is not None and (found := powers_of(app.read_task(path))):
                powers[name] = found
    if not powers:
        return
    try:
        open_store(app).trust(app.project, powers, app.now())
    except (StoreError, LockedError) as error:
        app.notify(f"what was written is not trusted yet: {error}")


def _settings_powers(app: App) -> dict[str, Any]:
    path = app.project / SETTINGS_FILE
    shown = shown_path(path, app.cwd)
    try:
        content = parse(read_file(path), shown).data()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ProblemsError([Problem(shown, 0, 0, f"cannot be read: {error.strerror}")]) from None
    return {SETTINGS_FILE: content} if content else {}
