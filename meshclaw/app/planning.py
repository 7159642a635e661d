"""From a family of tasks and the command line to the plan of a batch: every run, before any of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anyio import to_thread

from meshclaw.app.branches import branch_of, require_free
from meshclaw.app.families import Family
from meshclaw.app.options import RunOptions
from meshclaw.app.preparing import reuses
from meshclaw.app.sandboxes import choose_sandbox, limits
from meshclaw.batches.expanding import axis_values
from meshclaw.batches.plan import Item, Plan, make_plan
from meshclaw.errors import Problem, ProblemsError
from meshclaw.inputs import Sources, read_lines
from meshclaw.sandbox.unconfined import Unconfined, command_environment
from meshclaw.tasks import Axis, Task, Value
from meshclaw.tasks.params import as_text
from meshclaw.templates import render

if TYPE_CHECKING:
    from meshclaw.app.app import App


async def plan_batch(app: App, family: Family, options: RunOptions) -> Plan:
    """Every run that the family asks for; files and commands of its axes are read now, and only now.

    The family must be trusted. Raises ProblemsError, and PolicyError as a command input does.
    """
    gatherer = _AxisReader(app, options)
    plan = await make_plan(family.task, family.tasks, options.params, gatherer.values)
    if len([item for item in plan.items if plan.asked(item)]) > 1:
        _refuse_single(options)
    _check_apart(plan)
    await to_thread.run_sync(_check_branches, app, plan, options)
    return plan


def _refuse_single(options: RunOptions) -> None:
    """Raises ProblemsError for what only one run can have."""
    if options.output is not None:
        hint = "write output.file with a parameter of the matrix into the task"
        raise ProblemsError([Problem("--output", 0, 0, "many results do not fit into one file", hint)])
    if options.record:
        hint = "name one item with -p"
        raise ProblemsError([Problem("--record", 0, 0, "a task has one recording, of one run", hint)])


class _AxisReader:
    def __init__(self, app: App, options: RunOptions) -> None:
        self._app = app
        self._options = options

    async def values(self, task: Task, texts: Mapping[str, str]) -> dict[str, list[Value]]:
        """The values of the axes that are read from a file or a command."""
        assert task.matrix is not None
        axes = [axis for axis in task.matrix.axes if axis.source is not None]
        sources = await self._sources(axes, texts)
        return {axis.param: await self._read(task, axis, sources, texts) for axis in axes}

    async def _read(
        self, task: Task, axis: Axis, sources: Sources, texts: Mapping[str, str]
    ) -> list[Value]:
        assert axis.source is not None
        file = render(axis.source.value, texts) if axis.source.kind == "file" else None
        lines = await read_lines(axis.source, sources, (task.source, axis.line, axis.column))
        return axis_values(task, axis, lines, file)

    async def _sources(self, axes: list[Axis], texts: Mapping[str, str]) -> Sources:
        app, settings = self._app, self._app.config.sandbox
        sandbox = None
        if any(axis.source is not None and axis.source.kind == "command" for axis in axes):
            found = await choose_sandbox(app, settings, no_sandbox=self._options.no_sandbox)
            if found.sandbox is not None:
                app.keep(found.sandbox)
            sandbox = found.sandbox
        return Sources(
            project=app.project,
            params=texts,
            environment=command_environment(app.environment),
            sandbox=sandbox or Unconfined(),
            limits=limits(settings),
        )


def _check_branches(app: App, plan: Plan, options: RunOptions) -> None:
    """Raises ProblemsError for branches that cannot be made, as `prepare` does for one run. Blocks."""
    for task in plan.tasks.values():
        if task.branch is None:
            continue
        items = [item.params for item in plan.items if item.task == task.name]
        texts = [{name: as_text(value) for name, value in params.items()} for params in items]
        names = [name for one in texts if (name := branch_of(task, one)) is not None]
        if not reuses(task, options):
            require_free(task, names, app.environment, app.project)


def _check_apart(plan: Plan) -> None:
    """Raises ProblemsError when two items would leave their result in the same file or branch."""
    problems = []
    for key in ("output.file", "branch"):
        seen: dict[tuple[str, str], Item] = {}
        for item in plan.items:
            task = plan.tasks[item.task]
            pattern = task.output.file if key == "output.file" else task.branch
            if pattern is None:
                continue
            target = render(pattern, {name: as_text(value) for name, value in item.params.items()})
            first = seen.setdefault((item.task, target), item)
            if first is not item:
                message = f"'{plan.name(first)}' and '{plan.name(item)}' have the same {key}: '{target}'"
                fix = f"put a parameter of the matrix into {key}"
                problems.append(Problem(task.source, 0, 0, message, fix))
                break
    if problems:
        raise ProblemsError(problems)
