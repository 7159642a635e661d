"""Reads `matrix:` and `needs:`: what one task's file alone can show to be wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from meshclaw.documents import Node
from meshclaw.tasks.fields import AXIS, MATRIX
from meshclaw.tasks.model import Axis, Input, InputKind, Matrix, Need, Param, Value
from meshclaw.tasks.params import as_text, convert, is_of
from meshclaw.tasks.values import Reader, described, meant

MAX_AXIS_BYTES = 1_000_000
"""The most bytes that the file or command of an axis may give."""

_SOURCES: tuple[InputKind, ...] = ("file", "command")
_NEEDED = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


def read_matrix(reader: Reader, node: Node, params: Sequence[Param]) -> Matrix:
    """The matrix in a mapping; values are checked against the parameters they are for."""
    declared = {param.name: param for param in params}
    rows: dict[str, tuple[Mapping[str, Value], ...]] = {"include": (), "exclude": ()}
    axes: list[Axis] = []
    for key, one in node.items():
        if key in MATRIX:
            rows[key] = _rows(reader, one, key, declared)
        elif key not in declared:
            _unknown(reader, node, key, declared)
        else:
            axes.append(_axis(reader, one, declared[key], node.key_place(key)))
    if not node.value:
        reader.problem(node, "'matrix' is empty", "write matrix: {name: [...]}")
    elif "exclude" in node.keys and not axes:
        reader.problem_at(node.key_place("exclude"), "there are no axes to exclude something from")
    return Matrix(tuple(axes), **rows, line=node.line, column=node.column)


def read_needs(reader: Reader, node: Node, name: str, names: Mapping[str, str]) -> tuple[Need, ...]:
    """The needs in a list, of the task called `name`; `names` says what each name in use is already."""
    taken = {other.upper(): what for other, what in names.items()}
    needs: list[Need] = []
    for item in node.value if node.kind == "list" else ():
        if item.kind != "scalar" or not isinstance(item.value, str):
            continue
        task, own = item.value, item.value.replace("-", "_")
        if not _NEEDED.match(task):
            hint = "write the name of a task that consists of letters, digits, - and _"
            reader.problem(item, f"'{task}' cannot be needed", hint)
        elif task == name:
            reader.problem(item, f"'{task}' needs itself")
        elif any(need.task == task for need in needs):
            reader.problem(item, f"'{task}' is named twice")
        elif own.upper() in taken:
            hint = "give one of them another name"
            reader.problem(
                item, f"the result of '{task}' is called '{own}', as {taken[own.upper()]} is", hint
            )
        else:
            taken[own.upper()] = f"that of '{task}'"
            needs.append(Need(task, own, item.line, item.column))
    return tuple(needs)


def _axis(reader: Reader, node: Node, param: Param, place: tuple[int, int]) -> Axis:
    line, column = place
    if node.kind == "list":
        if not node.value:
            reader.problem(node, f"'{param.name}' has no values")
        values = (_value(reader, param, item) for item in node.value)
        return Axis(param.name, tuple(value for value in values if value is not None), None, line, column)
    if node.kind != "map":
        hint = f"write {param.name}: [...], {{file: list.txt}} or {{command: ls}}"
        reader.problem(node, f"'{param.name}' must be a list of values, not {described(node)}", hint)
        return Axis(param.name, (), None, line, column)
    stated = reader.table(node, AXIS, f"'{param.name}'")
    kinds = [kind for kind in _SOURCES if kind in stated]
    if len(kinds) != 1:
        hint = f"write {param.name}: {{file: list.txt}} or {{command: ls}}"
        reader.problem(node, f"'{param.name}' needs exactly one of file, command", hint)
        return Axis(param.name, (), None, line, column)
    kind = kinds[0]
    where = node.get(kind) or node
    if kind == "file":
        reader.beneath((where.line, where.column), stated[kind], kind, "use a path beneath the project")
    elif not stated[kind].strip():
        reader.problem(where, "'command' is empty")
    source = Input(
        param.name, kind, stated[kind], trusted=stated.get("trusted", False), max_bytes=MAX_AXIS_BYTES
    )
    return Axis(param.name, (), source, line, column)


def _rows(
    reader: Reader, node: Node, key: str, declared: Mapping[str, Param]
) -> tuple[Mapping[str, Value], ...]:
    if node.kind != "list" or not node.value:
        reader.problem(node, f"'{key}' must be a list of rows", f"write {key}: [{{name: value}}]")
        return ()
    rows: list[Mapping[str, Value]] = []
    for item in node.value:
        if item.kind != "map" or not item.value:
            hint = "write {name: value}"
            reader.problem(item, f"a row of '{key}' must map parameters to values", hint)
            continue
        row: dict[str, Value] = {}
        for name, one in item.items():
            if name not in declared:
                _unknown(reader, item, name, declared)
            elif (value := _value(reader, declared[name], one)) is not None:
                row[name] = value
        rows.append(row)
    return tuple(rows)


def _value(reader: Reader, param: Param, item: Node) -> Value | None:
    if item.kind != "scalar" or item.value is None:
        reader.problem(item, f"a value of '{param.name}' cannot be {described(item)}")
        return None
    if not is_of(param.type, item.value):
        message = f"a value of '{param.name}' is not of type {param.type}: '{item.text}'"
        reader.problem(item, message, meant(item, param.type))
        return None
    try:
        return convert(param, as_text(item.value))
    except ValueError as error:
        reader.problem(item, f"a value of '{param.name}': {error}")
        return None


def _unknown(reader: Reader, node: Node, name: str, declared: Mapping[str, Param]) -> None:
    close = get_close_matches(name, [*declared, *MATRIX], n=1)
    known = f"there are {', '.join(declared)}" if declared else "declare it in params"
    hint = f"did you mean '{close[0]}'?" if close else known
    reader.problem_at(node.key_place(name), f"'{name}' is no parameter", hint)
