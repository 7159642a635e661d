"""Limits of a run, and the reservations that keep its calls inside them.

A call is paid for in two steps: its upper bound is reserved before it leaves, and what it really took
is settled when it ends. What is reserved is not available to anybody else, so calls side by side
cannot pass a limit together.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from meshclaw.errors import BudgetError
from meshclaw.messages import MINIMUM_MAX_OUTPUT
from meshclaw.usage import Usage

NANO_PER_USD = Decimal(10) ** 9


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


@dataclass(slots=True)
class Reservation:
    """What one call may take at most: tokens of every bucket, and nano-dollars (None: no price)."""

    tokens: int
    cost_nusd: int | None
    max_output: int
    open: bool = True


class BudgetMeter:
    """Counts one run's calls and steps against its Budget. For one event loop; not thread-safe.

    Money is counted in integer nano-dollars. A call of unknown cost is charged its whole reservation.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.steps = 0
        self.over_reserve = False
        self._limit_nusd = None if budget.usd is None else int(budget.usd * NANO_PER_USD)
        self._spent_nusd = 0
        self._spent_tokens = 0
        self._reserved_nusd = 0
        self._reserved_tokens = 0
        self._told = 0.0

    @property
    def spent_nusd(self) -> int:
        """Settled and charged so far, in nano-dollars."""
        return self._spent_nusd

    @property
    def spent_tokens(self) -> int:
        """Settled and charged so far, in tokens (cache reads are not counted)."""
        return self._spent_tokens

    def step(self) -> None:
        """Counts one step. Raises BudgetError when the limit is already used up."""
        limit = self.budget.steps
        if limit is not None and self.steps >= limit:
            raise BudgetError("steps", f"the limit of {limit} steps is used up", hint=_raise_hint("steps"))
        self.steps += 1

    def reserve(self, input_tokens: int, max_output: int, prices: CallBound) -> Reservation:
        """Sets aside what a call may take at most, with a smaller output limit if only that fits.

        `prices.bound(input_tokens, output_tokens)` gives the cost in nano-dollars or None. Raises
        BudgetError when not even MINIMUM_MAX_OUTPUT tokens of output fit, when the limit in USD was
        stated by a person and the model has no price, or after a call that passed its bound.
        """
        if self.over_reserve:
            raise BudgetError("reserve", "a call took more than its bound, so no further call is made")
        floor = min(MINIMUM_MAX_OUTPUT, max_output)
        output = self._fit_tokens(input_tokens, max_output, floor)
        cost = prices.bound(input_tokens, output)
        if cost is None:
            if self.budget.usd_stated and self._limit_nusd is not None:
                raise BudgetError(
                    "usd",
                    "the model has no known price, so a limit in USD cannot be kept",
                    hint="state its price in the operator's settings, or limit tokens instead",
                )
        elif self._limit_nusd is not None:
            output, cost = self._fit_usd(input_tokens, output, floor, cost, prices)
        tokens = input_tokens + output
        self._reserved_tokens += tokens
        self._reserved_nusd += cost or 0
        return Reservation(tokens, cost, output)

    def settle(self, reservation: Reservation, usage: Usage | None, cost_nusd: int | None) -> bool:
        """Replaces a reservation by what the call took; an unknown takes the whole reservation.

        Returns True when the call took more than was reserved; `over_reserve` then stays set.
        Raises ValueError when the reservation was settled before.
        """
        if not reservation.open:
            raise ValueError("this reservation was settled before")
        reservation.open = False
        self._reserved_tokens -= reservation.tokens
        self._reserved_nusd -= reservation.cost_nusd or 0
        total = None if usage is None else usage.total
        over = total is not None and total > reservation.tokens
        if total is None or usage is None:
            self._spent_tokens += reservation.tokens
        else:
            self._spent_tokens += total - (usage.cache_read or 0)
        if cost_nusd is None:
            self._spent_nusd += reservation.cost_nusd or 0
        else:
            self._spent_nusd += cost_nusd
            over = over or (reservation.cost_nusd is not None and cost_nusd > reservation.cost_nusd)
        self.over_reserve = self.over_reserve or over
        return over

    def used(self) -> float:
        """The largest share of any limit used so far: 0.0 is nothing, 1.0 all of it."""
        shares = [0.0]
        if self._limit_nusd:
            shares.append(self._spent_nusd / self._limit_nusd)
        if self.budget.tokens:
            shares.append(self._spent_tokens / self.budget.tokens)
        if self.budget.steps:
            shares.append(self.steps / self.budget.steps)
        return max(shares)

    def warning(self) -> str | None:
        """What the model should be told now: once at 80 % and once at 95 %, else None."""
        share = self.used()
        for threshold, advice in ((0.95, "Give your final answer now."), (0.80, "Finish soon.")):
            if share >= threshold:
                if self._told >= threshold:
                    return None
                self._told = threshold
                return f"{share:.0%} of this run's budget is used. {advice}"
        return None

    def _fit_tokens(self, input_tokens: int, max_output: int, floor: int) -> int:
        if self.budget.tokens is None:
            return max_output
        left = self.budget.tokens - self._spent_tokens - self._reserved_tokens - input_tokens
        if left < floor:
            raise BudgetError(
                "tokens",
                f"the next call could take {input_tokens + floor} tokens, {max(left + input_tokens, 0)}"
                f" of {self.budget.tokens} are left",
                hint=_raise_hint("tokens"),
            )
        return min(max_output, left)

    def _fit_usd(
        self, input_tokens: int, output: int, floor: int, cost: int, prices: CallBound
    ) -> tuple[int, int]:
        assert self._limit_nusd is not None
        left = self._limit_nusd - self._spent_nusd - self._reserved_nusd
        if cost <= left:
            return output, cost
        least = prices.bound(input_tokens, floor) or 0
        if least > left:
            raise BudgetError(
                "usd",
                f"the next call could cost ${least / 1e9:.4f}, ${max(left, 0) / 1e9:.4f}"
                f" of ${self.budget.usd} is left",
                hint=_raise_hint("usd"),
            )
        # The bound grows linearly with the output limit, so the largest that fits is found directly.
        per_token = Decimal(cost - least) / max(output - floor, 1)
        fitting = floor + int((left - least) / per_token) if per_token else output
        fitting = max(floor, min(output, fitting))
        bound = prices.bound(input_tokens, fitting) or 0
        return (fitting, bound) if bound <= left else (floor, least)


class CallBound(Protocol):
    """Tells the most that a call can cost."""

    def bound(self, input_tokens: int, output_tokens: int) -> int | None:
        """Nano-dollars, or None when the model has no price."""
        ...


def _least(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else min(a, b)


def _raise_hint(limit: str) -> str:
    return f"raise it with --budget {limit}=... or in the task's budget"
