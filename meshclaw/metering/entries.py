"""`call` entries, from what came back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from meshclaw.ledger.entry import Call
from meshclaw.messages import Response
from meshclaw.pricing import Cost, CostState, Prices
from meshclaw.usage import ZERO, Usage, UsageSource


def response_cost(prices: Prices, provider: str, model: str, response: Response, at: datetime) -> Cost:
    """What a response cost, as it was served."""
    return prices.cost(provider, model, response.usage, at=at, tier=response.tier, geo=response.geo)


def settled_call(entry: Call, response: Response, cost: Cost, *, over_reserve: bool = False) -> Call:
    """The `call` entry of a response that was received, whenever it is written."""
    return replace(
        entry,
        **_usage_fields(response.usage, response.usage_source),
        status="ok",
        served_model=response.served_model,
        response_id=response.response_id,
        wire_usage=response.wire_usage,
        tier=response.tier,
        geo=response.geo,
        cost_nusd=cost.nusd,
        cost_state=cost.state,
        rates=cost.rates,
        price_source=cost.source,
        possibly_billed=cost.nusd is None,
        over_reserve=over_reserve,
    )


def call_usage(entry: Call) -> Usage:
    """The usage that a `call` entry holds."""
    return Usage(
        entry.input, entry.cache_read, entry.cache_write, entry.output, entry.reasoning, entry.split_assumed
    )


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as the ledger writes it."""
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def with_usage(entry: Call, usage: Usage, source: UsageSource) -> Call:
    return replace(entry, **_usage_fields(usage, source))


def total_usage(calls: Iterable[Call]) -> Usage:
    """All calls' usage added up; a bucket that is unknown in one call is unknown in the sum."""
    return sum((call_usage(call) for call in calls), ZERO)


def total_cost(calls: Iterable[Call]) -> Cost:
    """All calls' cost; the state is that of the least certain call."""
    states: tuple[CostState, ...] = ("unknown", "unpriced", "estimated")
    total = 0
    worst: CostState = "priced"
    for call in calls:
        if call.cost_nusd is not None:
            total += call.cost_nusd
        if call.cost_state != "priced" and (
            worst == "priced" or states.index(call.cost_state) < states.index(worst)
        ):
            worst = call.cost_state
    return Cost(total if worst == "priced" else None, worst)


def _usage_fields(usage: Usage, source: UsageSource) -> dict[str, Any]:
    return {
        "input": usage.input,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
        "output": usage.output,
        "reasoning": usage.reasoning,
        "split_assumed": usage.split_assumed,
        "usage_source": source.value,
    }
