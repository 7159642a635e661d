"""Keeps secrets out of a batch's record, and puts those back that are given again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshclaw.app.saving import given_again
from meshclaw.errors import Problem, ProblemsError


def without_secrets(plain: Mapping[str, Any], redact: Callable[[Any], Any]) -> dict[str, Any]:
    """A batch's record as it may be written.

    Its `lost` are the parameters that held a secret, and those of each item its own; with them it can go
    on. `redacted` says that a secret was elsewhere, or that items differ in it, so that it cannot.
    """
    kept = redact(plain)
    items = []
    values: dict[str, set[Any]] = {}
    for item, said in zip(kept["items"], plain["items"], strict=True):
        lost = [name for name, value in said["params"].items() if item["params"].get(name) != value]
        for name in lost:
            values.setdefault(name, set()).add(said["params"][name])
        items.append({**item, "lost": lost})
    options = {**kept["options"], "params": plain["options"]["params"]}
    elsewhere = {**kept, "items": plain["items"], "options": options} != plain
    differ = any(len(found) > 1 for found in values.values())
    return {**kept, "items": items, "lost": sorted(values), "redacted": elsewhere or differ}


def with_secrets(data: Mapping[str, Any], params: Mapping[str, str]) -> dict[str, Any]:
    """What `without_secrets` wrote, with the parameters that are given again.

    Raises ProblemsError when one is missing, or another is given, and when the batch cannot go on.
    """
    what = f"batch {data['batch']}"
    if data.get("redacted"):
        message = f"{what} cannot go on: its task, options or matrix held a secret, which is not kept"
        hint = f"`meshclaw run {data['task']}` does the work anew"
        raise ProblemsError([Problem("RUN", 0, 0, message, hint)])
    values = given_again(what, data.get("lost", ()), params)
    said = data["options"]["params"]
    options = {**data["options"], "params": {name: values.get(name, value) for name, value in said.items()}}
    items = [
        {**item, "params": {**item["params"], **{name: values[name] for name in item.get("lost", ())}}}
        for item in data["items"]
    ]
    return {**data, "options": options, "items": items}
