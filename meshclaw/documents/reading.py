"""Reads one document. What the restricted YAML does not have is a Problem, and is read as if it had been
written without it, so that the rest of the file is checked in the same go."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from meshclaw.documents.node import Node, plain_value
from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 10_000
"""Values of a document. Those that aliases repeat count each time, as their text does towards MAX_BYTES."""
MAX_MISTAKES = 100
"""After so many the rest of a file is not read."""
MAX_SHOWN = 40
"""Characters of a name in a Problem."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
"""What YAML does not have; a class of what it has takes fifteen times as long to compile."""
_CONTROL_FIRST = re.compile(rf"^{_CONTROL.pattern}+", re.MULTILINE)
_DIRECTIVE = re.compile(r"^%[^\n]*", re.MULTILINE)
_COMPLEX_KEY = "a key must be plain text"
_TAGS = "tag:yaml.org,2002:"
_AS_WITHOUT = frozenset(_TAGS + kind for kind in ("int", "float", "bool", "null", "map", "seq"))
"""Tags of what a value without one would be as well; any other stands for text."""


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

    Raises ProblemsError. Mistakes that leave the rest readable are added to `problems` instead, when it is
    given: of a duplicate key the first counts, an alias stands for what its anchor has, a merge key for
    what it merges, a value with a tag for the value, a mapping with a mapping as its key for its text.
    """
    reader = _Reader(source)
    root = reader.read(data)
    if problems is not None:
        problems += reader.problems
    elif reader.problems:
        raise ProblemsError(reader.problems)
    return root


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an alias repeats: how many values and characters it has, and how deep it is nested."""

    node: Node
    nodes: int
    size: int
    height: int


class _Reader:
    def __init__(self, source: str) -> None:
        self._source = source
        self._nodes = 0
        self._size = 0
        self._deepest = 0
        self._anchored: dict[str, _Anchored] = {}
        self.problems: list[Problem] = []
        self._lines: list[str] = []

    def read(self, data: bytes) -> Node:
        import yaml

        text = self._decode(data)
        self._lines = text.splitlines()
        # The C parser is ten times faster; both give the same events for what is accepted here.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            events = yaml.parse(text, Loader=loader)
            root = self._document(events, yaml)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            last = self.problems[-1] if self.problems else None
            if last and last.message == _COMPLEX_KEY and last.line in (line, line - 1):
                # What stands behind it is no mistake of its own.
                raise ProblemsError(self.problems) from None
            problem = str(error.problem or error.context)
            self._fail(line, column, f"this is not YAML: {problem[:200]}", _hint(problem))
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
        for found in _CONTROL.finditer(text):
            message = f"control character U+{ord(found[0]):04X}"
            self._note(*_place(text, found.start()), message, "remove it or write it escaped")
        if self.problems:
            text = _CONTROL.sub(" ", _CONTROL_FIRST.sub("", text))
        for found in _DIRECTIVE.finditer(text):
            message = f"directive '{_shown(found[0].split(maxsplit=1)[0])}'"
            self._note(*_place(text, found.start()), message, "directives are not read: remove the line")
        return _DIRECTIVE.sub("#", text) if "%" in text else text

    def _document(self, events: Any, yaml: Any) -> Node:
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self._note_at(event, "a second document", "one file holds one document")
                    break
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, events, yaml, 1)
        return root or Node("map", {}, 1, 1)

    def _node(self, event: Any, events: Any, yaml: Any, depth: int) -> Node:
        self._count(event, 1, depth)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        if event.tag is not None:
            tag = _shown(event.tag.replace(_TAGS, "!!"))
            self._note_at(event, f"tag '{tag}'", "tags are not read; quote text that starts with '!'")
        if event.anchor is None:
            return self._content(event, events, yaml, depth)
        hint = "anchors are not read; quote text that begins with '&'"
        self._note_at(event, f"anchor '&{_shown(event.anchor)}'", hint)
        nodes, size, deepest, self._deepest = self._nodes, self._size, self._deepest, depth
        node = self._content(event, events, yaml, depth)
        self._anchored[event.anchor] = _Anchored(
            node, self._nodes - nodes, self._size - size, self._deepest - depth
        )
        self._deepest = max(deepest, self._deepest)
        return node

    def _alias(self, event: Any, depth: int) -> Node:
        """What the anchor has. It takes no time however large that is, but counts as if written out."""
        anchored = self._anchored.get(event.anchor)
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        message = f"alias '*{_shown(event.anchor)}'"
        if anchored is None:
            self._note(line, column, message, "aliases are not read; quote text that begins with '*'")
            text = f"*{event.anchor}"
            return Node("scalar", text, line, column, text, plain=True)
        self._note(line, column, message, "write the value out: aliases are not read")
        self._add(event, anchored.size)
        self._count(event, anchored.nodes, depth + anchored.height)
        return replace(anchored.node, line=line, column=column, block_column=0)

    def _content(self, event: Any, events: Any, yaml: Any, depth: int) -> Node:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, yaml.ScalarEvent):
            # What somebody gives a tag is meant as something else than it would be without one.
            plain = event.style in (None, "") and (event.tag is None or event.tag in _AS_WITHOUT)
            self._add(event, len(event.value))
            value = plain_value(event.value) if plain else event.value
            block = self._block_column(event) if event.style == "|" else 0
            return Node("scalar", value, line, column, event.value, plain, block)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                items.append(self._node(event, events, yaml, depth + 1))
            return Node("list", items, line, column)
        return self._mapping(event, events, yaml, depth)

    def _mapping(self, start: Any, events: Any, yaml: Any, depth: int) -> Node:
        line, column = start.start_mark.line + 1, start.start_mark.column + 1
        entries: dict[str, Node] = {}
        places: dict[str, tuple[int, int]] = {}
        merged: list[Node] = []
        text = False
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._node(event, events, yaml, depth + 1)
            place = event.start_mark.line + 1, event.start_mark.column + 1
            value = self._node(next(events), events, yaml, depth + 1)
            if key.kind != "scalar":
                self._note(*place, _COMPLEX_KEY, "quote text that begins with '{' or '['")
                text = bool(start.flow_style)
            elif isinstance(event, yaml.CollectionStartEvent):
                pass  # That was said within.
            elif key.plain and key.text == "<<":
                self._note(*place, "merge key '<<'", "write the values out: merge keys are not read")
                merged += value.value if value.kind == "list" else [value]
            elif key.text in entries:
                hint = f"it is already set in line {places[key.text][0]}"
                self._note(*place, f"duplicate key '{_shown(key.text)}'", hint)
            else:
                entries[key.text] = value
                places[key.text] = place
        if text:
            written = self._written(start.start_mark, event.end_mark)
            return Node("scalar", written, line, column, written, plain=True)
        for node in merged:
            for name, value in node.items():
                if name not in entries:
                    entries[name] = value
                    places[name] = node.key_place(name)
        return Node("map", entries, line, column, keys=places)

    def _written(self, start: Any, end: Any) -> str:
        lines = self._lines[start.line : end.line + 1]
        lines[-1] = lines[-1][: end.column]
        lines[0] = lines[0][start.column :]
        return " ".join(lines)

    def _block_column(self, event: Any) -> int:
        """The first line with text tells: what it has lost on its left is the indentation."""
        first = next((line for line in event.value.split("\n") if line.strip()), "")
        for line in self._lines[event.start_mark.line + 1 : event.end_mark.line + 1]:
            if line.strip():
                return len(line) - len(first) + 1
        return 0

    def _add(self, event: Any, size: int) -> None:
        self._size += size
        if self._size > MAX_BYTES:
            self._fail_at(event, f"more than {MAX_BYTES} characters, with its aliases written out")

    def _count(self, event: Any, nodes: int, depth: int) -> None:
        self._nodes += nodes
        self._deepest = max(self._deepest, depth)
        if self._nodes > MAX_NODES:
            self._fail_at(event, f"more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            self._fail_at(event, f"nested deeper than {MAX_DEPTH} levels")

    def _note_at(self, event: Any, message: str, hint: str) -> None:
        self._note(event.start_mark.line + 1, event.start_mark.column + 1, message, hint)

    def _note(self, line: int, column: int, message: str, hint: str) -> None:
        """A mistake that leaves the rest readable."""
        self.problems.append(Problem(self._source, line, column, message, hint))
        if len(self.problems) == MAX_MISTAKES:
            self._fail(line, column, f"{MAX_MISTAKES} mistakes: no more are looked for")

    def _fail_at(self, event: Any, message: str, hint: str = "") -> NoReturn:
        self._fail(event.start_mark.line + 1, event.start_mark.column + 1, message, hint)

    def _fail(self, line: int, column: int, message: str, hint: str = "") -> NoReturn:
        raise ProblemsError([*self.problems, Problem(self._source, line, column, message, hint)])


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1


def _shown(name: str) -> str:
    return name if len(name) <= MAX_SHOWN else f"{name[:MAX_SHOWN]}..."


def _hint(problem: str) -> str:
    if "cannot start any token" in problem:
        return "quote the text; tabs cannot indent"
    if "mapping values are not allowed" in problem:
        return "quote text that holds ': '"
    if "expected alphabetic or numeric character" in problem:
        return "quote text that begins with '*' or '&'"
    if "nesting depth" in problem:
        return f"nested deeper than {MAX_DEPTH} levels"
    return ""
