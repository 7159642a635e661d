from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshclaw.budgets import NO_LIMITS, Budget, BudgetMeter, Reservation
from meshclaw.errors import BudgetError
from meshclaw.messages import MINIMUM_MAX_OUTPUT
from meshclaw.usage import Usage


@dataclass
class PerToken:
    """A price in nano-dollars per token; None is a model without a price."""

    input: int | None
    output: int = 0

    def bound(self, input_tokens: int, output_tokens: int) -> int | None:
        return None if self.input is None else self.input * input_tokens + self.output * output_tokens


FREE = PerToken(0)


def test_narrowing_takes_the_smaller_limit_and_remembers_who_stated_dollars() -> None:
    stated = Budget(Decimal(5), None, 3, 10.0, usd_stated=True)
    narrowed = Budget(Decimal(1), 100, 50, None).narrowed(stated)
    assert narrowed == Budget(Decimal(1), 100, 3, 10.0, usd_stated=True)


def test_steps_are_counted_until_the_limit() -> None:
    meter = BudgetMeter(Budget(steps=2))
    meter.step()
    meter.step()
    with pytest.raises(BudgetError, match="limit of 2 steps") as caught:
        meter.step()
    assert caught.value.limit == "steps"
    assert meter.steps == 2


def test_a_call_that_does_not_fit_gets_a_smaller_output_limit() -> None:
    meter = BudgetMeter(Budget(None, 10_000, None, None))
    reservation = meter.reserve(4_000, 8_192, FREE)
    assert (reservation.max_output, reservation.tokens) == (6_000, 10_000)


def test_a_call_that_leaves_no_room_for_an_answer_is_not_made() -> None:
    meter = BudgetMeter(Budget(None, 10_000, None, None))
    with pytest.raises(BudgetError) as caught:
        meter.reserve(10_000 - MINIMUM_MAX_OUTPUT + 1, 8_192, FREE)
    assert caught.value.limit == "tokens"
    assert meter.reserve(10_000 - MINIMUM_MAX_OUTPUT, 8_192, FREE).max_output == MINIMUM_MAX_OUTPUT


def test_dollars_shrink_the_output_limit_to_what_is_left() -> None:
    meter = BudgetMeter(Budget(Decimal("0.01"), None, None, None))
    reservation = meter.reserve(1_000, 8_192, PerToken(1_000, 5_000))
    assert reservation.max_output == (10_000_000 - 1_000_000) // 5_000
    assert reservation.cost_nusd is not None
    assert reservation.cost_nusd <= 10_000_000


def test_calls_side_by_side_cannot_pass_a_limit_together() -> None:
    meter = BudgetMeter(Budget(Decimal("0.01"), None, None, None))
    meter.reserve(1_000, 1_000, PerToken(5_000, 5_000))
    with pytest.raises(BudgetError) as caught:
        meter.reserve(1_000, 1_000, PerToken(5_000, 5_000))
    assert caught.value.limit == "usd"


def test_only_a_stated_dollar_limit_refuses_a_model_without_a_price() -> None:
    unstated = BudgetMeter(Budget(Decimal(1), None, None, None))
    assert unstated.reserve(10, 1_000, PerToken(None)).cost_nusd is None
    stated = BudgetMeter(Budget(Decimal(1), None, None, None, usd_stated=True))
    with pytest.raises(BudgetError, match="no known price"):
        stated.reserve(10, 1_000, PerToken(None))


def test_settling_frees_what_was_not_used_and_does_not_count_cache_reads() -> None:
    meter = BudgetMeter(Budget(None, 10_000, None, None))
    reservation = meter.reserve(5_000, 1_000, FREE)
    meter.settle(reservation, Usage(input=100, cache_read=4_000, output=50), 0)
    assert meter.spent_tokens == 150
    with pytest.raises(ValueError, match="settled before"):
        meter.settle(reservation, Usage(), 0)


def test_an_unknown_usage_is_charged_the_whole_reservation() -> None:
    meter = BudgetMeter(Budget(Decimal(1), 10_000, None, None))
    reservation = meter.reserve(5_000, 1_000, PerToken(1_000, 1_000))
    assert meter.settle(reservation, None, None) is False
    assert (meter.spent_tokens, meter.spent_nusd) == (6_000, 6_000_000)


def test_a_call_beyond_its_bound_stops_further_calls() -> None:
    meter = BudgetMeter(NO_LIMITS)
    reservation = meter.reserve(100, 512, FREE)
    assert meter.settle(reservation, Usage(input=700, output=1), 0) is True
    assert meter.over_reserve
    with pytest.raises(BudgetError) as caught:
        meter.reserve(1, 512, FREE)
    assert caught.value.limit == "reserve"


def test_the_model_is_told_once_at_80_and_once_at_95_percent() -> None:
    meter = BudgetMeter(Budget(None, None, 100, None))
    told: list[int] = []
    for step in range(1, 101):
        meter.step()
        if meter.warning():
            told.append(step)
    assert told == [80, 95]


def test_with_few_steps_the_model_is_told_while_it_can_still_answer() -> None:
    meter = BudgetMeter(Budget(None, None, 3, None))
    told: list[str | None] = []
    for _ in range(3):
        meter.step()
        told.append(meter.warning())
    assert told == [None, "Only one step is left. Give your final answer now.", None]


@given(
    limit=st.integers(1, 10_000_000_000),
    tokens=st.integers(0, 200_000),
    output=st.integers(1, 64_000),
    prices=st.tuples(st.integers(0, 100_000), st.integers(0, 100_000)),
)
def test_what_is_reserved_never_exceeds_the_limit(
    limit: int, tokens: int, output: int, prices: tuple[int, int]
) -> None:
    meter = BudgetMeter(Budget(Decimal(limit) / 10**9, None, None, None))
    price = PerToken(*prices)
    try:
        reservation = meter.reserve(tokens, output, price)
    except BudgetError:
        assert (price.bound(tokens, min(output, MINIMUM_MAX_OUTPUT)) or 0) > limit
    else:
        assert reservation.cost_nusd is not None
        assert reservation.cost_nusd <= limit
        assert min(MINIMUM_MAX_OUTPUT, output) <= reservation.max_output <= output


@given(
    limit=st.integers(1, 1_000_000_000),
    calls=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 50_000), st.integers(1, 8_192), st.floats(0, 1)),
        max_size=30,
    ),
)
def test_what_several_meters_reserve_never_exceeds_the_limit_above_them(
    limit: int, calls: list[tuple[int, int, int, float]]
) -> None:
    above = BudgetMeter(Budget(Decimal(limit) / 10**9, None, None, None), whose="batch")
    meters = [BudgetMeter(Budget(Decimal("0.5"), None, None, None), above) for _ in range(3)]
    price = PerToken(1_000, 5_000)
    waiting: list[tuple[BudgetMeter, Reservation]] = []
    for which, tokens, output, share in calls:
        try:
            waiting.append((meters[which], meters[which].reserve(tokens, output, price)))
        except BudgetError:
            pass
        held = sum(reservation.cost_nusd or 0 for _, reservation in waiting)
        assert above.spent_nusd + held <= limit
        if share < 0.5 and waiting:
            meter, reservation = waiting.pop(0)
            meter.settle(reservation, Usage(input=1, output=1), int((reservation.cost_nusd or 0) * share))
    assert above.spent_nusd == sum(meter.spent_nusd for meter in meters)


def test_a_refusal_from_above_is_told_from_ones_own() -> None:
    above = BudgetMeter(Budget(None, 2_000, None, None), whose="batch")
    own = BudgetMeter(Budget(None, 1_600, None, None), above)
    own.reserve(1_000, 600, FREE)
    with pytest.raises(BudgetError) as caught:
        own.reserve(1_000, 600, FREE)
    assert (above.refused, own.refused, "batch" in str(caught.value)) == (False, True, False)
    with pytest.raises(BudgetError, match="of 2000 of the batch are left - raise it with --budget tokens="):
        BudgetMeter(NO_LIMITS, above).reserve(1_000, 600, FREE)
    assert above.refused


async def test_a_call_waits_for_room_that_others_hold_and_is_then_as_long_as_it_may_be() -> None:
    above = BudgetMeter(Budget(None, 3_000, None, None), whose="batch")
    first, second = BudgetMeter(NO_LIMITS, above), BudgetMeter(NO_LIMITS, above)
    held = await first.admit(1_000, 1_000, FREE)
    admitted: list[Reservation] = []

    async def ask() -> None:
        admitted.append(await second.admit(1_000, 1_000, FREE))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert admitted == []
        first.settle(held, Usage(input=50, output=50), 0)
    assert [one.max_output for one in admitted] == [1_000]


async def test_nobody_waits_for_room_that_nobody_holds() -> None:
    above = BudgetMeter(Budget(None, 3_000, None, None), whose="batch")
    own = BudgetMeter(NO_LIMITS, above)
    assert (await own.admit(2_000, 4_000, FREE)).max_output == 1_000
    empty = BudgetMeter(Budget(None, 100, None, None), whose="batch")
    with pytest.raises(BudgetError):
        await BudgetMeter(NO_LIMITS, empty).admit(2_000, 4_000, FREE)


def test_steps_count_for_the_meter_above_and_a_refused_one_for_neither() -> None:
    above = BudgetMeter(Budget(None, None, 3, None), whose="batch")
    first, second = BudgetMeter(Budget(steps=2), above), BudgetMeter(Budget(steps=2), above)
    first.step()
    first.step()
    with pytest.raises(BudgetError, match=r"limit of 2 steps is used up"):
        first.step()
    second.step()
    with pytest.raises(BudgetError, match=r"limit of 3 steps of the batch is used up"):
        second.step()
    assert (above.steps, first.steps, second.steps) == (3, 2, 1)


def test_what_was_spent_before_is_not_there_to_be_spent_again() -> None:
    meter = BudgetMeter(Budget(Decimal("0.01"), None, None, None))
    meter.charge(nusd=9_000_000, tokens=100, steps=1)
    assert meter.reserve(100, 512, PerToken(1_000)).cost_nusd == 100_000
    with pytest.raises(BudgetError):
        meter.reserve(901, 512, PerToken(1_000))
