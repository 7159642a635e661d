"""What a document is made of, and what text without quotes means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Any, Literal

from meshclaw.frozen import dataclass

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
