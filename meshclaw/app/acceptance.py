"""What a task says under `accept:` -> the checks that judge its results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshclaw.errors import Problem, ProblemsError
from meshclaw.plugins import Plugins
from meshclaw.tasks import Acceptance, Task

if TYPE_CHECKING:
    from meshclaw.checks.base import Check

HARMLESS_CHECKS = ("schema", "matches", "absent", "changed", "unchanged", "files", "max_diff", "human")
"""Kinds that only look at what a run has made; any other runs or asks something."""
_PARTS = {"kind": str, "label": str, "needs_changes": bool, "asks": bool}


def build_checks(task: Task, plugins: Plugins) -> list[Check]:
    """The task's checks, in its order; only those kinds are imported that it names.

    Raises ProblemsError with every item that makes no check, at its place in the task's file.
    """
    problems: list[Problem] = []
    checks: list[Check] = []
    for one in task.accept:
        try:
            checks.append(_build(one, plugins.load("checks", one.kind)))
        except ProblemsError as error:
            problems += error.problems
        except ValueError as error:
            problems.append(Problem(task.source, one.line, one.column, f"'{one.kind}': {error}"))
        except Exception as error:
            # A plug-in may break in any way; whatever it was, the place in the task says which.
            message = f"'{one.kind}' makes no check of this: {type(error).__name__}: {error}"
            problems.append(Problem(task.source, one.line, one.column, message))
    if problems:
        raise ProblemsError(problems)
    return checks


def runs_checks(task: Task) -> bool:
    """Whether a check surely runs a command."""
    return any(one.kind == "run" for one in task.accept)


def may_run(task: Task) -> bool:
    """Whether a check may run a command: a plug-in's may, as far as anybody knows."""
    return any(one.kind not in (*HARMLESS_CHECKS, "judge") for one in task.accept)


def _build(one: Acceptance, factory: Any) -> Check:
    check: Check = factory(one.argument, **one.options)
    for name, kind in _PARTS.items():
        if not isinstance(getattr(check, name, None), kind):
            raise TypeError(f"the check has no {name}")
    return check
