"""Text as it reads when line breaks are taken out and escapes are undone, and where all of it came from."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cache

_ENCODED = (
    r"(?:[\r\n]|\\[rn])+[ \t]*"  # line breaks, also as JSON writes them, and the indentation behind them
    r"|%(?P<url>[0-9A-Fa-f]{2})"
    r"|\\u(?P<json>[0-9A-Fa-f]{4})"
    r"|\\x(?P<byte>[0-9A-Fa-f]{2})"
    r"|\\(?P<quoted>[!-/:-@\[-`{-~])"
    r"|&#(?P<decimal>[0-9]{1,6});|&#[xX](?P<hex>[0-9A-Fa-f]{1,5});|&(?P<name>amp|lt|gt|quot|apos);"
)
_NAMES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_MARKS = ("\n", "\\", "%", "&", "\r")
_OPEN = re.compile(
    r"(?:%[0-9A-Fa-f]?|\\(?:u[0-9A-Fa-f]{0,3}|x[0-9A-Fa-f]?)?|&(?:#[xX]?[0-9A-Fa-f]{0,6}|[a-z]{0,4}))\Z"
)
_LONGEST_ESCAPE = 9
ESCAPES = frozenset("%\\&#;")
"""What escapes are made of, besides letters and digits."""


def decode(text: str) -> str:
    """`text` without line breaks, its escapes undone once."""
    if not any(mark in text for mark in _MARKS):
        return text
    return _encoded().sub(_meaning, text)


def without_open_escape(text: str) -> int:
    """Where an escape begins that the text ends in the middle of; its length when there is none."""
    begin = max(len(text) - _LONGEST_ESCAPE, 0)
    found = _OPEN.search(text, begin)
    return found.start() if found else len(text)


class Origins:
    """Where the characters of `decode(text)` stand in `text`."""

    def __init__(self, text: str) -> None:
        self._decoded = [0]
        self._raw = [0]
        self._ends: dict[int, int] = {}
        for found in _encoded().finditer(text):
            place = self._decoded[-1] + found.start() - self._raw[-1]
            if _meaning(found):
                self._mark(place, found.start())
                self._ends[place] = found.end()
                place += 1
            self._mark(place, found.end())

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The part of the text that characters `start` to `end` were made from."""
        return self._start(start), self._ends.get(end - 1) or self._start(end - 1) + 1

    def start(self, place: int) -> int:
        """Where the character at `place` begins."""
        return self._start(place)

    def _mark(self, decoded: int, raw: int) -> None:
        self._decoded.append(decoded)
        self._raw.append(raw)

    def _start(self, place: int) -> int:
        last = bisect_right(self._decoded, place) - 1
        return self._raw[last] + place - self._decoded[last]


@cache
def _encoded() -> re.Pattern[str]:
    return re.compile(_ENCODED)


def _meaning(found: re.Match[str]) -> str:
    """One character, or nothing for a line break."""
    kind = found.lastgroup
    if kind is None:
        return ""
    value = found[kind]
    match kind:
        case "quoted":
            return value
        case "name":
            return _NAMES[value]
        case "decimal":
            return chr(int(value))
        case _:
            return chr(int(value, 16))
