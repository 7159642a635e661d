"""How a proposed command is shown: every character of it, so that what is seen is what would be done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshclaw.cli.output import display_width
from meshclaw.cli.words import shorten
from meshclaw.shell_syntax import SyntaxProblem, parse_command_line, quote_if_needed
from meshclaw.terminal_text import clean
from meshclaw.trust import is_hidden, visible

GUTTER, WRAPPED = "  | ", "  : "
"""Before each line of a command, and before what continues one: no command can pass for words of ours."""
OUTPUT = "  > "
"""Before each line of what a command wrote."""


def in_full(command: str) -> str:
    """The command with nothing left out, on as many lines as it has.

    A word with characters that a terminal would obey or nobody would see is written `$'...'`, with escapes,
    as bash reads it.
    """
    parsed = parse_command_line(command)
    return visible(command) if isinstance(parsed, SyntaxProblem) else parsed.written(_word)


def in_short(command: str, width: int = 100) -> str:
    """On one line, cut off at `width`: to say which command is meant."""
    return shorten(in_full(command), width)


def see(record: Mapping[str, Any]) -> str:
    """The commands that show a run's proposals and do them."""
    run = record["run"]
    return f"`meshclaw runs proposals {run}` shows them, `meshclaw runs perform {run}` does them"


def framed(command: str, width: int | None) -> Iterator[str]:
    """The lines of `in_full` behind a gutter, at most `width` columns wide; None: as long as they are."""
    return _rows(in_full(command), width, GUTTER, WRAPPED)


def framed_output(text: str, width: int | None) -> Iterator[str]:
    """The same of what a command wrote, cleaned."""
    return _rows(clean(text), width, OUTPUT, OUTPUT)


def _rows(text: str, width: int | None, first: str, further: str) -> Iterator[str]:
    for line in text.split("\n"):
        before = first
        for piece in _pieces(line, None if width is None else max(width - len(first), 20)):
            yield before + piece
            before = further


def _pieces(line: str, width: int | None) -> Iterator[str]:
    """`line` in pieces of at most `width` columns: a terminal that wraps would leave the gutter out."""
    if width is None or display_width(line) <= width:
        yield line
        return
    piece, used = "", 0
    for char in line:
        columns = display_width(char)
        if used + columns > width:
            yield piece
            piece, used = "", 0
        piece += char
        used += columns
    yield piece


def _word(word: str) -> str:
    if not any(char != "\n" and is_hidden(char) for char in word):
        return quote_if_needed(word)
    return "$'" + "".join(map(_escaped, word)) + "'"


def _escaped(char: str) -> str:
    if char in "\\'":
        return f"\\{char}"
    if char != "\n" and not is_hidden(char):
        return char
    code = ord(char)
    return {"\n": "\\n", "\t": "\\t"}.get(char) or (
        f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )
