"""A table's figures as people read them: what is unknown is said, and never 0."""

from __future__ import annotations

from pathlib import Path

from meshclaw.pricing import dollars, format_usd
from meshclaw.reports.table import Key, Row

AT_LEAST = "\u2265"
UNCERTAIN = "~"
UNKNOWN = "?"
HEADINGS = (
    *("runs", "accepted", "unchecked", "failed", "calls"),
    *("in", "cached", "written", "out", "cost"),
)
LEGEND = {
    AT_LEAST: "a lower bound: something in it is unknown, and unknown is never counted as 0",
    UNCERTAIN: "not certain: the ledger was changed after it was written",
    UNKNOWN: "nothing is known of it",
    "unpriced": "calls of a model whose price is not known",
    "unchecked": "work that no check was stated for and nobody has judged",
    "failed": "work that ended badly or was rejected",
    "in, cached, written": "input tokens: neither read from nor written to a cache, read, written",
}
"""What the marks and headings mean."""


def shown_key(name: str, key: Key) -> str:
    """What a row is keyed by; of a project its folder's name."""
    if key is None:
        return UNKNOWN
    return Path(key).name or key if name == "project" else key


def figures(row: Row) -> list[str]:
    """One cell for each of HEADINGS."""
    mark = _mark(row, at_least=row.tokens_at_least)
    return [
        *(f"{count:,}" for count in (row.runs, row.accepted, row.unchecked)),
        f"{row.failed + row.rejected:,}",
        f"{row.calls:,}",
        *(_tokens(count, mark) for count in (row.input, row.cache_read, row.cache_write, row.output)),
        shown_cost(row),
    ]


def shown_cost(row: Row) -> str:
    if row.cost_nusd is None:
        return "unpriced" if row.cost_state == "unpriced" else UNKNOWN
    return _mark(row, at_least=row.cost_at_least) + dollars(format_usd(row.cost_nusd))


def _mark(row: Row, *, at_least: bool) -> str:
    return (AT_LEAST if at_least else "") if row.in_order else UNCERTAIN


def _tokens(count: int | None, mark: str) -> str:
    return UNKNOWN if count is None else f"{mark}{count:,}"
