"""What calls cost: dated prices to exact decimals, or None where no price is known.

Prices come from the operator's own table or from the `genai-prices` package, which is imported only
when a price is asked for. All money is in integer nano-dollars (10^-9 USD), rounded once, half-even.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cached_property
from typing import Any, Literal

from meshclaw.frozen import dataclass
from meshclaw.usage import Usage

NANO_PER_USD = Decimal(10) ** 9
PER_MILLION = Decimal(10) ** 6

CostState = Literal["priced", "unpriced", "estimated", "unknown"]


@dataclass(frozen=True, slots=True)
class Cost:
    """`nusd` is None unless `state` is `priced`. `rates` are USD per million tokens, as text."""

    nusd: int | None
    state: CostState
    rates: Mapping[str, str] | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Rates:
    """An operator's own prices of one provider, in USD per million tokens."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    source: str = "settings"

    @property
    def free(self) -> bool:
        return not (self.input or self.output or self.cache_read or self.cache_write)

    def as_text(self) -> dict[str, str]:
        """Every rate that applies, a missing cache rate falling back to the input's."""
        return {
            "input": str(self.input),
            "cache_read": str(self.input if self.cache_read is None else self.cache_read),
            "cache_write": str(self.input if self.cache_write is None else self.cache_write),
            "output": str(self.output),
        }


GEO_FACTORS: Mapping[tuple[str, str], Decimal] = {("anthropic", "us"): Decimal("1.1")}
"""What all rates of a publisher are multiplied by where a call was served in one region only, which an
account may ask for without our doing (https://platform.claude.com/docs/en/manage-claude/data-residency).
`genai-prices` does not know of it."""

FREE = Rates(Decimal(0), Decimal(0), source="free")
UNKNOWN_COST = Cost(None, "unknown")
ZERO_COST = Cost(0, "priced")


def to_nusd(usd: Decimal) -> int:
    """US dollars to nano-dollars, rounded half-even."""
    return int((usd * NANO_PER_USD).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def format_usd(nusd: int | None) -> str | None:
    """Nano-dollars as an exact decimal string without an exponent or superfluous zeros."""
    if nusd is None:
        return None
    text = f"{Decimal(nusd) / NANO_PER_USD:.9f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def dollars(amount: Decimal | str | None) -> str:
    """Four decimals, more where the first digits would be lost: `$0.0123`, `$0.000012`."""
    if amount is None:
        return "unknown"
    value = Decimal(amount)
    if not value:
        return "$0"
    places = max(4, 1 - value.adjusted())
    return f"${value:,.{min(places, 9)}f}"


class Prices:
    """Prices for one process. `tables` maps a provider's name to the operator's own rates.

    `publishers` maps a provider's name to the id under which `genai-prices` lists it; a provider in
    neither mapping is unpriced.
    """

    def __init__(
        self,
        tables: Mapping[str, Rates] | None = None,
        publishers: Mapping[str, str] | None = None,
    ) -> None:
        self._tables = dict(tables or {})
        self._publishers = dict(publishers or {"anthropic": "anthropic", "openai": "openai"})

    def cost(
        self,
        provider: str,
        model: str,
        usage: Usage,
        *,
        at: datetime,
        tier: str | None = None,
        geo: str | None = None,
    ) -> Cost:
        """Cost of one call's usage at `at`. Unknown usage gives an unknown cost, never zero."""
        table = self._tables.get(provider)
        if table is not None:
            rates = table.as_text()
            if table.free:
                return Cost(0, "priced", rates, table.source)
            if not usage.known:
                return Cost(None, "unknown", rates, table.source)
            return Cost(to_nusd(_apply(rates, usage)), "priced", rates, table.source)
        if not usage.known:
            return UNKNOWN_COST if self.is_priced(provider, model) else Cost(None, "unpriced")
        price = self._find(provider, model)
        if price is None:
            return Cost(None, "unpriced")
        resolved = price.get_prices(at, _context(provider, tier))
        factor = GEO_FACTORS.get((self._publishers[provider], geo or ""), Decimal(1))
        rates = _resolve(resolved, usage.input_total or 0, factor)
        source = self._source if factor == 1 else f"{self._source} x {factor} ({geo})"
        return Cost(to_nusd(_published(resolved, usage) * factor), "priced", rates, source)

    def bound(
        self, provider: str, model: str, input_tokens: int, output_tokens: int, *, at: datetime
    ) -> int | None:
        """The most that a call of so many tokens can cost, in nano-dollars, at its dearest rates.

        None when the model has no price.
        """
        table = self._tables.get(provider)
        if table is not None:
            if table.free:
                return 0
            rates = table.as_text()
        else:
            price = self._find(provider, model)
            if price is None:
                return None
            dearest_geo = max(
                (by for (name, _), by in GEO_FACTORS.items() if name == self._publishers[provider]),
                default=Decimal(1),
            )
            rates = _resolve(price.get_prices(at), input_tokens, dearest_geo)
        dearest = max(Decimal(rate) for key, rate in rates.items() if key != "output")
        usd = (dearest * input_tokens + Decimal(rates["output"]) * output_tokens) / PER_MILLION
        return to_nusd(usd)

    def is_priced(self, provider: str, model: str) -> bool:
        return provider in self._tables or self._find(provider, model) is not None

    def window(self, provider: str, model: str) -> int | None:
        """The model's context length in tokens as published with its price, or None."""
        price = self._find(provider, model)
        return None if price is None else price.context_window

    def _find(self, provider: str, model: str) -> Any:
        publisher = self._publishers.get(provider)
        if publisher is None:
            return None
        from genai_prices import data_snapshot

        try:
            found = data_snapshot.get_snapshot().find_provider_model(model, None, publisher, None)
        except LookupError:
            return None
        return found[1]

    @cached_property
    def _source(self) -> str:
        from importlib.metadata import version

        return f"genai-prices@{version('genai-prices')}"


def _context(provider: str, tier: str | None) -> dict[str, str] | None:
    if tier is None:
        return None
    return {"processing": "batch"} if tier == "batch" else {"service_tier": tier}


def _apply(rates: Mapping[str, str], usage: Usage) -> Decimal:
    counts = {
        "input": usage.input,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write_total,
        "output": usage.output,
    }
    total = sum((Decimal(rates[key]) * (count or 0) for key, count in counts.items()), Decimal(0))
    return total / PER_MILLION


def _resolve(price: Any, input_total: int, factor: Decimal) -> dict[str, str]:
    """The rates of a `genai-prices` ModelPrice that apply at this size of prompt, times `factor`."""

    def rate(key: str) -> Decimal | None:
        value = getattr(price, key)
        if value is None or isinstance(value, Decimal):
            return value
        applicable: Decimal = value.base
        for tier in value.tiers:
            if input_total > tier.start:
                applicable = tier.price
        return applicable

    plain = rate("input_mtok") or Decimal(0)
    names = {"cache_read": "cache_read_mtok", "cache_write": "cache_write_mtok"}
    rates = {"input": plain}
    for name, key in names.items():
        found = rate(key)
        rates[name] = plain if found is None else found
    one_hour = rate("cache_write_1h_mtok")
    if one_hour is not None:
        rates["cache_write_1h"] = one_hour
    rates["output"] = rate("output_mtok") or Decimal(0)
    return {key: str(value * factor) for key, value in rates.items()}


def _published(price: Any, usage: Usage) -> Decimal:
    from genai_prices import Usage as PublishedUsage

    writes = usage.cache_write or {}
    details = {f"cache_write_{key}_tokens": writes[key] for key in ("5m", "1h") if writes.get(key)}
    counted = PublishedUsage(
        input_tokens=usage.input_total,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write_total,
        **details,
    )
    total: Decimal = price.calc_price(counted)["total_price"]
    return total
