"""What one setting is: its key, its kind, who may set it, and how its text is read and shown."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from meshclaw.frozen import dataclass
from meshclaw.units import parse_bytes, parse_count, parse_duration, parse_usd

Kind = Literal[
    "text", "texts", "bool", "path", "choice", "count", "bytes", "duration", "usd", "model", "url", "price"
]

By = Literal["operator", "project", "both", "narrower", "beneath"]
WHO: dict[By, str] = {
    "operator": "operator",
    "project": "project (beneath it)",
    "both": "operator, project",
    "narrower": "operator; project may narrow it",
    "beneath": "operator; project beneath itself",
}
"""Who may set a setting in a file. Environment and flags are always the operator's."""

UNLIMITED = "unlimited"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key. `NAME` or `HOST` in it stands for any name. `unset` says what holds when `default` is None.

    `limit` allows the word `unlimited`, which is None. `least` and `most` are inclusive. A setting of kind
    `texts` takes a list; `wrong` says why a text cannot be in it, or None.
    """

    key: str
    kind: Kind
    description: str
    by: By = "operator"
    default: Any = None
    unset: str = ""
    env: str | None = None
    flag: str | None = None
    limit: bool = False
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    wrong: Callable[[str], str | None] = lambda text: None

    def parse(self, text: str) -> Any:
        """The value that `text` stands for, or one item of `texts`. Raises ValueError with a reason."""
        if self.limit and text == UNLIMITED:
            return None
        if not text.strip():
            raise ValueError("there is no value")
        if self.choices and text not in self.choices:
            raise ValueError(f"'{text}' is not one of {', '.join(self.choices)}")
        reason = self.wrong(text)
        if reason is not None:
            raise ValueError(reason)
        value = _PARSERS.get(self.kind, str)(text)
        if self.least is not None and value < self.least:
            raise ValueError(f"'{text}' is too small: at least {self.show(self.least)}")
        if self.most is not None and value > self.most:
            raise ValueError(f"'{text}' is too much: at most {self.show(self.most)}")
        return value

    def show(self, value: Any) -> str:
        """`value` as a person would write it."""
        if value is None:
            return UNLIMITED if self.limit else self.unset
        if isinstance(value, tuple):
            return ", ".join(map(str, value)) or "nothing"
        if isinstance(value, bool):
            return "true" if value else "false"
        if self.kind == "bytes":
            return format_bytes(value)
        return format_duration(value) if self.kind == "duration" else str(value)


def _parse_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"'{text}' is neither true nor false")
    return text == "true"


_PARSERS: dict[Kind, Callable[[str], Any]] = {
    "bool": _parse_bool,
    "usd": parse_usd,
    "count": parse_count,
    "bytes": parse_bytes,
    "duration": parse_duration,
}


def format_duration(seconds: float) -> str:
    """`5400.0` -> `1h30m`; what is shorter than a second is in `ms`."""
    left = int(Decimal(str(seconds)) * 1_000)
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_bytes(size: int) -> str:
    """`4294967296` -> `4 GiB`; what is no whole number of KiB is in bytes."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size and size % factor == 0:
            return f"{size // factor} {unit}"
    return str(size)
