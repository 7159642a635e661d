"""Views of the ledger."""

from meshclaw.reports.render import to_csv, to_json
from meshclaw.reports.table import KEYS, Row, Table, report
from meshclaw.reports.when import parse_when

__all__ = ["KEYS", "Row", "Table", "parse_when", "report", "to_csv", "to_json"]
