"""Runs on disk: their records, and the one that a person means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshclaw.errors import Problem, ProblemsError
from meshclaw.runs import RunStatus, is_held

NEWEST = "last"
BATCH = "b-"
"""What every batch's id begins with, and no run's."""


def run_folders(runs: Path) -> list[Path]:
    """Newest first: ids are UUIDv7, which sort by time."""
    if not runs.is_dir():
        return []
    return sorted((path for path in runs.iterdir() if (path / "run.json").is_file()), reverse=True)


def recent_records(runs: Path, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Records of runs, newest first; a folder whose record cannot be read is left out."""
    given = 0
    for folder in run_folders(runs):
        if limit is not None and given >= limit:
            return
        try:
            record = json.loads((folder / "run.json").read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(record, dict) and "run" in record:
            given += 1
            yield as_it_is(record, folder)


def as_it_is(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A run's record; one that says `running` though nobody works on the run was cut short.

    The next `meshclaw run` or `runs resume` closes it with what the ledger knows.
    """
    if record.get("status") != RunStatus.RUNNING or is_held(folder):
        return record
    return {**record, "status": str(RunStatus.INTERRUPTED), "reason": "the process was killed"}


def find_run(runs: Path, name: str) -> Path:
    """The folder of the run whose id begins with `name`, or of the newest for `last`.

    Raises ProblemsError when there is none, or more than one.
    """
    folders = run_folders(runs)
    if name == NEWEST and folders:
        return folders[0]
    found = [folder for folder in folders if name and folder.name.startswith(name)]
    exact = [folder for folder in found if folder.name == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise _problem(f"'{name}' is the beginning of {len(found)} runs", "give more characters of its id")
    message = f"there is no run '{name}'" if folders else "there are no runs yet"
    raise _problem(
        message, "`meshclaw runs list` shows them" if folders else "`meshclaw run TASK` makes one"
    )


def find_batch(batches: Path, name: str) -> Path:
    """The folder of the batch whose id begins with `name`. Raises ProblemsError unless that is one."""
    found = sorted(folder.parent for folder in batches.glob(f"{BATCH}*/batch.json"))
    found = [folder for folder in found if folder.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise _problem(
            f"'{name}' is the beginning of {len(found)} batches", "give more characters of its id"
        )
    raise _problem(f"there is no batch '{name}'", "`meshclaw run` names it at its end")


def _problem(message: str, hint: str) -> ProblemsError:
    return ProblemsError([Problem("RUN", 0, 0, message, hint)])
