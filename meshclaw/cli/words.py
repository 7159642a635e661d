"""Facts in a few words: tokens, money, time, tool calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from meshclaw.terminal_text import clean


def tokens_in_words(usage: Mapping[str, Any] | None) -> str:
    """`12,345 in (10,000 cached, 500 written), 1,234 out`; unknown is said."""
    if not usage:
        return "tokens unknown"
    notes = []
    if usage.get("cache_read"):
        notes.append(f"{usage['cache_read']:,} cached")
    written = sum((usage.get("cache_write") or {}).values())
    if written:
        notes.append(f"{written:,} written to cache")
    shown = f"{count(usage.get('input_total'))} in"
    if notes:
        shown += f" ({', '.join(notes)})"
    shown += f", {count(usage.get('output'))} out"
    if usage.get("reasoning"):
        shown += f" ({usage['reasoning']:,} reasoning)"
    return shown


def count(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"


def dollars(amount: Decimal | str | None) -> str:
    """Four decimals, more where the first digits would be lost: `$0.0123`, `$0.000012`."""
    if amount is None:
        return "unknown"
    value = Decimal(amount)
    if not value:
        return "$0"
    places = max(4, 1 - value.adjusted())
    return f"${value:,.{min(places, 9)}f}"


def cost_in_words(cost_usd: str | None, cost_state: str, calls: int) -> str:
    """`$0.0123`, `free`, `unpriced`, `unknown`; nothing is `$0` that was not."""
    if cost_usd is None:
        return "unpriced" if cost_state == "unpriced" else "cost unknown"
    if not Decimal(cost_usd):
        return "free" if calls else "nothing spent"
    return dollars(cost_usd)


def seconds_in_words(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"


def call_in_words(name: str, arguments: str, width: int = 80) -> str:
    """A tool call on one line: its name and what it is about."""
    try:
        decoded = json.loads(arguments or "{}")
    except ValueError:
        decoded = arguments
    if isinstance(decoded, dict):
        shown = " ".join(_argument(key, value) for key, value in decoded.items())
    else:
        shown = str(decoded)
    return shorten(f"{name} {shown}".rstrip(), width)


def _argument(key: str, value: Any) -> str:
    if key in ("path", "command", "pattern", "url") and isinstance(value, str):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{key}={shorten(text, 24)}"


def shorten(text: str, width: int) -> str:
    """One line of at most `width` characters, cleaned."""
    line = clean(text, multiline=False)
    return line if len(line) <= width else line[: width - 1] + "\u2026"


def bounded(text: str, lines: int) -> str:
    """The first `lines` lines of a text, and how many more there are."""
    every = text.splitlines()
    if len(every) <= lines:
        return text.rstrip("\n")
    return "\n".join([*every[:lines], f"\u2026 {len(every) - lines} more lines"])


def status_in_words(record: Mapping[str, Any]) -> str:
    """`succeeded, unchecked`, or the status and its reason."""
    status = str(record.get("status"))
    if status == "succeeded":
        return f"{status}, {record.get('outcome')}"
    return f"{status.replace('_', ' ')}: {record['reason']}" if record.get("reason") else status


def summary(record: Mapping[str, Any]) -> str:
    """A run's end on one line."""
    steps = record.get("steps") or 0
    return " \u00b7 ".join(
        [
            status_in_words(record),
            f"{steps} step{'' if steps == 1 else 's'}",
            tokens_in_words(record.get("usage")),
            cost_in_words(record.get("cost_usd"), str(record.get("cost_state")), record.get("calls") or 0),
            seconds_in_words(record.get("duration_s") or 0.0),
        ]
    )
