from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshclaw.pricing import FREE, Prices, Rates, format_usd, to_nusd
from meshclaw.usage import UNKNOWN, Usage

NOW = datetime(2026, 11, 23, tzinfo=UTC)
USAGE = Usage(input=1_000, cache_read=500, cache_write={"5m": 50, "1h": 150}, output=100)


def test_published_prices_count_each_bucket_at_its_own_rate() -> None:
    cost = Prices().cost("anthropic", "claude-sonnet-4-5", USAGE, at=NOW)
    expected = (
        1_000 * Decimal(3)
        + 500 * Decimal("0.3")
        + 50 * Decimal("3.75")
        + 150 * Decimal(6)
        + 100 * Decimal(15)
    )
    assert cost.nusd == expected * 1_000
    assert cost.state == "priced"
    assert cost.rates == {
        "input": "3",
        "cache_read": "0.3",
        "cache_write": "3.75",
        "cache_write_1h": "6",
        "output": "15",
    }
    assert cost.source is not None
    assert cost.source.startswith("genai-prices@")


def test_a_prompt_beyond_a_tier_pays_the_tiers_rate_for_all_of_it() -> None:
    usage = Usage(input=200_001, output=1)
    cost = Prices().cost("anthropic", "claude-sonnet-4-5", usage, at=NOW)
    assert cost.rates is not None
    assert cost.rates["input"] == "6"
    assert cost.nusd == 200_001 * 6_000 + 22_500


def test_batch_calls_cost_what_the_publisher_says() -> None:
    usual = Prices().cost("anthropic", "claude-sonnet-4-5", Usage(input=100), at=NOW)
    batch = Prices().cost("anthropic", "claude-sonnet-4-5", Usage(input=100), at=NOW, tier="batch")
    assert usual.nusd == 2 * (batch.nusd or 0)


def test_a_call_served_in_the_us_alone_costs_a_tenth_more_and_says_so() -> None:
    usual = Prices().cost("anthropic", "claude-sonnet-4-5", USAGE, at=NOW, geo="global")
    us = Prices().cost("anthropic", "claude-sonnet-4-5", USAGE, at=NOW, geo="us")
    assert (us.nusd or 0) * 10 == (usual.nusd or 0) * 11
    assert us.rates is not None
    assert us.rates["input"] == "3.3"
    assert us.source == f"{usual.source} x 1.1 (us)"
    assert Prices().cost("openai", "gpt-5", USAGE, at=NOW, geo="us").source == usual.source


def test_a_tier_without_its_own_price_costs_the_usual() -> None:
    usual = Prices().cost("openai", "gpt-5", Usage(input=100), at=NOW)
    assert (
        Prices().cost("openai", "gpt-5", Usage(input=100), at=NOW, tier="no-such-tier").nusd == usual.nusd
    )


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "no-such-model"), ("nobody", "gpt-5"), ("local", "gpt-5")]
)
def test_what_has_no_price_is_unpriced_and_never_zero(provider: str, model: str) -> None:
    prices = Prices()
    cost = prices.cost(provider, model, USAGE, at=NOW)
    assert (cost.nusd, cost.state) == (None, "unpriced")
    assert prices.bound(provider, model, 10, 10, at=NOW) is None
    assert not prices.is_priced(provider, model)


def test_unknown_usage_has_an_unknown_cost() -> None:
    cost = Prices().cost("openai", "gpt-5", UNKNOWN, at=NOW)
    assert (cost.nusd, cost.state) == (None, "unknown")
    cost = Prices({"mine": Rates(Decimal(1), Decimal(1))}).cost("mine", "m", UNKNOWN, at=NOW)
    assert (cost.nusd, cost.state) == (None, "unknown")


def test_the_operators_own_table_goes_before_published_prices() -> None:
    prices = Prices({"openai": Rates(Decimal("1.5"), Decimal(6), cache_read=Decimal("0.15"))})
    cost = prices.cost("openai", "gpt-5", USAGE, at=NOW)
    assert cost.nusd == 1_000 * 1_500 + 500 * 150 + 200 * 1_500 + 100 * 6_000
    assert cost.source == "settings"


def test_free_is_zero_even_when_the_usage_is_unknown() -> None:
    prices = Prices({"local": FREE})
    assert prices.cost("local", "m", UNKNOWN, at=NOW).nusd == 0
    assert prices.bound("local", "m", 10**6, 10**6, at=NOW) == 0


counts = st.integers(0, 300_000)


@given(counts, counts, counts, counts, counts)
def test_the_bound_of_a_call_is_never_below_its_cost(
    plain: int, read: int, five: int, hour: int, out: int
) -> None:
    usage = Usage(input=plain, cache_read=read, cache_write={"5m": five, "1h": hour}, output=out)
    prices = Prices()
    for provider, model in (("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-5")):
        cost = prices.cost(provider, model, usage, at=NOW, geo="us")
        bound = prices.bound(provider, model, usage.input_total or 0, out, at=NOW)
        assert cost.nusd is not None
        assert bound is not None
        assert cost.nusd <= bound


def test_rounding_happens_once_and_half_even() -> None:
    assert to_nusd(Decimal("0.0000000005")) == 0
    assert to_nusd(Decimal("0.0000000015")) == 2
    assert to_nusd(Decimal("1.2345678915")) == 1_234_567_892


@pytest.mark.parametrize(
    ("nusd", "text"),
    [(0, "0.0"), (1, "0.000000001"), (1_500_000_000, "1.5"), (-20, "-0.00000002"), (None, None)],
)
def test_dollars_are_shown_exactly(nusd: int | None, text: str | None) -> None:
    assert format_usd(nusd) == text


@given(st.integers(0, 10**18))
def test_shown_dollars_read_back_to_the_same_amount(nusd: int) -> None:
    shown = format_usd(nusd)
    assert shown is not None
    assert to_nusd(Decimal(shown)) == nusd
