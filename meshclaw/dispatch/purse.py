"""All that a run may spend and has spent: one budget, and the doors through which its calls go."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from meshclaw.budgets import BudgetMeter
from meshclaw.dispatch.delegation import Delegation, House, Rung
from meshclaw.errors import ProviderError
from meshclaw.frozen import dataclass
from meshclaw.ledger.entry import Call
from meshclaw.metering import CallContext, Metered
from meshclaw.providers.base import Provider
from meshclaw.runs import is_judges

if TYPE_CHECKING:
    from meshclaw.ledger.fold import CallFact

JUDGE = "c"
"""Stands before the step in the ids of calls that checks make; the step then counts the checks."""

_CALL = re.compile(r"(\d+)\.([a-z]*)(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Spent:
    """What earlier processes of a run have spent: its calls, and what a budget counts of each."""

    calls: tuple[Call, ...] = ()
    facts: tuple[CallFact, ...] = ()
    steps: int = 0

    def tries(self, attempt: int, label: str) -> dict[int, int]:
        """How often each step has been asked for already."""
        found: dict[int, int] = {}
        for call in self.calls:
            parts = _CALL.fullmatch(call.call.rpartition("/")[2])
            if parts and (int(parts[1]), parts[2]) == (attempt, label):
                step = int(parts[3])
                found[step] = max(found.get(step, 0), int(parts[4]) + 1)
        return found


class Purse:
    """`record` and `notify` are the run's. All doors share the budget; nothing else leads to a provider."""

    def __init__(
        self,
        house: House,
        delegation: Delegation,
        run: str,
        spent: Spent,
        record: Callable[..., Awaitable[None]],
        notify: Callable[..., None],
    ) -> None:
        self._house = house
        self._delegation = delegation
        self._run = run
        self._spent = spent
        self._record = record
        self._notify = notify
        self._metered: list[Metered] = []
        self.budget = BudgetMeter(delegation.budget, delegation.above)
        self.budget.charge(
            nusd=sum(fact.charged_nusd or 0 for fact in spent.facts),
            tokens=sum(fact.charged_tokens or 0 for fact in spent.facts),
            steps=spent.steps,
        )
        self.budget.over_reserve = any(call.over_reserve for call in spent.calls)

    @property
    def calls(self) -> list[Call]:
        """Every call of the run that has ended, those of earlier processes first."""
        return [*self._spent.calls, *_all(metered.calls for metered in self._metered)]

    @property
    def steps(self) -> int:
        """How many responses the run's models gave; the budget counts those that never came, too."""
        return steps_of(self.calls)

    @property
    def problems(self) -> list[str]:
        """What a person is told of the calls: which of them a budget did not hold."""
        told = "took more than was reserved for it, so more than the budget may have been spent"
        return [
            f"call {call.call.partition('/')[2]} {told}; no further call was made"
            for call in self.calls
            if call.over_reserve
        ]

    def door(self, rung: Rung, attempt: int, label: str = "") -> Provider:
        """The rung's provider, retried and metered, for one attempt."""
        house = self._house
        context = CallContext(
            run=self._run,
            attempt=attempt,
            ledger=house.ledger,
            budget=self.budget,
            prices=house.prices,
            now=house.now,
            record=self._record,
            notify=self._notify,
            redact=house.redactor.data,
            redact_stream=house.redactor.stream,
            label=label,
            tries=self._spent.tries(attempt, label),
        )
        metered = Metered(rung.provider, context)
        self._metered.append(metered)
        return self._delegation.retrying(metered, self._tell_retry)

    def _tell_retry(self, number: int, error: ProviderError, wait: float) -> None:
        self._notify(
            "retry", number=number, failure=str(error.kind), message=str(error), wait_s=round(wait, 3)
        )


def steps_of(calls: Iterable[Call]) -> int:
    """How many of `calls` gave a response that a Runner had asked for."""
    return sum(call.status == "ok" and not is_judges(call.call.rpartition("/")[2]) for call in calls)


def _all(lists: Iterable[list[Call]]) -> Iterable[Call]:
    return (call for calls in lists for call in calls)
