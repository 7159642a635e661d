"""Standard output and standard error: what goes where, and how it looks.

Standard output carries results and nothing else, standard error the rest. Everything that did not come
from this program passes through `terminal_text.clean` on its way to a terminal.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any, TextIO

from meshclaw.terminal_text import clean

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

RED, YELLOW, BOLD, DIM = "31;1", "33", "1", "2"


class PipeClosed(Exception):
    """Whoever read our standard output has gone."""


def is_terminal(stream: TextIO | None) -> bool:
    """A closed or missing stream is no terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def watched() -> bool:
    """A person can be asked: they see standard error and answer on standard input."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def emit(text: str) -> None:
    """Writes to standard output, exactly as given into a pipe, cleaned into a terminal.

    Adds the newline that a last line lacks. Raises PipeClosed when nobody reads any more.
    """
    if is_terminal(sys.stdout):
        text = clean(text)
    _write(text if text.endswith("\n") or not text else text + "\n")


def emit_rich(renderable: RenderableType) -> None:
    """Renders to standard output: in colour into a terminal, plain and unwrapped into a pipe."""
    from rich.console import Console

    target = StringIO()
    terminal = is_terminal(sys.stdout)
    width = None if terminal else 10_000
    Console(
        file=target, force_terminal=terminal, width=width, highlight=False, soft_wrap=not terminal
    ).print(renderable)
    lines = target.getvalue().split("\n")
    _write("\n".join(line.rstrip(" ") for line in lines))


def _write(text: str) -> None:
    try:
        sys.stdout.write(_encodable(text, sys.stdout))
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
        raise PipeClosed from None


def say(text: str, style: str = "") -> None:
    """One message on standard error, cleaned; a standard error that is gone is no reason to fail."""
    text = clean(text)
    if style and colours(sys.stderr):
        text = f"\x1b[{style}m{text}\x1b[0m"
    _write_error(text)


def say_error(message: str, hint: str = "") -> None:
    """`error: ...` and, on a line of its own, the hint."""
    label = "\x1b[31;1merror:\x1b[0m" if colours(sys.stderr) else "error:"
    lines = [f"{label} {clean(message)}"]
    if hint:
        lines.append(f"  hint: {clean(hint)}")
    _write_error("\n".join(lines))


def _write_error(text: str) -> None:
    try:
        sys.stderr.write(_encodable(text + "\n", sys.stderr))
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        silence(sys.stderr)


def colours(stream: TextIO | None) -> bool:
    """A terminal that has colours, and a user who has not said NO_COLOR (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def silence(stream: TextIO | None) -> None:
    """Points a broken stream at the null device, so that the interpreter's last flush cannot fail."""
    try:
        if stream is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):
        pass


def _encodable(text: str, stream: TextIO) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def stderr_console() -> Console:
    """For live views and progress bars. Data reaches it as `rich.text.Text`, never as markup."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def emit_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    footer: Sequence[str] = (),
    keep: Sequence[int] = (0,),
) -> None:
    """A table on standard output: fitted into a terminal, aligned and whole in a pipe.

    `right` are the columns aligned to the right, `keep` those that a narrow terminal may not shorten.
    """
    cells = [[clean(cell, multiline=False) for cell in row] for row in rows]
    if is_terminal(sys.stdout):
        emit_rich(_rich_table(headings, cells, right, footer, keep))
        return
    lines = [list(headings), *cells, *([list(footer)] if footer else [])]
    widths = [max(map(display_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (
            " " * (width - display_width(cell)) + cell
            if index in right
            else cell + " " * (width - display_width(cell))
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        _write("  ".join(padded).rstrip() + "\n")


def _rich_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[int],
    footer: Sequence[str],
    keep: Sequence[int],
) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        show_footer=bool(footer),
        header_style="bold",
    )
    longest = [max(map(display_width, column)) for column in zip(headings, *rows, strict=True)]
    for index, heading in enumerate(headings):
        table.add_column(
            heading,
            footer=Text(footer[index]) if footer else "",
            justify="right" if index in right else "left",
            min_width=None if index in keep or index in right else min(8, longest[index]),
            no_wrap=index in keep or index in right,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def display_width(text: str) -> int:
    """Columns that `text` takes in a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
