"""The branches that tasks leave behind: looked at before anything is spent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from meshclaw.errors import Problem, ProblemsError
from meshclaw.tasks import Task
from meshclaw.tasks.branches import branch_fault
from meshclaw.templates import render


def branch_of(task: Task, texts: Mapping[str, str]) -> str | None:
    """The branch's name with the parameters in it. Raises ProblemsError for an impossible one."""
    if task.branch is None:
        return None
    name = render(task.branch, texts)
    if fault := branch_fault(name):
        message = f"no branch can be called '{name}': {fault}"
        raise ProblemsError([Problem(task.source, 0, 0, message, "give a parameter another value")])
    return name


def require_free(task: Task, names: Iterable[str], environment: Mapping[str, str], project: Path) -> None:
    """Raises ProblemsError for names that branches have already. Blocks."""
    from meshclaw.isolation import taken_branches

    hint = "delete that branch (`git branch -D {0}`), rename it, or let the task name another"
    problems = [
        Problem(task.source, 0, 0, f"there is a branch '{there}' already", hint.format(there))
        for there in taken_branches(environment, project, names)
    ]
    if problems:
        raise ProblemsError(problems)
