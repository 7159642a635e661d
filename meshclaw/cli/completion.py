"""Names that the shell can complete: tasks, runs, models. Never fails: a broken file completes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from meshclaw.terminal_text import clean

if TYPE_CHECKING:
    from meshclaw.app import App


def _app() -> App:
    from meshclaw.app import App

    return App(os.environ, Path.cwd())


def task_names(incomplete: str) -> list[tuple[str, str]]:
    """Task names with their descriptions; what looks like a path is left to the shell."""
    if "/" in incomplete:
        return []
    try:
        app = _app()
        sources = [source for source in app.task_sources() if source.name.startswith(incomplete)]
    except Exception:
        return []
    return [(source.name, source.origin) for source in sources if _plain(source.name)]


def run_ids(incomplete: str) -> list[tuple[str, str]]:
    """Ids of recent runs, newest first, with their task and status."""
    from meshclaw.cli.records import recent_records

    try:
        records = list(recent_records(_app().runs_dir, limit=50))
    except Exception:
        return []
    found = [(one["run"], clean(f"{one['task']} {one['status']}", multiline=False)) for one in records]
    return [(run, about) for run, about in [("last", "the newest"), *found] if run.startswith(incomplete)]


def _plain(name: str) -> bool:
    """A name that holds what a terminal would obey is not offered: the shell would show it."""
    return clean(name, multiline=False) == name


def model_names(incomplete: str) -> list[str]:
    """Names of the embedded models."""
    from meshclaw.models.catalogue import CATALOGUE

    return [model.name for model in CATALOGUE if model.name.startswith(incomplete)]
