"""Binds the values given on the command line to a task's parameters."""

from __future__ import annotations

from collections.abc import Container, Mapping
from difflib import get_close_matches

from meshclaw.documents import plain_value
from meshclaw.errors import Problem, ProblemsError
from meshclaw.tasks.model import Param, Task, Value


def bind_params(task: Task, given: Mapping[str, str], *, later: Container[str] = ()) -> dict[str, Value]:
    """A value for every parameter, in the task's order; those of `later` that are not given are left out.

    Raises ProblemsError with all that is wrong.
    """
    problems: list[Problem] = []
    declared = {param.name: param for param in task.params}
    for name in given:
        if name not in declared:
            close = get_close_matches(name, list(declared), n=1)
            known = f"{task.name} takes {', '.join(declared)}" if declared else f"{task.name} takes none"
            hint = f"did you mean '{close[0]}'?" if close else known
            problems.append(Problem("-p", 0, 0, f"unknown parameter '{name}'", hint))
    bound: dict[str, Value] = {}
    for name, param in declared.items():
        if name in later and name not in given:
            continue
        try:
            bound[name] = convert(param, given[name]) if name in given else _default(param)
        except ValueError as error:
            problems.append(Problem("-p", 0, 0, f"parameter '{name}': {error}", param.description))
    if problems:
        raise ProblemsError(problems)
    return bound


def convert(param: Param, text: str) -> Value:
    """`text` as the parameter's type and one of its choices. Raises ValueError.

    Numbers and booleans are what they are in a task file: `012`, `inf` and `yes` are text.
    """
    value = text if param.type == "string" else plain_value(text)
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    if value is None or not is_of(param.type, value):
        expected = "true or false" if param.type == "boolean" else f"of type {param.type}"
        raise ValueError(f"'{shown}' is not {expected}")
    if param.type == "number":
        value = float(value)
    if param.choices and value not in param.choices:
        raise ValueError(f"'{shown}' is none of {', '.join(as_text(choice) for choice in param.choices)}")
    return value


def is_of(kind: str, value: Value) -> bool:
    """Whether `value` is of a parameter's type; a whole number is a number, true is not."""
    if kind == "boolean" or isinstance(value, bool):
        return kind == "boolean" and isinstance(value, bool)
    return isinstance(value, {"string": str, "integer": int, "number": int | float}[kind])


def as_text(value: Value) -> str:
    """A parameter's value as it stands in prompts and environment variables."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _default(param: Param) -> Value:
    if param.default is None:
        raise ValueError(f"must be given: -p {param.name}=...")
    return param.default
