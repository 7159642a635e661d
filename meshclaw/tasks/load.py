"""A task file's bytes -> Task, or all of its Problems at once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from meshclaw.budgets import Budget
from meshclaw.documents import MAX_BYTES, Node, parse
from meshclaw.errors import Problem, ProblemsError
from meshclaw.tasks.fields import TASK
from meshclaw.tasks.model import Allow, Input, InputKind, Output, Param, Task
from meshclaw.tasks.names import check_names
from meshclaw.tasks.params import as_text, convert
from meshclaw.tasks.values import Reader, Tail

INPUT_KINDS: tuple[InputKind, ...] = ("file", "glob", "command", "stdin")
DEFAULT_INPUT_BYTES = 1_000_000


def load_task(path: Path, source: str, *, tools: Sequence[str], runners: Sequence[str]) -> Task:
    """Reads the task file at `path`; `source` is how Problems name it. Raises ProblemsError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ProblemsError([Problem(source, 0, 0, f"cannot be read: {error.strerror}")]) from None
    return parse_task(data, source, path.stem, tools=tools, runners=runners, path=path)


def parse_task(
    data: bytes,
    source: str,
    name: str,
    *,
    tools: Sequence[str],
    runners: Sequence[str],
    path: Path | None = None,
) -> Task:
    """A Task called `name` from a file's bytes. `tools` and `runners` are the names that exist.

    Raises ProblemsError with every Problem of the file, sorted by place.
    """
    reader = Reader(source)
    root = parse(data, source, reader.problems)
    values = reader.table(root, TASK, "a task")
    builder = _Builder(reader, root, values)
    task = builder.build(name, tools, runners)
    check_names(reader, root, task)
    if reader.problems:
        raise ProblemsError(reader.problems)
    return Task(
        **{key: getattr(task, key) for key in task.__slots__ if key not in ("digest", "path", "source")},
        source=source,
        path=path,
        digest=hashlib.sha256(data).hexdigest(),
    )


class _Builder:
    """The checks that need more than one value."""

    def __init__(self, reader: Reader, root: Node, values: Mapping[str, Any]) -> None:
        self._reader = reader
        self._root = root
        self._values = values

    def build(self, name: str, tools: Sequence[str], runners: Sequence[str]) -> Task:
        values = self._values
        runner = values.get("runner", "agent")
        self._known("runner", [runner], runners, "runner")
        self._known("tools", values.get("tools", []), tools, "tool")
        if runner == "prompt" and values.get("tools"):
            self._complain(
                "tools", "'runner: prompt' has no tools", "leave out tools, or use runner: agent"
            )
        if not values.get("prompt", "x").strip():
            self._complain("prompt", "'prompt' is empty")
        budget = values.get("budget", {})
        return Task(
            name=name,
            prompt=values.get("prompt", ""),
            description=values.get("description", ""),
            model=values.get("model", "default"),
            effort=values.get("effort"),
            runner=runner,
            params=tuple(self._param(name, *found) for name, found in values.get("params", {}).items()),
            inputs=tuple(self._input(name, *found) for name, found in values.get("inputs", {}).items()),
            system=values.get("system", ""),
            tools=tuple(dict.fromkeys(values.get("tools", []))),
            allow=Allow(**{key: tuple(items) for key, items in values.get("allow", {}).items()}),
            output=self._output(values.get("output", {})),
            budget=Budget(
                usd=budget.get("usd"),
                tokens=budget.get("tokens"),
                steps=budget.get("steps"),
                time=budget.get("time"),
                usd_stated="usd" in budget,
            ),
            max_output=values.get("max_output"),
        )

    def _param(self, name: str, node: Node, values: Mapping[str, Any]) -> Param:
        choices = tuple(values.get("choices", ()))
        param = Param(
            name,
            values.get("type", "string"),
            values.get("default"),
            choices,
            values.get("description", ""),
        )
        for key in ("default", "choices"):
            for value in _listed(values.get(key)):
                if not _is_of(param.type, value):
                    self._reader.problem(
                        node.get(key) or node, f"'{key}' of '{name}' is not of type {param.type}: {value!r}"
                    )
                    return Param(name, param.type, None, (), param.description)
        if param.default is not None and choices:
            try:
                convert(param, as_text(param.default))
            except ValueError as error:
                self._reader.problem(node.get("default") or node, f"'default' of '{name}': {error}")
        return param

    def _input(self, name: str, node: Node, values: Mapping[str, Any]) -> Input:
        stated = [kind for kind in INPUT_KINDS if kind in values]
        if len(stated) != 1:
            one_of = ", ".join(INPUT_KINDS)
            self._reader.problem(
                node, f"input '{name}' needs exactly one of {one_of}", "write log: {file: app.log}"
            )
            return Input(name, "stdin")
        kind = stated[0]
        if kind == "stdin" and values["stdin"] is False:
            self._reader.problem(node, f"input '{name}': stdin can only be true")
        value = "" if kind == "stdin" else values[kind]
        if kind in ("file", "glob"):
            self._beneath(node.get(kind) or node, value, kind)
        tail = values.get("tail", Tail())
        if kind == "glob" and "tail" in values:
            self._reader.problem(node.get("tail") or node, "'tail' does not go with 'glob'")
        return Input(
            name=name,
            kind=kind,
            value=value,
            trusted=values.get("trusted", False),
            optional=values.get("optional", False),
            tail_lines=tail.lines,
            tail_bytes=tail.bytes,
            max_bytes=values.get("max", DEFAULT_INPUT_BYTES),
        )

    def _output(self, values: Mapping[str, Any]) -> Output:
        file = values.get("file")
        if file is not None:
            node = self._root.get("output")
            place = (node.get("file") if node else None) or self._root
            self._beneath(place, file, "file")
        return Output(file, values.get("schema"))

    def _beneath(self, node: Node, path: str, key: str) -> None:
        pure = PurePosixPath(path)
        if not path.strip() or pure.is_absolute() or ".." in pure.parts or "\0" in path:
            hint = (
                "use a path beneath the project; --input NAME=FILE can name any file"
                if key != "output"
                else ""
            )
            self._reader.problem(node, f"'{key}' leads out of the project: '{path}'", hint)

    def _known(self, key: str, given: Sequence[str], known: Sequence[str], what: str) -> None:
        node = self._root.get(key)
        if node is None:
            return
        items = node.value if node.kind == "list" else [node]
        for item in items:
            if item.kind == "scalar" and item.text in given and item.text not in known:
                close = get_close_matches(item.text, list(known), n=1)
                hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}"
                self._reader.problem(item, f"unknown {what} '{item.text}'", hint)

    def _complain(self, key: str, message: str, hint: str = "") -> None:
        self._reader.problem(self._root.get(key) or self._root, message, hint)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else () if value is None else (value,)


def _is_of(kind: str, value: Any) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    return isinstance(value, {"string": str, "integer": int, "number": int | float}[kind])
