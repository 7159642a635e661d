"""JSON Schema: whether a schema is one, and how a value breaks it. Nothing is ever fetched."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

MAX_VIOLATIONS = 10


def check_schema(schema: Any) -> str | None:
    """Why `schema` is not a usable JSON Schema (draft 2020-12), or None.

    References may only point into the schema itself (`#/...`).
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    if not isinstance(schema, Mapping):
        return "a JSON Schema is a mapping"
    for reference in _references(schema):
        if not reference.startswith("#"):
            return f"$ref '{reference}' points outside the schema"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"{error.json_path}: {error.message}"
    return None


def violations(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """How `value` breaks `schema`, at most MAX_VIOLATIONS, as `$.items[2].name: message`; [] if it fits.

    Raises ValueError when the schema refers to something that it does not hold.
    """
    from referencing.exceptions import Unresolvable

    validator = _validator(json.dumps(schema, sort_keys=True))
    found: list[str] = []
    try:
        for error in validator.iter_errors(value):
            found.append(f"{error.json_path}: {_shorten(error.message)}")
            if len(found) == MAX_VIOLATIONS:
                break
    except Unresolvable as error:
        raise ValueError(f"the schema cannot be resolved: {error}") from error
    return found


@lru_cache(maxsize=128)
def _validator(schema: str) -> Any:
    """One validator a schema: making it takes longer than using it."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema))


def _shorten(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)
