"""Reads `accept:`: each item is a kind of check, alone or with its argument and options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from meshclaw.documents import Node
from meshclaw.tasks.fields import CHECKS
from meshclaw.tasks.model import Acceptance
from meshclaw.tasks.values import Reader, described

_OPTIONS = frozenset(option for one in CHECKS.values() for option in one.fields)
"""No kind of check can have one of these names."""


def read_acceptance(reader: Reader, root: Node, known: Sequence[str]) -> tuple[Acceptance, ...]:
    """The items of `accept:`; those that are wrong are left out. `known` are the kinds that there are."""
    accept = root.get("accept")
    items = accept.value if accept is not None and accept.kind == "list" else []
    found = [_read(reader, item, known) for item in items]
    output = root.get("output")
    if output is None or output.get("schema") is None:
        for one in found:
            if one is not None and one.kind == "schema":
                hint = "state one: output: {schema: ...}"
                reader.problem_at((one.line, one.column), "'schema' without an output.schema", hint)
    return tuple(one for one in found if one is not None)


def _read(reader: Reader, item: Node, known: Sequence[str]) -> Acceptance | None:
    kind = _kind(reader, item, known)
    if kind is None:
        return None
    if item.kind == "scalar":
        return Acceptance(kind, None, {}, item.line, item.column)
    if kind not in CHECKS:
        values = item.data()
    else:
        values = reader.table(item, {kind: CHECKS[kind], **CHECKS[kind].fields}, f"'{kind}'")
        for place, path, key in _paths(item):
            reader.beneath(place, path, key, "use a path beneath the project")
        for key, value in values.items():
            if value in ([], {}) or (isinstance(value, str) and not value.strip()):
                reader.problem(item.get(key) or item, f"'{key}' is empty")
    return Acceptance(kind, values.pop(kind, None), values, item.line, item.column)


def _kind(reader: Reader, item: Node, known: Sequence[str]) -> str | None:
    """Which check an item is, or None with a Problem."""
    if item.kind == "map":
        kinds = [key for key in item.keys if key in known and key not in _OPTIONS]
        if len(kinds) == 1:
            return kinds[0]
        if kinds:
            message = f"'{kinds[1]}' is a second check in the item of '{kinds[0]}'"
            reader.problem_at(item.key_place(kinds[1]), message, "begin each check with '- '")
            return None
        named = [key for key in item.keys if key not in _OPTIONS]
        if named:
            _unknown(reader, item.key_place(named[0]), named[0], known)
            return None
    elif item.kind == "scalar" and isinstance(item.value, str):
        if item.text not in known:
            _unknown(reader, (item.line, item.column), item.text, known)
            return None
        if item.text in CHECKS and CHECKS[item.text].required:
            reader.problem(item, f"'{item.text}' needs more than its name", CHECKS[item.text].description)
            return None
        return item.text
    what = "names no check" if item.kind == "map" else f"must be a check, not {described(item)}"
    reader.problem(item, f"an item of 'accept' {what}", f"there are {', '.join(known)}")
    return None


def _unknown(reader: Reader, place: tuple[int, int], name: str, known: Sequence[str]) -> None:
    close = get_close_matches(name, known, n=1)
    first, _, rest = name.partition(" ")
    hint = f"there are {', '.join(known)}"
    if close:
        hint = f"did you mean '{close[0]}'?"
    elif first in known:
        hint = f"did you mean '{first}: {rest}'?"
    shown = name if len(name) <= 40 else f"{name[:40]}..."
    reader.problem_at(place, f"unknown check '{shown}'", hint)


def _paths(item: Node) -> Iterator[tuple[tuple[int, int], str, str]]:
    """What an item of a built-in kind says of the project's files: place, path or glob, and the key."""
    for key, node in item.items():
        if key in ("changed", "unchanged", "files", "in"):
            for name in node.keys:
                yield node.key_place(name), name, key
            for one in node.value if node.kind == "list" else [node]:
                if one.kind == "scalar" and isinstance(one.value, str) and one.value.strip():
                    yield (one.line, one.column), one.value, key


def texts_of(node: Node) -> Iterator[tuple[tuple[int, int], str]]:
    """Every text in a node with its place, keys included."""
    for name in node.keys:
        yield node.key_place(name), name
    inner: Any = node.value.values() if node.kind == "map" else node.value if node.kind == "list" else ()
    for one in inner:
        yield from texts_of(one)
    if node.kind == "scalar":
        yield (node.line, node.column), node.text
