"""Facts in a few words: tokens, money, time, tool calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from meshclaw.errors import ExitCode
from meshclaw.pricing import dollars
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


def cost_in_words(cost_usd: str | None, cost_state: str, tokens: int | None) -> str:
    """`$0.0123`, `free`, `unpriced`, `unknown`; nothing is `$0` that was not.

    Of a paid model that refused a call nothing is free: without `tokens`, nothing was spent.
    """
    if cost_usd is None:
        return "unpriced" if cost_state == "unpriced" else "cost unknown"
    if not Decimal(cost_usd):
        return "nothing spent" if tokens == 0 else "free"
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
    outcome = str(record.get("outcome"))
    if outcome == "rejected" and record.get("exit") == ExitCode.NOT_ACCEPTED:
        return f"rejected: {record.get('reason')}"
    if status == "succeeded":
        return f"{status}, {outcome}"
    status, reason = status.replace("_", " "), record.get("reason")
    return f"{status}: {reason}" if reason and reason != status else status


def under_way(record: Mapping[str, Any]) -> str:
    """How it stands with a run whose record says that it has not ended."""
    return "running" if record.get("status") == "running" else "cut short"


def so_far(record: Mapping[str, Any], steps: int, usage: Mapping[str, Any]) -> str:
    """A run that has not ended on one line, as far as its transcript knows."""
    state = under_way(record)
    if state == "cut short":
        state += (
            f": {record.get('reason')}; `meshclaw runs resume {str(record['run'])[:13]}` goes on with it"
        )
    known = f"at least {tokens_in_words(usage)}" if steps else "tokens unknown"
    return (
        f"{state} \u00b7 {steps} step{'' if steps == 1 else 's'} so far \u00b7 {known} \u00b7 cost unknown"
    )


def patch_in_words(record: Mapping[str, Any]) -> str | None:
    """What became of a run's patch on one line, and how to read it; None for a run that has none."""
    patch = record.get("patch")
    if not patch:
        return None
    files, left_out = len(patch["files"]), len(patch.get("left_out") or ())
    parts = ["it changed nothing that it may change"]
    if files:
        lines = f", +{patch['added']} -{patch['removed']}" if "added" in patch else ""
        done = [f"branch {patch['branch']}"] if patch.get("branch") else []
        done += ["applied"] if patch.get("applied") else []
        parts = [f"{_files(files)}{lines}" + (f" ({', '.join(done)})" if done else "")]
    if left_out:
        parts.append(f"{_files(left_out)} left out")
    return f"patch: {', '.join(parts)}; meshclaw runs diff {record['run'][:13]}"


def left_to_do(record: Mapping[str, Any]) -> str | None:
    """What a person has to do for the result to get where it is to go; None when nothing is left."""
    if not record.get("undelivered"):
        return None
    accept = f"`meshclaw runs accept {record['run'][:13]}` delivers it"
    return f"once that is mended, {accept}" if record.get("status") == "failed" else accept


def _files(number: int) -> str:
    return f"{number:,} file{'' if number == 1 else 's'}"


def judged_by(check: Mapping[str, Any]) -> str:
    """The model that a check asked, for after its name."""
    return f" ({check['model']})" if check.get("model") else ""


def summary(record: Mapping[str, Any]) -> str:
    """A run's end on one line."""
    if record.get("reused"):
        again = f"accepted already in run {record['reused']}: its result again, nothing spent"
        return again if record.get("exit") == ExitCode.OK else f"{status_in_words(record)} \u00b7 {again}"
    steps = record.get("steps") or 0
    return " \u00b7 ".join(
        [
            status_in_words(record),
            f"{steps} step{'' if steps == 1 else 's'}",
            tokens_in_words(record.get("usage")),
            cost_in_words(
                record.get("cost_usd"),
                str(record.get("cost_state")),
                (record.get("usage") or {}).get("total"),
            ),
            seconds_in_words(record.get("duration_s") or 0.0),
        ]
    )
