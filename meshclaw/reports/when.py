"""Points in time, as people type them."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta, tzinfo

from meshclaw.errors import Problem, ProblemsError

_AGO = re.compile(r"(\d{1,6})([mhdw])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_when(text: str, now: datetime, tz: tzinfo, *, source: str = "--since") -> datetime:
    """The moment that `text` names, in `tz`. `now` must know its zone.

    `90m`, `24h`, `7d`, `2w` are that long before now, to the second; `now`; `today`, `yesterday` and
    dates are the midnight that begins them; `2026-11-01T10:00` is local unless it names its offset.
    Raises ProblemsError for anything else; `source` is where it was typed.
    """
    word = text.strip()
    local = now.astimezone(tz)
    try:
        if ago := _AGO.fullmatch(word):
            return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).astimezone(tz)
        if word == "now":
            return local
        if word in ("today", "yesterday"):
            day = local.date() - timedelta(days=word == "yesterday")
            return datetime.combine(day, time(), tz)
        moment = datetime.fromisoformat(word)
        return moment.replace(tzinfo=tz) if moment.tzinfo is None else moment.astimezone(tz)
    except (ValueError, OverflowError):
        hint = "write 7d, 24h, 2w, today, yesterday, 2026-11-01 or 2026-11-01T10:00"
        raise ProblemsError([Problem(source, 0, 0, f"{text!r} is no point in time", hint)]) from None
