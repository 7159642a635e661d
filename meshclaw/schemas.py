"""JSON Schema: whether a schema is one, and how a value breaks it. Nothing is ever fetched."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

MAX_VIOLATIONS = 10


def check_schema(schema: Any) -> str | None:
    """Why `schema` is not a usable JSON Schema (draft 2020-12), or None.

    References may only point into the schema itself (`#/...`), to something that is there, and must
    not go in circles: all that could go wrong for any value is found before a value is paid for.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    if not isinstance(schema, Mapping):
        return "a JSON Schema is a mapping"
    references = list(_references(schema))
    for reference in references:
        if not reference.startswith("#"):
            return f"$ref '{reference}' points outside the schema"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"{error.json_path}: {_shorten(error.message)}"
    return _check_references(schema, references)


def violations(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """How `value` breaks `schema`, at most MAX_VIOLATIONS, as `$.items[2].name: message`; [] if it fits.

    A value too deeply nested to be checked does not fit. Raises ValueError when the schema refers to
    something that it does not hold, which `check_schema` finds beforehand.
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
    except RecursionError:
        found.append("$: nested too deeply to be checked")
    return found


def _check_references(schema: Mapping[str, Any], references: list[str]) -> str | None:
    """Follows each reference once, with a value that takes no step into any schema."""
    from referencing.exceptions import Unresolvable

    validator = _validator(json.dumps(schema, sort_keys=True))
    for reference in references:
        try:
            list(validator.evolve(schema={"$ref": reference}).iter_errors(None))
        except Unresolvable:
            return f"$ref '{reference}' points to nothing"
        except RecursionError:
            return f"$ref '{reference}' leads back to itself"
    return None


@lru_cache(maxsize=128)
def _validator(schema: str) -> Any:
    """One validator a schema: making it takes longer than using it.

    Its registry is empty and fetches nothing; the library's own would.
    """
    from jsonschema import Draft202012Validator
    from referencing import Registry

    registry: Registry[Any] = Registry()
    return Draft202012Validator(json.loads(schema), registry=registry)


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
