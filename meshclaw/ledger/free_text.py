"""What of an entry is free text: it may hold what a model, a server or a person wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

from meshclaw.ledger.entry import Entry

FREE_TEXT = frozenset(
    {
        *("reason", "failure", "checks", "accepted_risk", "why", "by", "fields"),
        *("served_model", "response_id", "wire_usage", "tier", "geo"),
    }
)
"""All other fields are ours, or names that the operator's own files and folders have."""

E = TypeVar("E", bound=Entry)


def redacted(entry: E, redact: Callable[[Any], Any]) -> E:
    """`entry` with its free text redacted; `redact` takes plain data and gives its like."""
    changes: dict[str, Any] = {}
    for name in FREE_TEXT.intersection(field.name for field in fields(entry)):
        before = getattr(entry, name)
        after = tuple(redact(before)) if isinstance(before, tuple) else redact(before)
        if after != before:
            changes[name] = after
    return replace(entry, **changes) if changes else entry
