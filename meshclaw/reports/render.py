"""Tables for other programs: JSON and CSV."""

from __future__ import annotations

import csv
import json
from io import StringIO
from typing import Any

from meshclaw.pricing import format_usd
from meshclaw.reports.cells import csv_cell
from meshclaw.reports.table import Row, Table

COUNTS = (
    "runs",
    "accepted",
    "rejected",
    "unchecked",
    "pending",
    "failed",
    "skipped",
    "running",
    "calls",
    "in_flight",
    "possibly_billed",
    "input",
    "cache_read",
    "cache_write",
    "output",
    "reasoning",
    "total",
    "tokens_at_least",
)
COLUMNS = (*COUNTS, "cost_usd", "cost_state", "cost_at_least")
"""The columns after a table's keys, in order."""


def to_json(table: Table) -> str:
    """One JSON object, ASCII: `by`, `since`, `until`, `rows`, `totals`, `problems`, `in_order`.

    Where `in_order` is false the ledger was changed after it was written, and no figure is certain.
    `cost_usd` is an exact decimal string, or null when nothing is known. Keys are only ever added.
    """
    data = {
        "by": list(table.by),
        "since": table.since and table.since.isoformat(),
        "until": table.until and table.until.isoformat(),
        "rows": [dict(zip(table.by, row.keys, strict=True)) | _cells(row) for row in table.rows],
        "totals": _cells(table.totals),
        "problems": [str(problem) for problem in table.problems],
        "problem_count": table.problem_count,
        "in_order": table.in_order,
    }
    return json.dumps(data, indent=1)


def to_csv(table: Table) -> str:
    """A header and the rows (without the totals, so that a column can be added up); LF ends a line.

    Unknown is an empty cell. Text that a spreadsheet would take for a formula gets a leading quote.
    """
    target = StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow([*table.by, *COLUMNS])
    for row in table.rows:
        keys = ["" if key is None else csv_cell(key) for key in row.keys]
        writer.writerow([*keys, *map(_plain, _cells(row).values())])
    return target.getvalue()


def _cells(row: Row) -> dict[str, Any]:
    cells = {name: getattr(row, name) for name in COUNTS}
    return cells | {
        "cost_usd": format_usd(row.cost_nusd),
        "cost_state": row.cost_state,
        "cost_at_least": row.cost_at_least,
    }


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
