"""What the three wires have in common when messages are put on them and counts are read off them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def arguments_object(arguments: str) -> dict[str, Any]:
    """A recorded tool call's arguments as an object, for wires and chat templates that insist on one.

    Text that is not a JSON object is wrapped, so that the model still sees what it wrote.
    """
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"invalid_arguments": arguments}


def arguments_text(arguments: str) -> str:
    """As `arguments_object`, as JSON text; valid arguments stay byte for byte what the model wrote."""
    value = arguments_object(arguments)
    return json.dumps(value) if value.keys() == {"invalid_arguments"} else arguments


def count(data: Mapping[str, Any], key: str) -> int | None:
    """A token count from the wire: an integer >= 0, or None when it is absent or anything else."""
    value = data.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def optional_count(data: Mapping[str, Any], key: str) -> int | None:
    """As `count`, but 0 when the wire does not have this bucket (the key is absent or null)."""
    return 0 if data.get(key) is None else count(data, key)


def section(data: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """A nested object, or None when it is absent or something else."""
    value = data.get(key)
    return value if isinstance(value, Mapping) else None


def is_closed(schema: Any) -> bool:
    """Whether forbidding undeclared properties leaves the schema's meaning.

    Anthropic's structured output forbids them everywhere; a schema that needs free-form objects cannot be
    enforced there, and would even be narrowed to `{}`.
    """
    if isinstance(schema, list):
        return all(is_closed(item) for item in schema)
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type") == "object" and (
        not schema.get("properties")
        or schema.get("additionalProperties", False) is not False
        or "patternProperties" in schema
    ):
        return False
    return all(is_closed(value) for value in schema.values())


_LOOSE_KEYWORDS = frozenset(
    {
        "allOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "patternProperties",
        "dependentRequired",
        "dependentSchemas",
    }
)


def is_strict(schema: Any, *, root: bool = True) -> bool:
    """Whether a schema fits OpenAI's strict subset: objects closed, every property required.

    Source: developers.openai.com/api/docs/guides/structured-outputs, "Supported schemas".
    """
    if isinstance(schema, list):
        return all(is_strict(item, root=False) for item in schema)
    if not isinstance(schema, Mapping):
        return True
    if _LOOSE_KEYWORDS & schema.keys() or (root and schema.get("type") != "object"):
        return False
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(
            properties
        ):
            return False
        if not all(is_strict(value, root=False) for value in properties.values()):
            return False
        schema = {key: value for key, value in schema.items() if key != "properties"}
    return all(is_strict(value, root=False) for value in schema.values())
