"""Binds the values given on the command line to a task's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from meshclaw.errors import Problem, ProblemsError
from meshclaw.tasks.model import Param, Task

Value = str | int | float | bool
_BOOLEANS = {"true": True, "false": False}


def bind_params(task: Task, given: Mapping[str, str]) -> dict[str, Value]:
    """A value for every parameter, in the task's order. Raises ProblemsError with all that is wrong."""
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
        try:
            bound[name] = convert(param, given[name]) if name in given else _default(param)
        except ValueError as error:
            problems.append(Problem("-p", 0, 0, f"parameter '{name}': {error}", param.description))
    if problems:
        raise ProblemsError(problems)
    return bound


def convert(param: Param, text: str) -> Value:
    """`text` as the parameter's type and one of its choices. Raises ValueError."""
    value: Value
    try:
        match param.type:
            case "integer":
                value = int(text)
            case "number":
                value = float(text)
            case "boolean":
                value = _BOOLEANS[text]
            case _:
                value = text
    except (ValueError, KeyError):
        expected = "true or false" if param.type == "boolean" else f"of type {param.type}"
        raise ValueError(f"'{text}' is not {expected}") from None
    if value != value:
        raise ValueError(f"'{text}' is not a number")
    if param.choices and value not in param.choices:
        raise ValueError(f"'{text}' is none of {', '.join(map(str, param.choices))}")
    return value


def as_text(value: Value) -> str:
    """A parameter's value as it stands in prompts and environment variables."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _default(param: Param) -> Value:
    if param.default is None:
        raise ValueError(f"must be given: -p {param.name}=...")
    return param.default
