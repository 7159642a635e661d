"""A table as one web page: nothing in it is loaded, run or sent.

The page holds no script, and its content-security policy would let none run; its one style sheet is named
there by its digest, so that no text in the page can bring another.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files

from meshclaw.reports.cells import html_text
from meshclaw.reports.figures import HEADINGS, LEGEND, UNKNOWN, figures, shown_cost, shown_key
from meshclaw.reports.table import Row, Table

OUTCOMES = ("accepted", "unchecked", "pending", "rejected", "failed", "skipped", "running")
MAX_PROBLEMS = 20


def to_html(table: Table, now: datetime) -> str:
    """A whole page of UTF-8; `now` is when it was made, and knows its zone."""
    style = files("meshclaw.reports").joinpath("page.css").read_text("utf-8")
    title = f"What was spent, by {', '.join(table.by)}"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(style)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            '<meta name="generator" content="MeshClaw">',
            f"<title>{html_text(title)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            "<main>",
            f"<h1>{html_text(title)}</h1>",
            f'<p class="when">{html_text(_when(table, now))}</p>',
            *_sums(table.totals),
            *_outcomes(table.totals),
            *_problems(table),
            *_sheet(table),
            *_notes(),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _policy(style: str) -> str:
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _when(table: Table, now: datetime) -> str:
    def moment(when: datetime) -> str:
        return f"{when:%Y-%m-%d %H:%M}"

    since = f"from {moment(table.since)}" if table.since else "from the first entry"
    until = f"until {moment(table.until)}" if table.until else "until now"
    return f"{since} {until}, made {moment(now)} {now:%Z}".rstrip()


def _sums(totals: Row) -> Iterator[str]:
    shown = dict(zip(HEADINGS, figures(totals), strict=True))
    sums = {
        "cost": shown_cost(totals),
        "runs": shown["runs"],
        "accepted": shown["accepted"],
        "calls": shown["calls"],
        "tokens in": shown["in"],
        "tokens cached": shown["cached"],
        "tokens out": shown["out"],
    }
    yield '<dl class="sums">'
    for name, figure in sums.items():
        yield f"<div><dt>{html_text(name)}</dt><dd>{html_text(figure)}</dd></div>"
    yield "</dl>"


def _outcomes(totals: Row) -> Iterator[str]:
    """What became of the runs, as one bar and in words."""
    counts = {name: getattr(totals, name) for name in OUTCOMES if getattr(totals, name)}
    if not counts:
        return
    yield '<section class="outcomes" aria-label="What became of the runs">'
    yield '<svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
    place = 0.0
    for name, count in counts.items():
        width = 100 * count / totals.runs
        yield f'<rect class="{name}" x="{place:.3f}" width="{width:.3f}" height="1"/>'
        place += width
    yield "</svg>"
    yield "<ul>"
    for name, count in counts.items():
        mark = f'<rect class="{name}" width="1" height="1"/>'
        yield f'<li><svg viewBox="0 0 1 1" aria-hidden="true">{mark}</svg>{count:,} {name}</li>'
    yield "</ul>"
    yield "</section>"


def _problems(table: Table) -> Iterator[str]:
    if not table.problem_count:
        return
    more = table.problem_count - len(table.problems[:MAX_PROBLEMS])
    lines = [*map(str, table.problems[:MAX_PROBLEMS]), *([f"{more} more"] if more else [])]
    yield '<section class="problems"><p>Not everything in the ledger is as it should be.</p><ul>'
    yield from (f"<li>{html_text(line)}</li>" for line in lines)
    yield "</ul></section>"


def _sheet(table: Table) -> Iterator[str]:
    most = max((row.cost_nusd or 0 for row in table.rows), default=0)
    yield '<div class="sheet">'
    yield "<table>"
    yield "<thead><tr>"
    yield from (f'<th class="key" scope="col">{html_text(name)}</th>' for name in table.by)
    yield from (f'<th scope="col">{html_text(name)}</th>' for name in HEADINGS)
    yield "</tr></thead>"
    yield "<tbody>"
    for row in table.rows:
        keys = [
            f'<td class="key" title="{html_text(key or "")}">{html_text(shown_key(name, key))}</td>'
            for name, key in zip(table.by, row.keys, strict=True)
        ]
        yield f"<tr>{''.join([*keys, *_cells(row, most)])}</tr>"
    yield "</tbody>"
    empty = '<td class="key"></td>' * (len(table.by) - 1)
    yield f'<tfoot><tr><td class="key">total</td>{empty}{"".join(_cells(table.totals, 0))}</tr></tfoot>'
    yield "</table>"
    yield "</div>"


def _cells(row: Row, most: int) -> Iterator[str]:
    *counts, cost = figures(row)
    for figure in counts:
        kind = {"0": ' class="zero"', UNKNOWN: ' class="unknown"'}.get(figure, "")
        yield f"<td{kind}>{html_text(figure)}</td>"
    yield f'<td class="cost">{html_text(cost)}{_bar(row.cost_nusd or 0, most)}</td>'


def _bar(part: int, most: int) -> str:
    if not part or not most:
        return ""
    rect = f'<rect width="{100 * part / most:.2f}" height="1"/>'
    return f'<svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">{rect}</svg>'


def _notes() -> Iterator[str]:
    yield '<dl class="notes">'
    for mark, text in LEGEND.items():
        yield f"<div><dt>{html_text(mark)}</dt><dd>{html_text(text)}</dd></div>"
    yield "</dl>"
