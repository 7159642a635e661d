"""A task's matrix -> the parameters of every run that it asks for, in their order, each once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, product
from math import prod

from meshclaw.errors import Problem, ProblemsError
from meshclaw.tasks import Axis, Param, Task, Value, bind_params
from meshclaw.tasks.params import as_text, convert

MAX_ITEMS = 10_000
"""The most runs of one batch."""
MAX_VALUE = 4_096
"""The most characters of a value that a file or a command gives."""
_SHOWN = 20
"""The most Problems that are told of one file's or command's lines."""

Values = Mapping[str, Sequence[Value]]
Bound = dict[str, Value]


def axis_values(task: Task, axis: Axis, lines: Iterable[tuple[int, str]], file: str | None) -> list[Value]:
    """The values in the numbered lines that an axis was read from; `file` is None for a command's.

    Raises ProblemsError with the lines that are no value of the parameter.
    """
    param = next(one for one in task.params if one.name == axis.param)
    values: list[Value] = []
    problems: list[Problem] = []
    for number, line in lines:
        try:
            values.append(_read(param, line))
        except ValueError as error:
            if file is not None:
                problems.append(Problem(file, number, 1, f"no value of '{param.name}': {error}"))
            else:
                message = f"line {number} of the command's output is no value of '{param.name}': {error}"
                problems.append(Problem(task.source, axis.line, axis.column, message))
    if problems:
        raise ProblemsError(islice(problems, _SHOWN))
    return values


def expand(task: Task, given: Mapping[str, str], values: Values) -> list[Bound]:
    """The parameters of every run of `task`. Without a matrix that is one; with an empty one it is none.

    `given` are parameters as text: those of an axis leave only the items that have them, all others hold
    for every item. `values` are those of each axis. Raises ProblemsError: for a parameter that is unknown,
    wrong or missing, when `given` leaves nothing of what there is, and for more than MAX_ITEMS.
    """
    matrix = task.matrix
    if matrix is None:
        return [bind_params(task, given)]
    checked = bind_params(task, given, later=varying(task))
    fixed = {name: value for name, value in checked.items() if name in given}
    columns = {
        name: [value for value in values[name] if name not in fixed or value == fixed[name]]
        for name in (axis.param for axis in matrix.axes)
    }
    size = prod(map(len, columns.values())) if columns else 0
    if size > MAX_ITEMS:
        message = f"the matrix has {size:,} combinations; at most {MAX_ITEMS:,} are run at once"
        raise ProblemsError([Problem(task.source, matrix.line, matrix.column, message)])
    items = []
    for combination in product(*columns.values()) if columns else ():
        bound = _bind(task, given, dict(zip(columns, combination, strict=True)))
        if not any(_has(bound, row) for row in matrix.exclude):
            items.append(bound)
    items += [bound for bound in (_bind(task, given, row) for row in matrix.include) if _has(bound, fixed)]
    found = list({tuple(item.items()): item for item in items}.values())
    if not found and fixed and (matrix.include or all(values[axis.param] for axis in matrix.axes)):
        raise ProblemsError([_nothing_left(fixed, values)])
    return found


def varying(task: Task) -> tuple[str, ...]:
    """The parameters by which the items of a task's matrix differ."""
    if task.matrix is None:
        return ()
    names = [axis.param for axis in task.matrix.axes]
    return tuple(dict.fromkeys([*names, *(name for row in task.matrix.include for name in row)]))


def label(task: Task, params: Mapping[str, Value]) -> str:
    """An item in words: `service=api, level=3`; "" for the one of a task without a matrix."""
    return ", ".join(f"{name}={as_text(params[name])}" for name in varying(task))


def _read(param: Param, line: str) -> Value:
    if len(line) > MAX_VALUE:
        raise ValueError(f"it has {len(line):,} characters; at most {MAX_VALUE:,} are taken")
    if any(ord(char) < 32 and char != "\t" for char in line):
        raise ValueError("it holds a control character")
    return convert(param, line)


def _bind(task: Task, given: Mapping[str, str], row: Mapping[str, Value]) -> Bound:
    try:
        return bind_params(task, {**given, **{name: as_text(value) for name, value in row.items()}})
    except ProblemsError as error:
        matrix = task.matrix
        assert matrix is not None
        # What was given is right, so this is about a row that leaves a parameter open.
        where = ", ".join(f"{name}={as_text(value)}" for name, value in row.items())
        problems = (
            Problem(task.source, matrix.line, matrix.column, f"the item {where}: {one.message}", one.hint)
            for one in error.problems
        )
        raise ProblemsError(problems) from None


def _has(item: Mapping[str, Value], row: Mapping[str, Value]) -> bool:
    return all(item[name] == value for name, value in row.items())


def _nothing_left(fixed: Mapping[str, Value], values: Values) -> Problem:
    shown = ", ".join(f"{name}={as_text(value)}" for name, value in fixed.items())
    hints = []
    for name in fixed:
        column = list(dict.fromkeys(map(as_text, values.get(name, ()))))
        if column:
            more = f" and {len(column) - 10} more" if len(column) > 10 else ""
            hints.append(f"'{name}' is one of {', '.join(column[:10])}{more}")
    return Problem("-p", 0, 0, f"the matrix has no item with {shown}", "; ".join(hints))
