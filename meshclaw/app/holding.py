"""What holds a task's commands: whether there are any, whether this machine can, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from meshclaw.app.acceptance import may_run, runs_checks
from meshclaw.app.options import RunOptions
from meshclaw.app.sandboxes import INSTALL, Found, choose_sandbox
from meshclaw.config import Config
from meshclaw.errors import PolicyError
from meshclaw.sandbox.base import Confinement
from meshclaw.tasks import Task

if TYPE_CHECKING:
    from meshclaw.app.app import App


async def find_holding(app: App, config: Config, task: Task, options: RunOptions) -> Found:
    """What holds the task's commands; none is looked for when there are none.

    Raises PolicyError when a model's commands cannot be held: the model's are never run unheld, nor are
    those of checks, which run what a model wrote. A task's own `command:` inputs may be, where there is no
    sandbox.
    """
    inputs = any(one.kind == "command" for one in task.inputs)
    if "shell" not in task.tools and not inputs and not may_run(task):
        return Found(None, "no command is to run")
    runs = _runs_commands(task, options)
    try:
        found = await choose_sandbox(app, config.sandbox, no_sandbox=options.no_sandbox)
    except PolicyError as error:
        if runs or inputs:
            raise
        # What a task only proposes needs none.
        found = Found(None, error.message)
    if found.sandbox is None and runs:
        raise PolicyError(f"there is no sandbox for the task's commands: {found.reason}", hint=INSTALL)
    if found.sandbox is not None:
        app.keep(found.sandbox)
    return found


def require_holding(found: Found, task: Task, options: RunOptions, confinement: Confinement) -> None:
    """Raises PolicyError when this machine's sandbox can hold commands, but not as the task wants them."""
    if found.sandbox is None:
        return
    wanted = [confinement] if _has_shell(task, options) else []
    # Where checks run is known to stand for the project; the place itself does not matter here.
    wanted += [replace(confinement.for_checks(), appears_at=Path())] if runs_checks(task) else []
    for one in wanted:
        if reason := found.sandbox.refusal(one):
            text = f"this machine's sandbox cannot hold the task's commands: {reason}"
            raise PolicyError(text, hint=INSTALL)


def _runs_commands(task: Task, options: RunOptions) -> bool:
    """Whether a model chooses commands, or writes what the commands of checks run."""
    return runs_checks(task) or _has_shell(task, options)


def _has_shell(task: Task, options: RunOptions) -> bool:
    return "shell" in task.tools and bool(task.allow.run or options.allow_run)
