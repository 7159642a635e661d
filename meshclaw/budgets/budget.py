"""Limits, and how those of several people combine."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from meshclaw.frozen import dataclass

BATCH_USD = Decimal(10)
"""Most US dollars of all runs of one batch, unless somebody says otherwise: ten runs at their own limit."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits: US dollars, tokens (all buckets but cache reads), steps, seconds. None is no limit.

    `usd_stated` says that a person wrote the dollar limit: only then is an unpriced model refused.
    """

    usd: Decimal | None = Decimal(1)
    tokens: int | None = 500_000
    steps: int | None = 50
    time: float | None = 1_800.0
    usd_stated: bool = False

    def narrowed(self, other: Budget) -> Budget:
        """The smaller of both, limit by limit."""
        return Budget(
            usd=_least(self.usd, other.usd),
            tokens=_least(self.tokens, other.tokens),
            steps=_least(self.steps, other.steps),
            time=_least(self.time, other.time),
            usd_stated=self.usd_stated or other.usd_stated,
        )


NO_LIMITS = Budget(None, None, None, None)


def _least(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else min(a, b)
