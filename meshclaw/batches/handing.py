"""What one item hands to another: its result as text, or those of a whole matrix, joined."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from meshclaw.batches.expanding import label
from meshclaw.batches.plan import Item, Plan
from meshclaw.errors import WorkError


def handed(plan: Plan, item: Item, records: Mapping[int, Mapping[str, Any]]) -> dict[str, str]:
    """The results that an item needs, by the inputs that they become. All of them must have ended well.

    Raises WorkError when one is gone.
    """
    found = {}
    for name, numbers in item.needs.items():
        parts = []
        for number in numbers:
            other = plan.items[number - 1]
            if records[number]["result"] is None:
                raise WorkError(f"the result of '{plan.name(other)}' is gone with its run's folder")
            text, head = result_text(records[number]), label(plan.tasks[other.task], other.params)
            parts.append(f"{heading(head)}\n{text}" if head else text)
        found[name] = "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
    return found


def result_text(record: Mapping[str, Any]) -> str:
    """A run's result as it is printed: text as it is, a value as JSON."""
    result = record["result"]
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, indent=2)


def heading(name: str) -> str:
    """The line above one of several results."""
    return f"==> {name} <=="
