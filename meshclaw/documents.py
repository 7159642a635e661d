"""YAML in, plain data with positions out: safe, bounded, and never guessing.

A restricted YAML: one document; no aliases, anchors, tags or merge keys; no duplicate keys. Plain
scalars become `true`/`false`, `null`, decimal whole numbers and decimal fractions, as in JSON; every
other plain scalar is text as written (`no`, `012`, `22:22`, `0x1f`, `2026-11-23`).
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from meshclaw.errors import Problem, ProblemsError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 10_000

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
_FRACTION = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?\Z")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
MAX_DIGITS = 40
"""A longer number stays text: nobody counts that far, and converting it would take long."""


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands (1-based). `value` is a scalar, a list of Nodes, or a dict of them.

    `text` is a scalar as written; `plain` says that it stood without quotes. `block_column` is the
    column at which the lines of a literal block (`|`) begin, 0 for any other scalar. `keys` are the
    positions of a mapping's keys.
    """

    kind: Literal["scalar", "list", "map"]
    value: Any
    line: int
    column: int
    text: str = ""
    plain: bool = False
    block_column: int = 0
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)

    def data(self) -> Any:
        """Plain data: dicts, lists, str, int, float, bool, None."""
        if self.kind == "map":
            return {key: node.data() for key, node in self.value.items()}
        if self.kind == "list":
            return [node.data() for node in self.value]
        return self.value

    def items(self) -> Iterator[tuple[str, Node]]:
        """A mapping's keys and values, in their order; nothing for anything else."""
        if self.kind == "map":
            yield from self.value.items()

    def get(self, key: str) -> Node | None:
        """A mapping's value, or None."""
        return self.value.get(key) if self.kind == "map" else None

    def key_place(self, key: str) -> tuple[int, int]:
        """Line and column of a mapping's key."""
        return self.keys[key]


def read_file(path: Path) -> bytes:
    """A file's bytes for `parse`; of a longer one MAX_BYTES + 1, which `parse` refuses.

    Never waits for somebody to write: raises OSError for what is no plain file, such as a FIFO or a link
    to a terminal. The null device is an empty file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(found.st_mode) and not os.path.samestat(found, Path(os.devnull).stat()):
            raise OSError(errno.EINVAL, "it is not a plain file")
        return file.read(MAX_BYTES + 1)


def parse(data: bytes, source: str, problems: list[Problem] | None = None) -> Node:
    """Reads one document; an empty one is an empty mapping.

    Raises ProblemsError. Mistakes that leave the rest readable (duplicate keys, of which the first
    counts) are added to `problems` instead, when it is given.
    """
    reader = _Reader(source)
    root = reader.read(data)
    if problems is not None:
        problems += reader.problems
    elif reader.problems:
        raise ProblemsError(reader.problems)
    return root


class _Reader:
    def __init__(self, source: str) -> None:
        self._source = source
        self._nodes = 0
        self.problems: list[Problem] = []
        self._lines: list[str] = []

    def read(self, data: bytes) -> Node:
        import yaml

        self._lines = (text := self._decode(data)).splitlines()
        # The C parser is ten times faster; both give the same events for what is accepted here.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            events = yaml.parse(text, Loader=loader)
            root = self._document(events, yaml)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self._fail(
                line, column, f"this is not YAML: {error.problem or error.context}", _hint(error.problem)
            )
        except yaml.YAMLError as error:
            self._fail(1, 1, f"this is not YAML: {error}")
        except RecursionError:
            self._fail(1, 1, f"nested deeper than {MAX_DEPTH} levels")
        return root

    def _decode(self, data: bytes) -> str:
        if len(data) > MAX_BYTES:
            self._fail(1, 1, f"the file has {len(data)} bytes; at most {MAX_BYTES} are read")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
            self._fail(line, column, "the file is not UTF-8")
        found = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
        if found:
            line = text.count("\n", 0, found.start()) + 1
            column = found.start() - (text.rfind("\n", 0, found.start()) + 1) + 1
            self._fail(
                line, column, f"control character U+{ord(found[0]):04X}", "remove it or write it escaped"
            )
        return text

    def _document(self, events: Any, yaml: Any) -> Node:
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self._fail_at(event, "a second document", "one file holds one document")
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, events, yaml, 1)
        return root or Node("map", {}, 1, 1)

    def _node(self, event: Any, events: Any, yaml: Any, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._fail_at(event, f"more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            self._fail_at(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            self._fail_at(event, f"alias '*{event.anchor}'", "write the value out: aliases are not read")
        if event.anchor is not None:
            self._fail_at(event, f"anchor '&{event.anchor}'", "anchors and aliases are not read")
        if event.tag not in (None, "!"):
            self._fail_at(event, f"tag '{event.tag}'", "tags are not read; quote text that starts with '!'")
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, yaml.ScalarEvent):
            plain = event.style in (None, "")
            value = plain_value(event.value) if plain else event.value
            block = self._block_column(event) if event.style == "|" else 0
            return Node("scalar", value, line, column, event.value, plain, block)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                items.append(self._node(event, events, yaml, depth + 1))
            return Node("list", items, line, column)
        return self._mapping(line, column, events, yaml, depth)

    def _mapping(self, line: int, column: int, events: Any, yaml: Any, depth: int) -> Node:
        entries: dict[str, Node] = {}
        places: dict[str, tuple[int, int]] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._node(event, events, yaml, depth + 1)
            if key.kind != "scalar":
                hint = "quote text that begins with '{' or '['"
                self._fail(key.line, key.column, "a key must be plain text", hint)
            if key.plain and key.text == "<<":
                self._fail(
                    key.line, key.column, "merge key '<<'", "write the values out: merge keys are not read"
                )
            value = self._node(next(events), events, yaml, depth + 1)
            if key.text in entries:
                first = places[key.text][0]
                problem = f"duplicate key '{key.text}'"
                hint = f"it is already set in line {first}"
                self.problems.append(Problem(self._source, key.line, key.column, problem, hint))
                continue
            entries[key.text] = value
            places[key.text] = (key.line, key.column)
        return Node("map", entries, line, column, keys=places)

    def _block_column(self, event: Any) -> int:
        """The first line with text tells: what it has lost on its left is the indentation."""
        first = next((line for line in event.value.split("\n") if line.strip()), "")
        for line in self._lines[event.start_mark.line + 1 : event.end_mark.line + 1]:
            if line.strip():
                return len(line) - len(first) + 1
        return 0

    def _fail_at(self, event: Any, message: str, hint: str = "") -> None:
        self._fail(event.start_mark.line + 1, event.start_mark.column + 1, message, hint)

    def _fail(self, line: int, column: int, message: str, hint: str = "") -> None:
        raise ProblemsError([*self.problems, Problem(self._source, line, column, message, hint)])


def plain_value(text: str) -> str | int | float | bool | None:
    """What text without quotes means: as in JSON, or else the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > MAX_DIGITS:
        return text
    if _INTEGER.match(text):
        return int(text)
    if _FRACTION.match(text):
        number = float(text)
        return number if number - number == 0 else text
    return text


def _hint(problem: str | None) -> str:
    if problem and "cannot start any token" in problem:
        return "quote the text; tabs cannot indent"
    if problem and "mapping values are not allowed" in problem:
        return "quote text that holds ': '"
    if problem and "nesting depth" in problem:
        return f"nested deeper than {MAX_DEPTH} levels"
    return ""
