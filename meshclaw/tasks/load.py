"""A task file's bytes -> Task, or all of its Problems at once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from meshclaw.budgets import Budget
from meshclaw.documents import Node, parse, read_file
from meshclaw.errors import Problem, ProblemsError
from meshclaw.tasks.acceptance import read_acceptance
from meshclaw.tasks.branches import template_fault
from meshclaw.tasks.fields import TASK
from meshclaw.tasks.matrix import read_matrix, read_needs
from meshclaw.tasks.model import Allow, Input, InputKind, Need, Output, Param, Task
from meshclaw.tasks.names import check_names
from meshclaw.tasks.params import as_text, convert, is_of
from meshclaw.tasks.proposing import check_propose
from meshclaw.tasks.values import Reader, Tail, meant

INPUT_KINDS: tuple[InputKind, ...] = ("file", "glob", "command", "stdin")
DEFAULT_INPUT_BYTES = 1_000_000
MAX_ATTEMPTS = 20
_NAMED = {"params": "a parameter", "inputs": "an input"}


def load_task(
    path: Path, source: str, *, tools: Sequence[str], runners: Sequence[str], checks: Sequence[str]
) -> Task:
    """Reads the task file at `path`; `source` is how Problems name it. Raises ProblemsError."""
    try:
        data = read_file(path)
    except OSError as error:
        raise ProblemsError([Problem(source, 0, 0, f"cannot be read: {error.strerror}")]) from None
    return parse_task(data, source, path.stem, tools=tools, runners=runners, checks=checks, path=path)


def parse_task(
    data: bytes,
    source: str,
    name: str,
    *,
    tools: Sequence[str],
    runners: Sequence[str],
    checks: Sequence[str],
    path: Path | None = None,
) -> Task:
    """A Task called `name` from a file's bytes. `tools`, `runners` and `checks` are the names that exist.

    Raises ProblemsError with every Problem of the file, sorted by place.
    """
    reader = Reader(source)
    root = parse(data, source, reader.problems)
    values = reader.table(root, TASK, "a task")
    builder = _Builder(reader, root, values)
    task = builder.build(name, tools, runners, checks)
    check_names(reader, root)
    check_propose(reader, root)
    if reader.problems:
        raise ProblemsError(reader.problems)
    digest = hashlib.sha256(data).hexdigest()
    return replace(task, source=source, path=path, text=data.decode(), digest=digest)


class _Builder:
    """The checks that need more than one value."""

    def __init__(self, reader: Reader, root: Node, values: Mapping[str, Any]) -> None:
        self._reader = reader
        self._root = root
        self._values = values
        self._stdin: str | None = None
        """The input that takes standard input; there is only one."""

    def build(self, name: str, tools: Sequence[str], runners: Sequence[str], checks: Sequence[str]) -> Task:
        values = self._values
        runner = values.get("runner", "agent")
        self._known("runner", [runner], runners, "runner")
        self._known("tools", values.get("tools", []), tools, "tool")
        if runner == "prompt" and values.get("tools"):
            self._complain(
                "tools", "'runner: prompt' has no tools", "leave out tools, or use runner: agent"
            )
        for key in ("prompt", "accept_risk", "branch"):
            if not values.get(key, "x").strip():
                self._complain(key, f"'{key}' is empty")
        model, *stronger = self._models()
        budget = values.get("budget", {})
        params = tuple(self._param(name, *found) for name, found in values.get("params", {}).items())
        return Task(
            name=name,
            prompt=values.get("prompt", ""),
            description=values.get("description", ""),
            model=model,
            stronger=tuple(stronger),
            attempts=self._attempts(1 + len(stronger)),
            **self._copy(),
            protect=_optional(values.get("protect")),
            reuse=values.get("reuse"),
            effort=values.get("effort"),
            runner=runner,
            params=params,
            inputs=tuple(self._input(name, *found) for name, found in values.get("inputs", {}).items()),
            system=values.get("system", ""),
            tools=tuple(dict.fromkeys(values.get("tools", []))),
            allow=Allow(**{key: tuple(items) for key, items in values.get("allow", {}).items()}),
            propose=tuple(dict.fromkeys(values.get("propose", []))),
            accept_risk=values.get("accept_risk"),
            output=self._output(values.get("output", {})),
            budget=Budget(
                usd=budget.get("usd"),
                tokens=budget.get("tokens"),
                steps=budget.get("steps"),
                time=budget.get("time"),
                usd_stated="usd" in budget,
            ),
            max_output=values.get("max_output"),
            accept=read_acceptance(self._reader, self._root, checks),
            matrix=read_matrix(self._reader, values["matrix"], params) if "matrix" in values else None,
            needs=self._needs(name),
        )

    def _models(self) -> list[str]:
        models: list[str] = self._values.get("model", ["default"])
        if any(not name.strip() for name in models):
            self._complain("model", "'model' is empty")
        return models

    def _attempts(self, models: int) -> int:
        attempts: int = self._values.get("attempts", models)
        if attempts < models:
            message = f"with 'attempts: {attempts}' not all of the {models} models are ever asked"
            self._complain("attempts", message, "raise attempts, or name fewer models")
        if attempts > MAX_ATTEMPTS:
            self._complain("attempts", f"'attempts' can be at most {MAX_ATTEMPTS}")
        return attempts

    def _copy(self) -> dict[str, Any]:
        """The keys that only mean something for work in a copy."""
        values = self._values
        isolate = values.get("isolate", "none")
        for key in ("include_dirty", "share", "branch"):
            if key in values and isolate != "copy":
                self._complain(key, f"'{key}' goes with 'isolate: copy' only", "add isolate: copy")
        branch = values.get("branch", "")
        if branch.strip() and (fault := template_fault(branch)):
            self._complain("branch", f"no branch can be called '{branch}': {fault}")
        node = self._root.get("share")
        for item in _scalars(node) if "share" in values else ():
            hint = "only files and folders of the project can be shared with its copy"
            self._reader.beneath((item.line, item.column), item.text, "share", hint)
        return {
            "isolate": isolate,
            "include_dirty": values.get("include_dirty", False),
            "share": _optional(values.get("share")),
            "branch": branch or None,
        }

    def _needs(self, name: str) -> tuple[Need, ...]:
        node = self._root.get("needs")
        if node is None or "needs" not in self._values:
            return ()
        names = {one: what for key, what in _NAMED.items() for one in self._values.get(key, {})}
        return read_needs(self._reader, node, name, names)

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
            wrong = [item for item in _scalars(node.get(key)) if not is_of(param.type, item.value)]
            for item in wrong:
                message = f"'{key}' of '{name}' is not of type {param.type}: '{item.text}'"
                self._reader.problem(item, message, meant(item, param.type))
            if wrong:
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
            hint = "use a path beneath the project; --input NAME=FILE can name any file"
            place = node.get(kind) or node
            self._reader.beneath((place.line, place.column), value, kind, hint)
        if kind == "command" and not value.strip():
            self._reader.problem(node.get(kind) or node, "'command' is empty")
        if kind == "stdin":
            if self._stdin is not None:
                self._reader.problem(node, f"standard input already goes to '{self._stdin}'")
            self._stdin = name
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
            hint = "use a path beneath the project"
            self._reader.beneath((place.line, place.column), file, "file", hint)
        return Output(file, values.get("schema"))

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


def _optional(items: list[str] | None) -> tuple[str, ...] | None:
    return None if items is None else tuple(items)


def _scalars(node: Node | None) -> list[Node]:
    """A value, or the values of a list, as far as they are some."""
    if node is None:
        return []
    items = node.value if node.kind == "list" else [node]
    return [item for item in items if item.kind == "scalar" and item.value is not None]
