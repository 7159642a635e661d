"""Tokens and money of a run while it happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshclaw.frozen import dataclass
from meshclaw.pricing import dollars, format_usd


@dataclass(slots=True)
class Tally:
    """Adds up settled calls. What is unknown of one makes its sum a lower bound, and no other."""

    calls: int = 0
    input: int = 0
    output: int = 0
    nusd: int = 0
    more_input: bool = False
    more_output: bool = False
    more_cost: bool = False

    def take(self, call: Mapping[str, Any]) -> None:
        """`call` is a `call` event's data."""
        usage = call["usage"]
        self.calls += 1
        self.input += usage["input_total"] or 0
        self.output += usage["output"] or 0
        self.nusd += call["cost_nusd"] or 0
        self.more_input |= usage["input_total"] is None
        # What broke off may have been counted in part only.
        self.more_output |= usage["output"] is None or call["status"] in ("error", "aborted")
        self.more_cost |= call["cost_nusd"] is None

    def words(self) -> list[str]:
        """`1,234 in`, `56 out`, `$0.0123`; a lower bound is marked."""
        return [
            f"{_mark(self.more_input)}{self.input:,} in",
            f"{_mark(self.more_output)}{self.output:,} out",
            self._money(),
        ]

    def _money(self) -> str:
        if self.nusd:
            return f"{_mark(self.more_cost)}{dollars(format_usd(self.nusd))}"
        return "cost unknown" if self.more_cost else "free" if self.calls else "$0"


def _mark(lower_bound: bool) -> str:
    return "\u2265" if lower_bound else ""
