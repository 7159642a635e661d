"""JSON Schemas: what is refused before a run, and how values break them."""

from __future__ import annotations

from typing import Any

import pytest

from meshclaw.schemas import MAX_VIOLATIONS, check_schema, violations

TREE: dict[str, Any] = {
    "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (5, "a JSON Schema is a mapping"),
        ({"type": "strin"}, "$.type: 'strin' is not valid"),
        ({"properties": {"a": {"minimum": "1"}}}, "$.properties.a.minimum: '1' is not of type 'number'"),
        ({"pattern": "("}, "is not a 'regex'"),
        ({"$ref": "http://127.0.0.1/x"}, "points outside the schema"),
        ({"items": {"$ref": "file:///etc/passwd"}}, "points outside the schema"),
        ({"$ref": "other.json#/a"}, "points outside the schema"),
        ({"$dynamicRef": "https://x"}, "points outside the schema"),
        ({"properties": {"a": {"$ref": "#/$defs/gone"}}}, "'#/$defs/gone' points to nothing"),
        ({"$ref": "#gone"}, "'#gone' points to nothing"),
        ({"$ref": "#"}, "'#' leads back to itself"),
        ({"anyOf": [{"type": "string"}, {"$ref": "#"}]}, "'#' leads back to itself"),
        (
            {
                "items": {"$ref": "#/$defs/a"},
                "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
            },
            "leads back to itself",
        ),
    ],
)
def test_what_is_no_usable_schema(schema: Any, message: str) -> None:
    assert message in str(check_schema(schema))


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": "array", "items": {"$ref": "#"}},
        TREE,
        {"$id": "https://example.org/s", "$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}},
        {"$ref": "#here", "$defs": {"a": {"$anchor": "here"}}},
        {"properties": {"$ref": {"type": "string"}}},
    ],
)
def test_what_is_one(schema: Any) -> None:
    assert check_schema(schema) is None


def test_violations_name_the_place() -> None:
    schema = {"properties": {"items": {"items": {"required": ["name"]}}}}
    assert violations({"items": [{"name": 1}]}, schema) == []
    assert violations({"items": [{"name": 1}, {}]}, schema) == ["$.items[1]: 'name' is a required property"]


def test_violations_are_bounded_in_number_and_length() -> None:
    found = violations(["x" * 5_000] * 100, {"items": {"type": "integer"}})
    assert len(found) == MAX_VIOLATIONS
    assert all(len(one) < 400 for one in found)


def test_a_value_too_deep_to_be_checked_does_not_fit() -> None:
    deep: list[Any] = []
    for _ in range(3_000):
        deep = [deep]
    assert violations(deep, TREE) == ["$: nested too deeply to be checked"]
    assert violations([[[]]], TREE) == []


def test_nothing_is_fetched_even_when_a_schema_was_not_checked() -> None:
    with pytest.raises(ValueError, match="cannot be resolved"):
        violations(1, {"$ref": "http://127.0.0.1:9/x"})
