"""What one batch is to do: its runs, fixed before the first begins, each after those that it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field

from meshclaw.batches.expanding import MAX_ITEMS, Values, expand, label
from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.tasks import Need, Task, Value, bind_params
from meshclaw.tasks.params import as_text

Loader = Callable[[Task, Need], Task]
"""Gives the task that another needs. Raises ProblemsError."""
Gatherer = Callable[[Task, Mapping[str, str]], Awaitable[Values]]
"""Gives the values of a task's axes; of the parameters, as text, those of no axis may be used."""


@dataclass(frozen=True, slots=True)
class Item:
    """One run to be made. `number` counts from 1; `needs` maps inputs to the items that they come from."""

    number: int
    task: str
    params: Mapping[str, Value]
    needs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The items of a batch, those that are needed first. `task` is the one that was asked for."""

    task: Task
    tasks: Mapping[str, Task]
    items: tuple[Item, ...]

    def asked(self, item: Item) -> bool:
        """Whether the item belongs to the task that was asked for, and is not only needed by it."""
        return item.task == self.task.name

    def name(self, item: Item) -> str:
        """An item in words: what it differs in, after the task's name unless that goes without saying."""
        differs = label(self.tasks[item.task], item.params)
        return differs if differs and self.asked(item) else f"{item.task} {differs}".rstrip()


def needed(task: Task, load: Loader) -> dict[str, Task]:
    """`task` and every task that it needs, directly or not, by name: those that are needed first.

    Raises ProblemsError with all that is wrong: what cannot be loaded, and who needs himself.
    """
    ordered: dict[str, Task] = {}
    problems: list[Problem] = []
    _visit(task, load, [], ordered, problems)
    if problems:
        raise ProblemsError(dict.fromkeys(problems))
    return ordered


def _visit(
    task: Task, load: Loader, path: list[Task], ordered: dict[str, Task], problems: list[Problem]
) -> None:
    path = [*path, task]
    names = [one.name for one in path]
    for need in task.needs:
        if need.task in names:
            circle = " needs ".join(f"'{name}'" for name in [*names[names.index(need.task) :], need.task])
            problems.append(Problem(task.source, need.line, need.column, f"this never begins: {circle}"))
        elif need.task not in ordered:
            try:
                _visit(load(task, need), load, path, ordered, problems)
            except ProblemsError as error:
                problems += error.problems
    ordered[task.name] = task


async def make_plan(
    task: Task, tasks: Mapping[str, Task], given: Mapping[str, str], gather: Gatherer
) -> Plan:
    """All runs that `task` asks for with the parameters `given`; `tasks` is what `needed` found.

    A task that is needed gets the parameters that it declares under the same names; two items that need
    the same work share it. Raises ProblemsError.
    """
    planner = _Planner(tasks, gather)
    await planner.items_of(task, given)
    return Plan(task, tasks, tuple(planner.items.values()))


_Key = tuple[str, tuple[tuple[str, Value], ...]]


class _Planner:
    def __init__(self, tasks: Mapping[str, Task], gather: Gatherer) -> None:
        self._tasks = tasks
        self._gather = gather
        self._values: dict[_Key, Values] = {}
        self.items: dict[_Key, Item] = {}

    async def items_of(self, task: Task, given: Mapping[str, str]) -> tuple[int, ...]:
        """The numbers of the items of `task` for these parameters, in the matrix's order."""
        return tuple(
            [await self._item(task, bound) for bound in expand(task, given, await self._axes(task, given))]
        )

    async def _item(self, task: Task, bound: Mapping[str, Value]) -> int:
        key = (task.name, tuple(bound.items()))
        if key not in self.items:
            needs = {need.input: await self._handed(task, need, bound) for need in task.needs}
            if len(self.items) == MAX_ITEMS:
                message = f"this would take more than {MAX_ITEMS:,} runs"
                raise ProblemsError([Problem(task.source, 0, 0, message)])
            self.items[key] = Item(len(self.items) + 1, task.name, bound, needs)
        return self.items[key].number

    async def _handed(self, task: Task, need: Need, bound: Mapping[str, Value]) -> tuple[int, ...]:
        other = self._tasks[need.task]
        given = {one.name: as_text(bound[one.name]) for one in other.params if one.name in bound}
        try:
            return await self.items_of(other, given)
        except ProblemsError as error:
            problems = (_told(one, task, need) for one in error.problems)
            raise ProblemsError(problems) from None

    async def _axes(self, task: Task, given: Mapping[str, str]) -> Values:
        matrix = task.matrix
        if matrix is None:
            return {}
        stated = {axis.param: axis.values for axis in matrix.axes if axis.source is None}
        if len(stated) == len(matrix.axes):
            return stated
        names = {axis.param for axis in matrix.axes}
        bound = bind_params(task, given, later={*names, *(name for row in matrix.include for name in row)})
        free = {name: value for name, value in bound.items() if name not in names}
        key = (task.name, tuple(free.items()))
        if key not in self._values:
            texts = {name: as_text(value) for name, value in free.items()}
            self._values[key] = stated | dict(await self._gather(task, texts))
        return self._values[key]


def _told(problem: Problem, task: Task, need: Need) -> Problem:
    """A mistake in what a need is handed, at the place where it is needed."""
    if problem.source != "-p":
        return problem
    hint = problem.hint or f"'{need.task}' gets the parameters that both tasks declare"
    return Problem(task.source, need.line, need.column, f"'{need.task}': {problem.message}", hint)
