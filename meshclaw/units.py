"""Durations, counts, sizes and dollars as people write them. Parsers raise ValueError with a reason.

Numbers are decimal, in the digits 0 to 9. What other tools read in two ways (`012`, `1_000`) is refused.
"""

from __future__ import annotations

import re
from decimal import Decimal

MAX_USD = 1_000_000
"""No single limit or price is higher; whoever writes more has mistyped it."""

MAX_COUNT = 10**15
"""Likewise for tokens, steps, lines and bytes."""
MAX_SECONDS = 36_525 * 86_400
"""Likewise for durations: a hundred years, after which dates would run out."""

_NUMBER = r"(?:0|[1-9][0-9]{0,29})(?:\.[0-9]{1,30})?"
_DURATION = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?)(ms|s|m|h|d)")
_SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86_400),
}
_COUNT = re.compile(rf"({_NUMBER})\s*([kKmM]?)")
_COUNTS = {"": 1, "k": 1_000, "m": 1_000_000}
_BYTES = re.compile(rf"({_NUMBER})\s*(B|[kK]B|MB|GB|KiB|MiB|GiB)?")
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
_USD = re.compile(rf"\$?\s*((?:{_NUMBER}|\.[0-9]{{1,30}})(?:[eE][-+]?[0-9]{{1,2}})?)")


def parse_duration(text: str) -> float:
    """`90s`, `15m`, `1h30m` -> seconds. A bare number is refused: it does not say its unit."""
    stripped = text.strip()
    parts = _DURATION.findall(stripped)
    if not parts or "".join(number + unit for number, unit in parts) != stripped.replace(" ", ""):
        raise ValueError(f"'{text}' is not a duration: write 90s, 15m or 1h30m")
    seconds = float(sum(Decimal(number) * _SECONDS[unit] for number, unit in parts))
    if seconds > MAX_SECONDS:
        raise ValueError(f"'{text}' is longer than a hundred years")
    return seconds


def parse_count(text: str) -> int:
    """`500`, `200k`, `1.5M` -> a whole number."""
    match = _COUNT.fullmatch(text.strip())
    value = Decimal(match[1]) * _COUNTS[match[2].lower()] if match else None
    if value is None or value != int(value):
        raise ValueError(f"'{text}' is not a whole number: write {plainly(text) or '500, 200k or 1M'}")
    return _possible(value, text)


def parse_bytes(text: str) -> int:
    """`500`, `64 KB`, `2 MB`, `1 MiB` -> bytes (KB is 1000, KiB 1024)."""
    match = _BYTES.fullmatch(text.strip())
    value = Decimal(match[1]) * _SIZES[(match[2] or "").lower()] if match else None
    if value is None or value != int(value):
        raise ValueError(f"'{text}' is not a size: write {plainly(text) or '500, 64 KB or 2 MB'}")
    return _possible(value, text)


def parse_usd(text: str) -> Decimal:
    """`0.50`, `$2` -> US dollars, exactly as written and not negative."""
    match = _USD.fullmatch(text.strip())
    value = Decimal(match[1]) if match else None
    if value is None or value > MAX_USD:
        raise ValueError(f"'{text}' is not an amount in US dollars: write {plainly(text) or '0.50'}")
    return value


def plainly(text: str) -> str | None:
    """`012` or `1_000` as it is to be written, or None when it is something else."""
    plain = re.sub(r"\A0+(?=[0-9])|_", "", text.strip())
    return plain if plain != text.strip() and re.fullmatch(rf"{_NUMBER}[ A-Za-z]*", plain) else None


def _possible(value: Decimal, text: str) -> int:
    if value > MAX_COUNT:
        raise ValueError(f"'{text}' is more than anybody needs: at most {MAX_COUNT}")
    return int(value)
