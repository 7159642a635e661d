"""A task with all that it needs: loaded together, so that a mistake in any is found before a run begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from meshclaw.app.options import TaskSource
from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.tasks import Need, Task

if TYPE_CHECKING:
    from meshclaw.app.app import App


@dataclass(frozen=True, slots=True)
class Family:
    """`task` is the one that was asked for; all are in `tasks` by name, those that are needed first."""

    task: Task
    tasks: Mapping[str, Task]
    sources: Mapping[str, TaskSource]

    @property
    def is_batch(self) -> bool:
        """Whether it takes more than one run, or could."""
        return self.task.matrix is not None or len(self.tasks) > 1


def load_family(app: App, name: str) -> Family:
    """The task called `name`, or in the file at that path, and what it needs. Raises ProblemsError."""
    source = app.find_task(name)
    return family_of(app, source, app.read_task(source.path))


def family_of(app: App, source: TaskSource, task: Task) -> Family:
    """As `load_family`, of a task that is loaded already."""
    sources = {task.name: source}

    def load(other: Task, need: Need) -> Task:
        try:
            sources[need.task] = app.find_task(need.task)
        except ProblemsError as error:
            problems = (
                Problem(other.source, need.line, need.column, one.message, one.hint)
                for one in error.problems
            )
            raise ProblemsError(problems) from None
        return app.read_task(sources[need.task].path)

    tasks = {task.name: task}
    if task.needs:
        from meshclaw.batches.plan import needed

        tasks = needed(task, load)
    return Family(task, tasks, {one: sources[one] for one in tasks})
