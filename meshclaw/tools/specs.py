"""Tool specs are paid for with every request, so they say what is needed and no more."""

from __future__ import annotations

from typing import Any

from meshclaw.messages import ToolSpec


def tool_spec(name: str, description: str, required: dict[str, str], optional: dict[str, str]) -> ToolSpec:
    """A spec whose parameters are given as name to `type` or `type: description`."""
    properties: dict[str, Any] = {}
    for field, text in (required | optional).items():
        kind, _, meaning = text.partition(": ")
        properties[field] = {"type": kind, "description": meaning} if meaning else {"type": kind}
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return ToolSpec(name, description, parameters)
