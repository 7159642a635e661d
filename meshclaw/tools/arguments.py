"""Decodes the arguments of a tool call: strict about meaning, forgiving about form.

Small models quote numbers, wrap the object in a string, or give an object where its text is wanted.
What can only mean one thing is taken so; all else is told to the model in words it can act on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from meshclaw.messages import ToolSpec
from meshclaw.schemas import violations

_PLAIN = {"string": str, "integer": int, "boolean": bool}
_FLAT = frozenset({"type", "properties", "required", "additionalProperties"})


class ArgumentsError(Exception):
    """The arguments cannot be used; the text says why and what is expected."""


def decode_arguments(text: str, spec: ToolSpec) -> dict[str, Any]:
    """The arguments as the tool's schema wants them. Raises ArgumentsError."""
    value = _parse(text, spec)
    if isinstance(value, str):
        value = _parse(value, spec)
    if not isinstance(value, dict):
        raise ArgumentsError(f"the arguments of {spec.name} must be a JSON object; {_expected(spec)}")
    properties: Mapping[str, Any] = spec.parameters.get("properties", {})
    required = spec.parameters.get("required", ())
    arguments = {
        name: _coerce(item, properties.get(name, {}).get("type"))
        for name, item in value.items()
        if item is not None or name in required
    }
    if not plainly_fits(arguments, spec.parameters):
        problems = violations(arguments, spec.parameters)
        if problems:
            raise ArgumentsError(f"wrong arguments: {'; '.join(problems)}; {_expected(spec)}")
    return arguments


def plainly_fits(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    """True when the arguments surely fit a schema as flat as the built-in tools have. It spares most calls
    the validator, which takes a third of a millisecond, and most runs its import."""
    if schema.get("type") != "object" or not schema.keys() <= _FLAT:
        return False
    properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    return all(name in arguments for name in schema.get("required", ())) and all(
        name in properties
        and properties[name].keys() <= {"type", "description"}
        and type(item) is _PLAIN.get(str(properties[name].get("type")))
        for name, item in arguments.items()
    )


def _parse(text: str, spec: ToolSpec) -> Any:
    if not text.strip():
        return {}
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ArgumentsError(
            f"the arguments of {spec.name} are not valid JSON: {error.msg} at character {error.pos}"
        ) from None
    except (ValueError, RecursionError):
        raise ArgumentsError(f"the arguments of {spec.name} cannot be read as JSON") from None


def _coerce(value: Any, wanted: Any) -> Any:
    match wanted, value:
        case "integer", str():
            try:
                return int(value)
            except ValueError:
                return value
        case "integer", float() if value.is_integer():
            return int(value)
        case "boolean", "true" | "True":
            return True
        case "boolean", "false" | "False":
            return False
        case "string", dict() | list():
            return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        case "string", bool() | int() | float():
            return json.dumps(value)
        case _:
            return value


def _expected(spec: ToolSpec) -> str:
    required = spec.parameters.get("required", ())
    fields = [
        f"{name} ({field.get('type', 'any')}{'' if name in required else ', optional'})"
        for name, field in spec.parameters.get("properties", {}).items()
    ]
    return f"{spec.name} takes {', '.join(fields) or 'nothing'}"
