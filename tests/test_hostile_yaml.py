"""YAML that wants to hurt, or that means something else than it says: each gets a clear Problem."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshclaw.documents import MAX_BYTES, MAX_DEPTH, MAX_MISTAKES, MAX_NODES, parse
from meshclaw.errors import Problem, ProblemsError

HOSTILE = {
    "alias": (b"a: 1\nb: *a\n", "2:4", "alias '*a'"),
    "anchor": (b"a: &x 1\n", "1:4", "anchor '&x'"),
    "merge key": (b"a:\n  <<: {b: 1}\n", "2:3", "merge key"),
    "python tag": (b"a: !!python/object:os.system x\n", "1:4", "tag"),
    "local tag": (b"a: !x 1\n", "1:4", "tag"),
    "duplicate": (b"a: 1\nb: 2\na: 3\n", "3:1", "duplicate key 'a' - it is already set in line 1"),
    "nested duplicate": (b"a: {b: 1, b: 2}\n", "1:11", "duplicate key 'b'"),
    "two documents": (b"a: 1\n---\nb: 1\n", "2:1", "a second document"),
    "too large": (b"a" * (MAX_BYTES + 1), "1:1", "at most 262144"),
    "too deep": (b"[" * 500 + b"]" * 500, f"1:{MAX_DEPTH + 1}", "nested deeper"),
    "too deep in blocks": (b"? " * 60_000, f"1:{2 * MAX_DEPTH + 1}", "nested deeper"),
    "too deep in dashes": (b"- " * 100_000, f"1:{2 * MAX_DEPTH + 1}", "nested deeper"),
    "too many": (b"[" + b"1," * (MAX_NODES + 1) + b"]", f"1:{2 * (MAX_NODES - 1) + 2}", "values"),
    "complex key": (b"[a, b]: 1\n", "1:1", "a key must be plain text"),
    "unquoted lookup": (b"a: {{ x }}\n", "1:5", "quote text that begins with"),
    "open quote": (b'a: "' + b"x" * (MAX_BYTES - 8), "1:262141", "not YAML"),
    "keys in a row": (b"a: " * 87_000, "1:5", "mapping values are not allowed"),
    "control character": (b"a: b\nc: \x01\n", "2:4", "control character U+0001"),
    "not UTF-8": (b"a: b\nc: \xff\n", "2:4", "not UTF-8"),
    "tab": (b"a:\n\tb: 1\n", "2:1", "tabs cannot indent"),
    "colon": (b"a: b: c\n", "1:5", "quote text that holds"),
    "unclosed": (b"a: [1, 2\n", "2:1", "not YAML"),
}


def problems_of(data: bytes) -> list[Problem]:
    with pytest.raises(ProblemsError) as caught:
        parse(data, "t.yaml")
    return list(caught.value.problems)


@pytest.mark.parametrize("name", HOSTILE)
def test_each_gets_a_problem_at_its_place(name: str) -> None:
    data, place, message = HOSTILE[name]
    (problem,) = problems_of(data)
    assert str(problem).startswith(f"t.yaml:{place}: ")
    assert message in str(problem)


BOMBS = {
    "laughs": (
        b"a: &a [x, x]\n" + b"".join(b"b%d: &%c [*%c, *%c]\n" % (n, n + 1, n, n) for n in range(97, 120)),
        f"more than {MAX_NODES} values",
    ),
    "many anchors": (b"".join(b"- &a%d x\n" % number for number in range(9_000)), "100 mistakes"),
    "many tags": (b"- !!x x\n" * 9_000, "100 mistakes"),
    "many duplicates": (b"a: 1\n" * 4_000, "100 mistakes"),
    "control characters": (b"# " + b"\x01" * (MAX_BYTES - 3), "100 mistakes"),
    "merge bomb": (
        b"k0: &k0 {a: 1}\n" + b"".join(b"k%d: &k%d\n  <<: *k%d\n" % (n, n, n - 1) for n in range(1, 90)),
        f"nested deeper than {MAX_DEPTH} levels",
    ),
    "wide merges": (
        b"a: &a {%s}\nb: {<<: [%s]}\n" % (b", ".join(b"k%d: 1" % n for n in range(900)), b"*a," * 40),
        f"more than {MAX_NODES} values",
    ),
    "deep aliases": (
        b"a: &a %s1%s\nb: %s*a%s\n" % (b"[" * 20, b"]" * 20, b"[" * 12, b"]" * 12),
        f"nested deeper than {MAX_DEPTH} levels",
    ),
    "an anchor in itself": (b"a: &a [*a]\n", "alias '*a'"),
    "a long text again and again": (
        b"a: &a " + b"x" * 200_000 + b"\nb: [*a, *a]\n",
        f"more than {MAX_BYTES} characters",
    ),
    "a long tag": (b"- !" + b"x" * 200_000 + b" z\n" * 2, f"tag '!{'x' * 39}...'"),
    "a long key twice": (b"? &a " + b"x" * 100_000 + b"\n? *a\n", f"duplicate key '{'x' * 40}...'"),
    "many directives": (b"%TAG !a! tag:a\n" * 9_000 + b"---\na: 1\n", "100 mistakes"),
    "a long directive": (b"%TAG !e! tag:" + b"x" * 200_000 + b"\n---\n- !e!y z\n", "directive '%TAG'"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_repeats_itself_is_cut_short(name: str) -> None:
    data, last = BOMBS[name]
    problems = problems_of(data)
    assert any(last in problem.message for problem in problems)
    assert len(problems) <= MAX_MISTAKES + 1
    assert max(len(str(problem)) for problem in problems) < 200


def test_what_is_read_in_place_of_what_is_not_allowed() -> None:
    text = """\
base: &base {model: m, effort: high}
job:
  <<: *base
  effort: low
other: {<<: [{a: 1}, *base]}
list: &list [1, *base]
again: *list
tagged: [!!str 12, !!int 3, !!bool true, !!null , ! 5]
unknown: *nobody
lookup: {{ name }}
[a]: 1
last: x\x07y
---
more: 1
"""
    problems: list[Problem] = []
    base = {"model": "m", "effort": "high"}
    assert parse(text.encode(), "t", problems).data() == {
        "base": base,
        "job": {"model": "m", "effort": "low"},
        "other": {"a": 1, **base},
        "list": [1, base],
        "again": [1, base],
        "tagged": ["12", 3, True, None, "5"],
        "unknown": "*nobody",
        "lookup": "{{ name }}",
        "last": "x y",
    }
    assert [(problem.line, problem.column, problem.message) for problem in sorted(problems)] == [
        (1, 7, "anchor '&base'"),
        (3, 3, "merge key '<<'"),
        (3, 7, "alias '*base'"),
        (5, 9, "merge key '<<'"),
        (5, 22, "alias '*base'"),
        (6, 7, "anchor '&list'"),
        (6, 17, "alias '*base'"),
        (7, 8, "alias '*list'"),
        (8, 10, "tag '!!str'"),
        (8, 20, "tag '!!int'"),
        (8, 29, "tag '!!bool'"),
        (8, 42, "tag '!!null'"),
        (8, 51, "tag '!'"),
        (9, 10, "alias '*nobody'"),
        (10, 10, "a key must be plain text"),
        (11, 1, "a key must be plain text"),
        (12, 8, "control character U+0007"),
        (13, 1, "a second document"),
    ]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("a: {{ x }} and more\n", ["1:5"]),
        ("a: {{ x }}{{ y }}\nb: 1\n", ["1:5"]),
        ("{{ x }}: 1\nb: 2\n", ["1:2"]),
        ("\x0ca: 1\nb: 2\n", ["1:1"]),
        ("a: 1\n\x00\nb: 2\n", ["2:1"]),
        ("a: [*.py]\n", ["1:6"]),
        ("%YAML 1.2\n---\na: 1\n", ["1:1"]),
    ],
)
def test_one_mistake_is_one_problem(text: str, places: list[str]) -> None:
    assert [f"{problem.line}:{problem.column}" for problem in problems_of(text.encode())] == places


def test_a_value_stands_where_its_alias_does() -> None:
    node = parse(b"a: &a {b: 1}\nc: *a\n", "t", []).value["c"]
    assert (node.line, node.column, node.data()) == (2, 4, {"b": 1})


def test_nesting_that_the_parser_itself_refuses() -> None:
    """Where it gives up depends on its version."""
    (problem,) = problems_of(b"[" * 100_000)
    assert problem.line == 1
    assert "nested deeper" in str(problem)


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "yes",
        "on",
        "off",
        "No",
        "012",
        "0o14",
        "0x1f",
        "1_000",
        "22:22",
        "2026-11-23",
        ".inf",
        ".nan",
        "+1",
        "1.",
        "1e",
        "= ",
        "TRUE",
        "Null",
        "9" * 50,
    ],
)
def test_plain_text_is_never_guessed_into_something_else(text: str) -> None:
    assert parse(f"a: {text}\n".encode(), "t").data() == {"a": text.strip()}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("1.5", 1.5),
        ("2e3", 2000.0),
    ],
)
def test_what_json_knows_is_what_it_is(text: str, value: Any) -> None:
    assert parse(f"a: {text}\n".encode(), "t").data() == {"a": value}
    assert parse(f"a: '{text}'\n".encode(), "t").data() == {"a": text}


def test_a_byte_order_mark_and_windows_lines_are_read() -> None:
    assert parse("\ufeffa: b\r\nc: d\r\n".encode(), "t").data() == {"a": "b", "c": "d"}


def test_an_empty_file_is_an_empty_mapping() -> None:
    assert parse(b"", "t").data() == {}
    assert parse(b"# only a comment\n", "t").data() == {}


def test_positions_count_from_one_and_know_blocks() -> None:
    root = parse(b"a: x\nb:\n  - 'y'\n  - |\n    line\n", "t")
    first, second = root.value["b"].value
    assert (first.line, first.column, first.plain) == (3, 5, False)
    assert (second.line, second.block_column) == (4, 5)
    assert root.key_place("b") == (2, 1)


@pytest.mark.parametrize(
    ("block", "column"), [("|\n    x\n", 5), ("|2\n    x\n", 3), ("|+\n\n\n   x\n", 4), ("|\n", 0)]
)
def test_where_the_lines_of_a_block_begin(block: str, column: int) -> None:
    assert parse(f"b: {block}".encode(), "t").value["b"].block_column == column


def test_all_line_breaks_of_yaml_count() -> None:
    node = parse("a: 'x\u2028y'\nb: |\n  z\n".encode(), "t").value["b"]
    assert node.block_column == 3


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_give_data_or_problems(data: bytes) -> None:
    problems: list[Problem] = []
    try:
        json.dumps(parse(data, "t", problems).data(), allow_nan=False)
    except ProblemsError as error:
        problems = list(error.problems)
    assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in problems)


# YAML 1.1 takes U+2028 and U+2029 for line breaks, which no key may hold; JSON does not.
texts = st.text(
    st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Co", "Cn", "Zl", "Zp"]), max_size=20
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(texts.filter(lambda key: key != "<<"), values, max_size=5))
def test_json_comes_back_as_it_was(data: dict[str, Any]) -> None:
    assert parse(json.dumps(data, ensure_ascii=False).encode(), "t").data() == data
