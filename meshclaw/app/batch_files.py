"""A batch on disk: what it was made from, so that it can go on as it began."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshclaw.app.batch_secrets import with_secrets, without_secrets
from meshclaw.app.families import Family
from meshclaw.app.options import RunOptions, TaskSource
from meshclaw.batches.conductor import Terms
from meshclaw.batches.journal import BatchDirectory
from meshclaw.batches.plan import Item, Plan
from meshclaw.errors import LedgerError, Problem, ProblemsError
from meshclaw.frozen import dataclass

if TYPE_CHECKING:
    from meshclaw.app.app import App

VERSION = 1
STDIN = "stdin"


@dataclass(frozen=True, slots=True)
class Kept:
    """What `write_batch` wrote, read again."""

    family: Family
    plan: Plan
    options: RunOptions
    terms: Terms
    began: datetime


def batches_dir(app: App) -> Path:
    """The folder of all batches' folders."""
    return app.data_dir / "batches"


def write_batch(
    directory: BatchDirectory,
    app: App,
    family: Family,
    plan: Plan,
    options: RunOptions,
    terms: Terms,
    began: str,
) -> None:
    """Fixes a batch, durably. Raises LedgerError."""
    plain: dict[str, Any] = {
        "version": VERSION,
        "batch": directory.path.name,
        "task": family.task.name,
        "started_at": began,
        "project": str(app.project),
        "cwd": str(app.cwd),
        "jobs": terms.jobs,
        "fail_fast": terms.fail_fast,
        "options": _plain(options, app.cwd),
        "tasks": {
            name: {
                "text": task.text,
                "source": task.source,
                "path": str(task.path),
                "origin": family.sources[name].origin,
            }
            for name, task in family.tasks.items()
        },
        "items": [
            {"task": item.task, "params": dict(item.params), "needs": dict(item.needs)}
            for item in plan.items
        ],
    }
    directory.write_record(without_secrets(plain, app.redactor.data))


def kept_batch(directory: BatchDirectory, app: App, params: Mapping[str, str]) -> Kept:
    """`params` are those that were not kept. Raises ProblemsError when the folder does not hold a batch, or
    another version's, and when it cannot go on.
    """
    data = directory.read_record()
    try:
        if data["version"] != VERSION:
            raise ValueError(f"it is of version {data['version']}")
        return _read(with_secrets(data, params), app)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"this batch cannot go on: {type(error).__name__}: {error}"
        raise ProblemsError([Problem(str(directory.record), 0, 0, message)]) from error


def keep_stdin(directory: BatchDirectory, app: App, family: Family, options: RunOptions) -> RunOptions:
    """The options with standard input kept in the folder: every item reads the same, later ones too.

    Secrets are redacted, as they would be in every run. It is read only when a task asks for it. Raises
    what reading raises, and LedgerError.
    """
    asked = any(one.kind == "stdin" for task in family.tasks.values() for one in task.inputs)
    if options.stdin is None or not asked:
        return options
    data = app.redactor.bytes(options.stdin())
    try:
        with open(directory.path / STDIN, "wb", opener=_private) as file:
            file.write(data)
    except OSError as error:
        raise LedgerError(f"cannot write {directory.path / STDIN}: {error.strerror}") from error
    return replace(options, stdin=lambda: data)


def stdin_of(directory: BatchDirectory) -> Callable[[], bytes] | None:
    """Standard input as the batch's first process read it, if it did."""
    path = directory.path / STDIN
    return path.read_bytes if path.exists() else None


def _plain(options: RunOptions, cwd: Path) -> dict[str, Any]:
    return {
        "params": dict(options.params),
        "inputs": {name: str(cwd / path) for name, path in options.inputs.items()},
        "model": options.model,
        "runner": options.runner,
        "allow_run": list(options.allow_run),
        "allow_write": list(options.allow_write),
        "no_sandbox": options.no_sandbox,
        "budget": dict(options.budget),
        "output": None if options.output is None else str(cwd / options.output),
        "apply": options.apply,
        "fresh": options.fresh,
        "record": options.record,
    }


def _read(data: Mapping[str, Any], app: App) -> Kept:
    said = data["options"]
    options = RunOptions(
        params=said["params"],
        inputs={name: Path(path) for name, path in said["inputs"].items()},
        model=said["model"],
        runner=said["runner"],
        allow_run=tuple(said["allow_run"]),
        allow_write=tuple(said["allow_write"]),
        no_sandbox=said["no_sandbox"],
        budget=said["budget"],
        output=None if said["output"] is None else Path(said["output"]),
        apply=said["apply"],
        fresh=said["fresh"],
        record=said["record"],
    )
    tasks, sources = {}, {}
    for name, kept in data["tasks"].items():
        path = Path(kept["path"])
        tasks[name] = app.parse_task(kept["text"].encode(), kept["source"], name, path)
        sources[name] = TaskSource(name, path, kept["origin"])
    items = tuple(
        Item(
            number,
            one["task"],
            one["params"],
            {name: tuple(numbers) for name, numbers in one["needs"].items()},
        )
        for number, one in enumerate(data["items"], 1)
    )
    task = tasks[data["task"]]
    return Kept(
        Family(task, tasks, sources),
        Plan(task, tasks, items),
        options,
        Terms(data["jobs"], data["fail_fast"]),
        datetime.fromisoformat(data["started_at"]),
    )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
