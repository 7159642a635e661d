"""Durations, counts, sizes and dollars as people write them. Parsers raise ValueError with a reason."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

MAX_USD = 1_000_000
"""No single limit or price is higher; whoever writes more has mistyped it."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86_400),
}
_COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmM]?)")
_COUNTS = {"": 1, "k": 1_000, "m": 1_000_000}
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*(B|[kK]B|MB|GB|KiB|MiB|GiB)?")
_SIZES = {
    "": 1,
    "b": 1,
    "kb": 1_000,
    "mb": 1_000_000,
    "gb": 1_000_000_000,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}


def parse_duration(text: str) -> float:
    """`90s`, `15m`, `1h30m` -> seconds. A bare number is refused: it does not say its unit."""
    stripped = text.strip()
    parts = _DURATION.findall(stripped)
    if not parts or "".join(number + unit for number, unit in parts) != stripped.replace(" ", ""):
        raise ValueError(f"'{text}' is not a duration: write 90s, 15m or 1h30m")
    return float(sum(Decimal(number) * _SECONDS[unit] for number, unit in parts))


def parse_count(text: str) -> int:
    """`500`, `200k`, `1.5M` -> a whole number."""
    match = _COUNT.fullmatch(text.strip())
    value = Decimal(match[1]) * _COUNTS[match[2].lower()] if match else None
    if value is None or value != int(value):
        raise ValueError(f"'{text}' is not a whole number: write 500, 200k or 1M")
    return int(value)


def parse_bytes(text: str) -> int:
    """`500`, `64 KB`, `2 MB`, `1 MiB` -> bytes (KB is 1000, KiB 1024)."""
    match = _BYTES.fullmatch(text.strip())
    value = Decimal(match[1]) * _SIZES[(match[2] or "").lower()] if match else None
    if value is None or value != int(value):
        raise ValueError(f"'{text}' is not a size: write 500, 64 KB or 2 MB")
    return int(value)


def parse_usd(text: str) -> Decimal:
    """`0.50`, `$2` -> US dollars, exactly as written and not negative."""
    try:
        value = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 <= value <= MAX_USD:
        raise ValueError(f"'{text}' is not an amount in US dollars: write 0.50")
    return value
