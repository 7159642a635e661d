"""Limits of a run, and the reservations that keep parallel calls inside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from meshclaw.errors import BudgetError
from meshclaw.usage import Usage

NANO = Decimal(10) ** 9


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

        def least(a: T | None, b: T | None) -> T | None:
            return b if a is None else a if b is None else min(a, b)

        return Budget(
            usd=least(self.usd, other.usd),
            tokens=least(self.tokens, other.tokens),
            steps=least(self.steps, other.steps),
            time=least(self.time, other.time),
            usd_stated=self.usd_stated or other.usd_stated,
        )
