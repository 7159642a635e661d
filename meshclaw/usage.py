"""Token counts, in one convention.

Stored buckets are disjoint, so that they can be added and never count a token twice:

- `input`: prompt tokens neither read from nor written to a cache;
- `cache_read`: prompt tokens read from the provider's cache;
- `cache_write`: prompt tokens written to it, by lifetime as the wire names it
  (`{"5m": n, "1h": n, "30m": n, "12h": n, "other": n}`; absent keys are 0);
- `output`: all generated tokens. `reasoning` is the part of `output` that was thinking: never added.

`input_total` and `total` are derived, never stored. A bucket that a wire does not have is 0; a detail
that is absent under a total that is present is 0 and marked `split_assumed`; a total that is absent,
negative or inconsistent is None: unknown, never 0. Adding an unknown gives an unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from meshclaw.frozen import dataclass

LIFETIMES = ("5m", "1h", "30m", "12h", "other")


class UsageSource(StrEnum):
    """How good a call's usage is."""

    FINAL = "final"
    PARTIAL = "partial"
    ESTIMATED = "estimated"
    ABSENT = "absent"


def _sum(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, or of several added up. Counts are >= 0, or None when unknown."""

    input: int | None = 0
    cache_read: int | None = 0
    cache_write: Mapping[str, int] | None = field(default_factory=dict)
    output: int | None = 0
    reasoning: int | None = 0
    split_assumed: bool = False

    @property
    def cache_write_total(self) -> int | None:
        return None if self.cache_write is None else sum(self.cache_write.values())

    @property
    def input_total(self) -> int | None:
        """All prompt tokens, however they were billed."""
        return _sum((self.input, self.cache_read, self.cache_write_total))

    @property
    def total(self) -> int | None:
        return _sum((self.input_total, self.output))

    @property
    def known(self) -> bool:
        return self.total is not None

    def __add__(self, other: Usage) -> Usage:
        writes: dict[str, int] | None = None
        if self.cache_write is not None and other.cache_write is not None:
            writes = dict(self.cache_write)
            for lifetime, tokens in other.cache_write.items():
                writes[lifetime] = writes.get(lifetime, 0) + tokens
        return Usage(
            input=_sum((self.input, other.input)),
            cache_read=_sum((self.cache_read, other.cache_read)),
            cache_write=writes,
            output=_sum((self.output, other.output)),
            reasoning=_sum((self.reasoning, other.reasoning)),
            split_assumed=self.split_assumed or other.split_assumed,
        )

    def as_dict(self) -> dict[str, Any]:
        """The stored buckets and, for readers, the derived totals."""
        return {
            "input": self.input,
            "cache_read": self.cache_read,
            "cache_write": None if self.cache_write is None else dict(self.cache_write),
            "output": self.output,
            "reasoning": self.reasoning,
            "input_total": self.input_total,
            "total": self.total,
        }


UNKNOWN = Usage(None, None, None, None, None)
ZERO = Usage()
