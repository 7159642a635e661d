"""Where a run's result goes, and which commit it started from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from glob import escape
from pathlib import Path, PurePosixPath

from meshclaw.app.options import RunOptions
from meshclaw.config import Config
from meshclaw.errors import PolicyError, Problem, ProblemsError
from meshclaw.isolation.git import GitError, find_git
from meshclaw.policies import Effects, Rules, TaskPolicy
from meshclaw.tasks import Task
from meshclaw.templates import render

GIT_SECONDS = 5.0
"""How long git may take to name a commit."""


def output_of(
    cwd: Path, config: Config, task: Task, texts: Mapping[str, str], options: RunOptions
) -> tuple[str | None, Path | None]:
    """Where the result goes: the operator's own flag may lead anywhere, a task only beneath the project
    and, where the operator's settings set one, its ceiling. Raises ProblemsError or PolicyError."""
    if options.output is not None:
        path = (cwd / options.output).absolute()
        if path.is_dir() or not path.parent.is_dir():
            hint = "name a file in a folder that exists"
            raise ProblemsError([Problem("--output", 0, 0, f"cannot write to {options.output}", hint)])
        return path.name, path.parent
    if task.output.file is None:
        return None, None
    target = render(task.output.file, texts)
    pure = PurePosixPath(target)
    if pure.is_absolute() or ".." in pure.parts or not pure.name:
        hint = "use --output FILE to write outside of the project"
        problem = Problem(task.source, 0, 0, f"output.file leads out of the project: '{target}'", hint)
        raise ProblemsError([problem])
    named = TaskPolicy(
        [escape(pure.as_posix())],
        granted=Rules(options.allow_write),
        ceiling=config.policy,
        source=task.source,
    )
    decision = named.review(Effects(writes=(pure.as_posix(),)))
    if not decision.allowed:
        raise PolicyError(f"output.file: {decision.reason}", hint=decision.remedy)
    return target, None


def git_head(project: Path, environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The commit that the project's HEAD names, and its tree; None outside a repository."""
    if not any((folder / ".git").exists() for folder in (project, *project.parents)):
        return None, None
    try:
        git = replace(find_git(environment, project), timeout=GIT_SECONDS)
        names = git.run("rev-parse", "-q", "HEAD", "HEAD^{tree}").decode("ascii", "replace").split()
    except (GitError, ProblemsError):
        return None, None
    return (names[0], names[1]) if len(names) == 2 else (None, None)
