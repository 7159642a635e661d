"""The reservations that keep a run's calls inside its limits.

A call is paid for in two steps: its upper bound is reserved before it leaves, and what it really took
is settled when it ends. What is reserved is not available to anybody else, so calls side by side
cannot pass a limit together, and neither can runs side by side that share a meter above theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Protocol

import anyio

from meshclaw.budgets.budget import Budget
from meshclaw.errors import BudgetError
from meshclaw.frozen import dataclass
from meshclaw.messages import MINIMUM_MAX_OUTPUT
from meshclaw.usage import Usage

NANO_PER_USD = Decimal(10) ** 9


@dataclass(slots=True)
class Reservation:
    """What one call may take at most: tokens of every bucket, and nano-dollars (None: no price)."""

    tokens: int
    cost_nusd: int | None
    max_output: int
    open: bool = True


class BudgetMeter:
    """Counts calls and steps against a Budget. For one event loop; not thread-safe.

    Money is counted in integer nano-dollars. A call of unknown cost is charged its whole reservation.
    What this meter counts its `parent` counts too, so nothing is reserved that the parent's limits have no
    room for. `whose` says in messages what the limits are those of. `refused` says that these limits had no
    room for something.
    """

    def __init__(self, budget: Budget, parent: BudgetMeter | None = None, *, whose: str = "run") -> None:
        self.budget = budget
        self.steps = 0
        self.over_reserve = False
        self.refused = False
        self._parent = parent
        self._whose = whose
        self._limit_nusd = None if budget.usd is None else int(budget.usd * NANO_PER_USD)
        self._spent_nusd = 0
        self._spent_tokens = 0
        self._reserved_nusd = 0
        self._reserved_tokens = 0
        self._told = 0.0
        self._freed: anyio.Event | None = None
        """Set when something is settled; made by who waits for that."""

    @property
    def spent_nusd(self) -> int:
        """Settled and charged so far, in nano-dollars."""
        return self._spent_nusd

    @property
    def held_nusd(self) -> int:
        """What was spent and what is reserved for calls under way: never more than the limit."""
        return self._spent_nusd + self._reserved_nusd

    @property
    def spent_tokens(self) -> int:
        """Settled and charged so far, in tokens (cache reads are not counted)."""
        return self._spent_tokens

    def step(self) -> None:
        """Counts one step. Raises BudgetError when the limit is already used up."""
        self._ask_all(BudgetMeter._check_step)
        for meter in self._upwards():
            meter.steps += 1

    def reserve(self, input_tokens: int, max_output: int, prices: CallBound) -> Reservation:
        """Sets aside what a call may take at most, with a smaller output limit if only that fits.

        `prices.bound(input_tokens, output_tokens)` gives the cost in nano-dollars or None. Raises
        BudgetError when not even MINIMUM_MAX_OUTPUT tokens of output fit, when the limit in USD was
        stated by a person and the model has no price, or after a call that passed its bound.
        """
        if self.over_reserve:
            raise BudgetError("reserve", "a call took more than its bound, so no further call is made")
        call = _Wanted(input_tokens, max_output, min(MINIMUM_MAX_OUTPUT, max_output), prices)
        self._ask_all(lambda meter: meter._fit_tokens(call))
        self._ask_all(lambda meter: meter._fit_usd(call))
        reservation = Reservation(input_tokens + call.output, call.cost(), call.output)
        for meter in self._upwards():
            meter._reserved_tokens += reservation.tokens
            meter._reserved_nusd += reservation.cost_nusd or 0
        return reservation

    async def admit(self, input_tokens: int, max_output: int, prices: CallBound) -> Reservation:
        """As `reserve`, after a wait while further up calls of others, still under way, leave no room for
        the whole of it: how long an answer may be must not hang on how many are asked for at once.
        """
        while crowded := self._crowded(_Wanted(input_tokens, max_output, max_output, prices)):
            if crowded._freed is None:
                crowded._freed = anyio.Event()
            await crowded._freed.wait()
        return self.reserve(input_tokens, max_output, prices)

    def settle(self, reservation: Reservation, usage: Usage | None, cost_nusd: int | None) -> bool:
        """Replaces a reservation by what the call took; an unknown takes the whole reservation.

        Returns True when the call took more than was reserved; `over_reserve` then stays set here (not
        further up, where it is charged as it is). Raises ValueError when it was settled before.
        """
        if not reservation.open:
            raise ValueError("this reservation was settled before")
        reservation.open = False
        total = None if usage is None else usage.total
        over = total is not None and total > reservation.tokens
        tokens = reservation.tokens
        if total is not None and usage is not None:
            tokens = total - (usage.cache_read or 0)
        if cost_nusd is None:
            cost_nusd = reservation.cost_nusd or 0
        else:
            over = over or (reservation.cost_nusd is not None and cost_nusd > reservation.cost_nusd)
        for meter in self._upwards():
            meter._reserved_tokens -= reservation.tokens
            meter._reserved_nusd -= reservation.cost_nusd or 0
            meter._spent_tokens += tokens
            meter._spent_nusd += cost_nusd
            if meter._freed is not None:
                meter._freed.set()
                meter._freed = None
        self.over_reserve = self.over_reserve or over
        return over

    def charge(self, *, nusd: int, tokens: int, steps: int) -> None:
        """Counts what was spent before this meter was made, by a process that was killed, say. The parent
        does not: it has counted it, or is told itself.
        """
        self._spent_nusd += nusd
        self._spent_tokens += tokens
        self.steps += steps

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
        """What to tell the model now, or None: once at 80 %, once at 95 % or before the last step."""
        share, told = self.used(), self._told
        if share >= 0.95 or self.steps + 1 == self.budget.steps:
            self._told, advice = 0.95, "Give your final answer now."
        elif share >= 0.80:
            self._told, advice = max(told, 0.80), "Finish soon."
        if self._told == told:
            return None
        used = f"{share:.0%} of this run's budget is used" if share >= 0.80 else "Only one step is left"
        return f"{used}. {advice}"

    def _upwards(self) -> Iterator[BudgetMeter]:
        """This meter, its parent, and so on."""
        meter: BudgetMeter | None = self
        while meter is not None:
            yield meter
            meter = meter._parent

    def _ask_all(self, question: Callable[[BudgetMeter], None]) -> None:
        """Puts a question to this meter and to all above it; the one that refuses is marked."""
        for meter in self._upwards():
            try:
                question(meter)
            except BudgetError:
                meter.refused = True
                raise

    def _crowded(self, call: _Wanted) -> BudgetMeter | None:
        """A meter further up that has too little left for the whole call while others' are under way."""
        for meter in self._upwards():
            if meter is not self and meter._reserved_tokens and not meter._has_room(call):
                return meter
        return None

    def _has_room(self, call: _Wanted) -> bool:
        tokens, nusd = self._left_tokens(), self._left_nusd()
        fits = tokens is None or call.input_tokens + call.output <= tokens
        return fits and (nusd is None or (call.cost() or 0) <= nusd)

    def _left_tokens(self) -> int | None:
        limit = self.budget.tokens
        return None if limit is None else limit - self._spent_tokens - self._reserved_tokens

    def _left_nusd(self) -> int | None:
        limit = self._limit_nusd
        return None if limit is None else limit - self._spent_nusd - self._reserved_nusd

    def _check_step(self) -> None:
        limit = self.budget.steps
        if limit is not None and self.steps >= limit:
            raise self._refusal("steps", f"the limit of {limit} steps{self._named()} is used up")

    def _fit_tokens(self, call: _Wanted) -> None:
        """Lowers the call's output limit to what fits into the tokens that are left."""
        left = self._left_tokens()
        if left is None:
            return
        left -= call.input_tokens
        if left < call.floor:
            raise self._refusal(
                "tokens",
                f"the next call could take {call.input_tokens + call.floor} tokens,"
                f" {max(left + call.input_tokens, 0)} of {self.budget.tokens}{self._named()} are left",
            )
        call.output = min(call.output, left)

    def _fit_usd(self, call: _Wanted) -> None:
        """Lowers the call's output limit to what fits into the dollars that are left."""
        left = self._left_nusd()
        if left is None:
            return
        cost = call.cost()
        if cost is None:
            if self.budget.usd_stated:
                raise BudgetError(
                    "usd",
                    "the model has no known price, so a limit in USD cannot be kept",
                    hint="state its price in the operator's settings, or limit tokens instead",
                )
            return
        if cost <= left:
            return
        least = call.cost(call.floor) or 0
        if least > left:
            raise self._refusal(
                "usd",
                f"the next call could cost ${_usd(least)}, ${_usd(max(left, 0))}"
                f" of ${self.budget.usd}{self._named()} is left",
            )
        # The bound grows linearly with the output limit, so the largest that fits is found directly.
        per_token = Decimal(cost - least) / max(call.output - call.floor, 1)
        fitting = call.floor + int((left - least) / per_token) if per_token else call.output
        fitting = max(call.floor, min(call.output, fitting))
        call.output = fitting if (call.cost(fitting) or 0) <= left else call.floor

    def _named(self) -> str:
        return "" if self._whose == "run" else f" of the {self._whose}"

    def _refusal(self, limit: str, message: str) -> BudgetError:
        where = " or in the task's budget" if self._whose == "run" else ""
        return BudgetError(limit, message, hint=f"raise it with --budget {limit}=...{where}")


def _usd(nusd: int) -> str:
    """Exact: what is left must not look like nothing."""
    return f"{Decimal(nusd) / NANO_PER_USD:f}"


@dataclass(slots=True)
class _Wanted:
    """A call that is to be reserved: its prompt's tokens, and an output limit that may be lowered."""

    input_tokens: int
    output: int
    floor: int
    prices: CallBound

    def cost(self, output: int | None = None) -> int | None:
        """Most nano-dollars with this output limit, or with the present one."""
        return self.prices.bound(self.input_tokens, self.output if output is None else output)


class CallBound(Protocol):
    """Tells the most that a call can cost."""

    def bound(self, input_tokens: int, output_tokens: int) -> int | None:
        """Nano-dollars, or None when the model has no price."""
        ...
