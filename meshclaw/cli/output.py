"""Standard output and standard error: what goes where, and how it looks.

Standard output carries results and nothing else, standard error the rest. Everything passes through
`terminal_text.clean` on its way to a terminal, and through the redactor wherever it goes.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from typing import TYPE_CHECKING, TextIO

from meshclaw.cli.privacy import redactor
from meshclaw.errors import WorkError
from meshclaw.terminal_text import clean

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

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


def shown(text: str, *, multiline: bool = True) -> str:
    """`text` as a person may see it: nothing that a terminal obeys, nothing hidden, no secret.

    Cleaned first: a secret that invisible characters take apart would come together on the screen.
    """
    return redactor().words(clean(text, multiline=multiline))


def emit(text: str) -> None:
    """Writes to standard output what people read: cleaned and redacted.

    Adds the newline that a last line lacks. Raises PipeClosed when nobody reads any more, WorkError
    when it cannot be written for another reason: closed, or on a full disk.
    """
    emit_formatted(shown(text))


def emit_exact(text: str) -> None:
    """As `emit`, for a result or a path: into a pipe it goes as it is, but for secrets."""
    emit_formatted(shown(text) if is_terminal(sys.stdout) else redactor().words(text))


def emit_formatted(text: str) -> None:
    """As `emit`, for JSON and the like, made of redacted data: redacting the whole could break its form."""
    if is_terminal(sys.stdout):
        text = clean(text)
    _write(text if text.endswith("\n") or not text else text + "\n")


def emit_bytes(data: bytes) -> None:
    """Writes to standard output exactly these bytes: not for a terminal. Raises as `emit` does."""
    _write(data)


def emit_styled(lines: Iterable[tuple[str, str]]) -> None:
    """Writes lines to standard output, each cleaned, and in its style where there are colours."""
    plain = not colours(sys.stdout)
    cleaned = ((shown(text, multiline=False), style) for text, style in lines)
    styled = (text if plain or not style else f"\x1b[{style}m{text}\x1b[0m" for text, style in cleaned)
    _write("\n".join(styled))


def emit_rich(renderable: RenderableType, narrowest: Callable[[Console], int] | None = None) -> None:
    """Renders to standard output: in colour into a terminal, plain and unwrapped into a pipe.

    A terminal with fewer columns than `narrowest` says has to wrap the lines.
    """
    from rich.console import Console

    target = StringIO()
    terminal = is_terminal(sys.stdout)
    width = None if terminal else 10_000
    console = Console(
        file=target, force_terminal=terminal, width=width, highlight=False, soft_wrap=not terminal
    )
    if narrowest:
        console.width = max(console.width, narrowest(console))
    console.print(renderable)
    lines = target.getvalue().split("\n")
    _write("\n".join(line.rstrip(" ") for line in lines))


def _write(output: str | bytes) -> None:
    try:
        if isinstance(output, bytes):
            sys.stdout.buffer.write(output)
        else:
            sys.stdout.write(_encodable(output, sys.stdout))
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
        raise PipeClosed from None
    except (OSError, ValueError, AttributeError) as error:
        silence(sys.stdout)
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is closed"
        raise WorkError(
            f"cannot write to standard output: {reason}",
            hint="`meshclaw runs show last` has a run's result",
        ) from None


def say(text: str, style: str = "", *, exact: bool = False) -> None:
    """One message on standard error, cleaned; a standard error that is gone is no reason to fail.

    `exact` leaves what only looks like a key, for what a person is to judge: nothing can hide as one.
    """
    text = redactor().known(clean(text)) if exact else shown(text)
    if style and colours(sys.stderr):
        text = f"\x1b[{style}m{text}\x1b[0m"
    _write_error(text)


def say_error(message: str, hint: str = "") -> None:
    """`error: ...` and, on a line of its own, the hint."""
    label = "\x1b[31;1merror:\x1b[0m" if colours(sys.stderr) else "error:"
    lines = [f"{label} {shown(message)}"]
    if hint:
        lines.append(f"  hint: {shown(hint)}")
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
    cells = [[shown(cell, multiline=False) for cell in row] for row in rows]
    if is_terminal(sys.stdout):
        table = _rich_table(headings, cells, right, footer, keep)
        emit_rich(table, lambda console: _narrowest(table, console))
        return
    for line in aligned([list(headings), *cells, *([list(footer)] if footer else [])], right):
        _write(line + "\n")


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows as lines of text, in columns; `right` are those aligned to the right."""
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            " " * (width - display_width(cell)) + cell
            if index in right
            else cell + " " * (width - display_width(cell))
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _rich_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[int],
    footer: Sequence[str],
    keep: Sequence[int],
) -> Table:
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
            min_width=longest[index] if index in keep or index in right else min(8, longest[index]),
            no_wrap=index in keep or index in right,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _narrowest(table: Table, console: Console) -> int:
    """The width below which a column would lose characters: half a figure is a wrong figure."""
    options = console.options.update_width(10_000)
    wide = console.measure(table, options=options).maximum
    longest = sum(
        max(display_width(str(cell)) for cell in (column.header, column.footer, *column.cells))
        for column in table.columns
    )
    return wide - longest + sum(column.min_width or 0 for column in table.columns)


def display_width(text: str) -> int:
    """Columns that `text` takes in a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
