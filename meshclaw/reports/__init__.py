"""Views of the ledger."""

from meshclaw.reports.figures import HEADINGS, figures, shown_key
from meshclaw.reports.markdown import to_markdown
from meshclaw.reports.page import to_html
from meshclaw.reports.render import to_csv, to_json
from meshclaw.reports.table import KEYS, Row, Table, report
from meshclaw.reports.when import parse_when

__all__ = [
    "HEADINGS",
    "KEYS",
    "Row",
    "Table",
    "figures",
    "parse_when",
    "report",
    "shown_key",
    "to_csv",
    "to_html",
    "to_json",
    "to_markdown",
]
