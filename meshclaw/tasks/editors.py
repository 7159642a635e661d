"""The JSON Schema of task files, for editors: made from the table of fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshclaw.tasks.fields import AXIS, CHECKS, SIZE, TASK, Field, Kind

_TEXTS = {"type": "array", "items": {"type": "string"}}
_NUMBER_WITH_UNIT = {"type": ["integer", "number", "string"]}
_KINDS: dict[Kind, dict[str, Any]] = {
    "text": {"type": "string"},
    "choice": {"type": "string"},
    "texts": _TEXTS,
    "bool": {"type": "boolean"},
    "scalar": {"type": ["string", "integer", "number", "boolean"]},
    "scalars": {
        "type": "array",
        "minItems": 1,
        "items": {"type": ["string", "integer", "number", "boolean"]},
    },
    "count": _NUMBER_WITH_UNIT,
    "bytes": _NUMBER_WITH_UNIT,
    "usd": _NUMBER_WITH_UNIT,
    "duration": {"type": "string", "pattern": r"^\s*(\d+(\.\d+)?(ms|s|m|h|d)\s*)+$"},
    "tail": {"type": "string"},
    "ladder": {
        "anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]
    },
    "schema": {"type": "object"},
    "nothing": {"type": "null"},
    "rows": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"type": ["string", "integer", "number", "boolean"]},
        },
    },
}


def task_json_schema(checks: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a task file, for editors. Every key of the table is in it.

    `checks` names kinds of checks besides the built-in ones, which may hold anything.
    """
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "MeshClaw task",
        **_object(TASK),
    }
    others = [name for name in checks if name not in CHECKS]
    bare = [*(name for name, one in CHECKS.items() if not one.required), *others]
    kinds = [_check(name, one) for name, one in CHECKS.items()]
    plugins = [{"type": "object", "required": [name]} for name in others]
    schema["properties"]["accept"] |= {
        "type": "array",
        "minItems": 1,
        "items": {"anyOf": [{"enum": bare}, *kinds, *plugins]},
    }
    return schema


def _check(name: str, one: Field) -> dict[str, Any]:
    """One item of `accept` that is a mapping: the kind with its argument, and its options."""
    schema = _object({name: one, **one.fields})
    return schema | {"required": [name]}


def _object(fields: Mapping[str, Field]) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _schema(one) for name, one in fields.items()},
    }
    required = [name for name, one in fields.items() if one.required]
    return schema | ({"required": required} if required else {})


def _schema(one: Field) -> dict[str, Any]:
    described = {"description": one.description}
    if one.kind == "table":
        return described | _object(one.fields)
    if one.kind == "named":
        return described | {"type": "object", "additionalProperties": _object(one.fields)}
    if one.kind == "inputs":
        either = {"anyOf": [{"const": "stdin"}, _object(one.fields)]}
        return described | {"type": "object", "additionalProperties": either}
    if one.kind == "checks":
        return described  # The kinds that exist are not known here.
    if one.kind == "sizes":
        sizes = {"type": "object", "additionalProperties": _object(SIZE)}
        return described | {"anyOf": [_TEXTS, sizes]}
    if one.kind == "matrix":
        either = {"anyOf": [_KINDS["scalars"], _object(AXIS)]}
        return described | {**_object(one.fields), "minProperties": 1, "additionalProperties": either}
    schema = described | _KINDS[one.kind]
    return schema | ({"enum": list(one.choices)} if one.choices else {})
