"""Reads nodes of a task file by the table of fields, collecting every Problem on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any

from meshclaw import schemas, units
from meshclaw.documents import Node
from meshclaw.errors import Problem
from meshclaw.frozen import dataclass
from meshclaw.tasks.fields import COMING, SIZE, Field

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_TAIL_LINES = re.compile(r"(.+?)\s+lines?\Z")


@dataclass(frozen=True, slots=True)
class Tail:
    """What `tail:` keeps: the last so many lines, or bytes."""

    lines: int | None = None
    bytes: int | None = None


class Reader:
    """Turns nodes into values. What is wrong becomes a Problem and gives None."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[Problem] = []

    def problem(self, node: Node, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.source, node.line, node.column, message, hint))

    def problem_at(self, place: tuple[int, int], message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.source, *place, message, hint))

    def table(self, node: Node, fields: Mapping[str, Field], what: str) -> dict[str, Any]:
        """The values of a mapping's known keys; those that are wrong are left out."""
        if node.kind != "map":
            hint = "write {} for one without details" if node.value is None else ""
            self.problem(node, f"{what} must be a mapping of keys to values, not {described(node)}", hint)
            return {}
        values: dict[str, Any] = {}
        for key, item in node.items():
            if key not in fields:
                self._unknown(node, key, fields)
                continue
            value = self.value(item, fields[key], key)
            if value is not None:
                values[key] = value
        for key, one in fields.items():
            if one.required and node.get(key) is None:
                self.problem(node, f"'{key}' is missing", one.description)
        return values

    def value(self, node: Node, one: Field, key: str) -> Any:
        """One value by its kind, or None with a Problem."""
        match one.kind:
            case "table":
                return self.table(node, one.fields, f"'{key}'")
            case "named" | "inputs":
                return self._named(node, one, key)
            case "texts" | "scalars":
                return self._list(node, one, key)
            case "schema":
                return self._schema(node, key)
            case "ladder":
                return self._ladder(node, key)
            case "checks":
                return self._checks(node, key)
            case "sizes":
                return self._sizes(node, key)
            case "nothing":
                return self._nothing(node, key)
            case "matrix":
                return self._map(node, key)
            case _:
                return self._scalar(node, one, key)

    def beneath(self, place: tuple[int, int], path: str, key: str, hint: str) -> None:
        """A Problem unless `path`, which `key` says, can be one beneath the project."""
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\0" in path:
            self.problem_at(place, f"'{key}' leads out of the project: '{path}'", hint)
        elif not pure.name.strip():
            self.problem_at(place, f"'{key}' names no file: '{path}'", hint)

    def _unknown(self, node: Node, key: str, fields: Mapping[str, Field]) -> None:
        place = node.key_place(key)
        if key in COMING:
            self.problem_at(place, f"'{key}' is not supported by this version")
            return
        close = get_close_matches(key, list(fields), n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(fields)}"
        self.problem_at(place, f"unknown key '{key}'", hint)

    def _named(self, node: Node, one: Field, key: str) -> dict[str, tuple[Node, Any]] | None:
        if node.kind != "map":
            self.problem(node, f"'{key}' must map names to their declarations, not be {described(node)}")
            return None
        named: dict[str, tuple[Node, Any]] = {}
        for name, item in node.items():
            if not NAME.match(name):
                hint = "use letters, digits and _, and start with a letter"
                self.problem_at(node.key_place(name), f"'{name}' cannot be a name", hint)
            elif one.kind == "inputs" and item.kind == "scalar" and item.text == "stdin":
                named[name] = (item, {"stdin": True})
            elif one.kind == "inputs" and item.kind != "map":
                hint = 'write {file: app.log}, {glob: "src/*.py"}, {command: git diff} or stdin'
                self.problem(item, f"input '{name}' cannot be {described(item)}", hint)
            else:
                named[name] = (item, self.table(item, one.fields, f"'{name}'"))
        return named

    def _list(self, node: Node, one: Field, key: str) -> list[Any] | None:
        if node.kind != "list":
            self.problem(node, f"'{key}' must be a list, not {described(node)}", f"write {key}: [...]")
            return None
        if one.kind == "scalars" and not node.value:
            self.problem(node, f"'{key}' is empty")
        read = self._text if one.kind == "texts" else self._plain
        items = [read(item, f"an item of '{key}'") for item in node.value]
        for item, text in zip(node.value, items, strict=True):
            # What has no value yet is a mistake of another kind.
            if isinstance(text, str) and "{{" not in text and (wrong := one.wrong(text)):
                self.problem(item, f"'{text}' can never match: {wrong}")
        return [item for item in items if item is not None]

    def _ladder(self, node: Node, key: str) -> list[str] | None:
        if node.kind != "list":
            text = self._text(node, f"'{key}'")
            return None if text is None else [text]
        if not node.value:
            self.problem(node, f"'{key}' is empty")
            return None
        names = [self._text(item, f"an item of '{key}'") for item in node.value]
        return None if None in names else [name for name in names if name is not None]

    def _map(self, node: Node, key: str) -> Node | None:
        if node.kind == "map":
            return node
        hint = f"write {key}: {{name: [...]}}"
        self.problem(node, f"'{key}' must map parameters to their values, not be {described(node)}", hint)
        return None

    def _schema(self, node: Node, key: str) -> dict[str, Any] | None:
        wrong = schemas.check_schema(node.data())
        if wrong is not None:
            self.problem(node, f"'{key}' is not a JSON Schema: {wrong}")
            return None
        schema: dict[str, Any] = node.data()
        return schema

    def _checks(self, node: Node, key: str) -> list[Node] | None:
        if node.kind != "list":
            hint = "begin each check with '- '"
            self.problem(node, f"'{key}' must be a list of checks, not {described(node)}", hint)
            return None
        if not node.value:
            self.problem(node, f"'{key}' is empty")
        items: list[Node] = node.value
        return items

    def _sizes(self, node: Node, key: str) -> dict[str, dict[str, Any]] | None:
        if node.kind == "list":
            paths = (self._text(item, f"an item of '{key}'") for item in node.value)
            return {path: {} for path in paths if path is not None}
        if node.kind == "map":
            return {path: self.table(item, SIZE, f"'{path}'") for path, item in node.items()}
        hint = "write files: [...] or files: {NAME: {min: 1 KB}}"
        self.problem(node, f"'{key}' must be a list of files, not {described(node)}", hint)
        return None

    def _nothing(self, node: Node, key: str) -> None:
        if node.kind != "scalar" or node.value is not None:
            self.problem(node, f"'{key}' stands alone, without {described(node)}", f"write - {key}")

    def _scalar(self, node: Node, one: Field, key: str) -> Any:
        if one.kind in ("text", "choice"):
            text = self._text(node, f"'{key}'")
            if text is not None and one.choices and text not in one.choices:
                close = get_close_matches(text, one.choices, n=1)
                known = f"one of {', '.join(one.choices)}"
                self.problem(
                    node, f"'{key}' cannot be '{text}'", f"did you mean '{close[0]}'?" if close else known
                )
                return None
            return text
        if one.kind == "bool":
            return self._bool(node, key)
        if one.kind == "scalar":
            return self._plain(node, f"'{key}'")
        return self._with_unit(node, _PARSERS[one.kind], key)

    def _with_unit(self, node: Node, parse: Callable[[str], Any], key: str) -> Any:
        if node.kind != "scalar" or not node.text:
            self.problem(node, f"'{key}' must be a quantity, not {described(node)}")
            return None
        try:
            value = parse(node.text)
        except ValueError as error:
            self.problem(node, f"'{key}': {error}")
            return None
        if (value.lines or value.bytes or 0 if isinstance(value, Tail) else value) <= 0:
            self.problem(node, f"'{key}' must be more than 0, not {node.text}")
            return None
        return value

    def _text(self, node: Node, what: str) -> str | None:
        if node.kind == "scalar" and isinstance(node.value, str):
            return node.value
        hint = meant(node, "string") if node.kind == "scalar" and node.text else ""
        self.problem(node, f"{what} must be text, not {described(node)}", hint)
        return None

    def _plain(self, node: Node, what: str) -> str | int | float | bool | None:
        if node.kind == "scalar" and node.value is not None:
            value: str | int | float | bool = node.value
            return value
        self.problem(node, f"{what} must be text, a number, true or false, not {described(node)}")
        return None

    def _bool(self, node: Node, key: str) -> bool | None:
        if node.kind == "scalar" and isinstance(node.value, bool):
            return node.value
        self.problem(node, f"'{key}' must be true or false, not {described(node)}", meant(node, "boolean"))
        return None


def meant(node: Node, kind: str) -> str:
    """A hint for a scalar that is not of a parameter's type: what to write instead."""
    if kind == "string":
        return f"quote it: '{node.text}'"
    words = {"yes": "true", "on": "true", "no": "false", "off": "false"}
    plain = words.get(node.text.lower()) if kind == "boolean" else units.plainly(node.text)
    if plain is not None and node.kind == "scalar":
        return f"write {plain}: '{node.text}' is text here"
    return "write true or false" if kind == "boolean" else ""


def described(node: Node) -> str:
    """A node in a few words, with the offending text."""
    if node.kind == "list":
        return "a list"
    if node.kind == "map":
        return "a mapping"
    if node.value is None:
        return "nothing"
    kinds = {bool: "true or false", int: "a number", float: "a number"}
    shown = node.text if len(node.text) <= 40 else f"{node.text[:40]}..."
    kind = kinds.get(type(node.value), "the text")
    return f"{kind} '{shown}'" if kind != "true or false" else f"'{shown}'"


def _parse_tail(text: str) -> Tail:
    lines = _TAIL_LINES.match(text.strip())
    if lines:
        return Tail(lines=units.parse_count(lines[1]))
    try:
        return Tail(bytes=units.parse_bytes(text))
    except ValueError:
        raise ValueError(f"'{text}' is neither lines nor a size: write 2000 lines or 64 KB") from None


_PARSERS: dict[str, Callable[[str], Any]] = {
    "count": units.parse_count,
    "bytes": units.parse_bytes,
    "duration": units.parse_duration,
    "usd": units.parse_usd,
    "tail": _parse_tail,
}
