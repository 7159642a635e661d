"""A table in Markdown, as GitHub and GitLab read it."""

from __future__ import annotations

from collections.abc import Sequence

from meshclaw.reports.cells import markdown_cell
from meshclaw.reports.figures import HEADINGS, figures, shown_key
from meshclaw.reports.table import Row, Table


def to_markdown(table: Table) -> str:
    """A pipe table with a last row of totals; LF ends a line. Text that others wrote stands as code."""
    blank = [""] * (len(table.by) - 1)
    lines = [
        [*table.by, *HEADINGS],
        [*["---"] * len(table.by), *["---:"] * len(HEADINGS)],
        *([*_keys(table.by, row), *figures(row)] for row in table.rows),
        ["**total**", *blank, *(f"**{figure}**" for figure in figures(table.totals))],
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _keys(by: Sequence[str], row: Row) -> list[str]:
    return [markdown_cell(shown_key(name, key)) for name, key in zip(by, row.keys, strict=True)]
