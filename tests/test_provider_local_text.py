"""What the embedded model is told and how its turns are read, without the model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from meshclaw.errors import FailureKind, ProviderError
from meshclaw.messages import Message, Request, Text, ToolCall, ToolResult, ToolSpec, user
from meshclaw.providers.base import NullSink
from meshclaw.providers.local import LocalProvider
from meshclaw.providers.local_template import read_turn, render, signature
from meshclaw.providers.local_turn import turn_schema
from meshclaw.providers.tool_text import find_tool_calls


def spec(name: str, *parameters: str) -> ToolSpec:
    properties = {parameter: {"type": "string"} for parameter in parameters}
    return ToolSpec(
        name,
        f"Does {name}.",
        {
            "type": "object",
            "properties": properties,
            "required": list(parameters),
            "additionalProperties": False,
        },
    )


READ, EDIT, SHELL = spec("read", "path"), spec("edit", "path", "old", "new"), spec("shell", "command")
NAMES = ("read", "edit", "shell")


def asked(name: str, **arguments: str) -> Message:
    return Message("assistant", (Text("hm"), ToolCall("c1", name, json.dumps(arguments))))


def told(content: str, *, is_error: bool = False) -> Message:
    return Message("user", (ToolResult("c1", content, is_error),))


def allows(turn: dict[str, Any], *messages: Message, answer: dict[str, Any] | None = None) -> bool:
    request = Request("m", (user("Do it."), *messages), tools=(READ, EDIT, SHELL), schema=answer)
    schema = turn_schema(request)
    return bool(jsonschema.Draft202012Validator(schema).is_valid(turn))


def call(name: str, **arguments: str) -> dict[str, Any]:
    return {"thought": "t", "done": False, "tool": name, "arguments": arguments}


DONE = {"thought": "t", "done": True, "answer": "yes"}
LISTED = (asked("shell", command="ls"), told("a.py\n[exit code 0]"))
SHOWN = told("def f():\n    return 1\n\n# x\n# x\n")


def test_the_first_turn_is_a_call_and_never_a_claim() -> None:
    assert allows(call("read", path="a"))
    assert not allows(DONE)
    assert not allows(call("read", file="a"))
    assert not allows(call("format_disk"))


def test_an_answer_needs_a_tool_that_worked_or_three_failures() -> None:
    assert allows(DONE, asked("shell", command="ls"), told("a"))
    failed = (asked("shell", command="ls"), told("no", is_error=True))
    assert not allows(DONE, *failed)
    assert allows(DONE, *failed, *failed, *failed)


def test_an_answer_fits_the_schema_that_the_task_states() -> None:
    worked = (asked("shell", command="ls"), told("a"))
    number = {"type": "integer"}
    assert not allows(DONE, *worked, answer=number)
    assert allows({**DONE, "answer": 3}, *worked, answer=number)


def test_edits_need_a_file_that_was_read_and_lines_that_are_in_it_once() -> None:
    edit = call("edit", path="a.py", old="    return 1", new="    return 2")
    assert not allows(edit)
    seen = (asked("read", path="a.py"), SHOWN)
    assert allows(edit, *seen)
    assert not allows(call("edit", path="b.py", old="    return 1", new="x"), *seen)
    assert not allows(call("edit", path="a.py", old="return  1", new="x"), *seen)
    assert not allows(call("edit", path="a.py", old="# x", new="x"), *seen)


def test_a_part_of_a_file_is_known_without_its_header() -> None:
    part = (asked("read", path="a.py"), told("[lines 2-2 of 9]\n    return 1\n"))
    assert allows(call("edit", path="a.py", old="    return 1", new="x"), *part)
    assert not allows(call("edit", path="a.py", old="[lines 2-2 of 9]", new="x"), *part)


def test_a_line_is_not_replaced_twice() -> None:
    seen = (asked("read", path="a.py"), SHOWN)
    done = (asked("edit", path="a.py", old="def f():", new="def f():\n    pass"), told("edited"), *LISTED)
    assert not allows(call("edit", path="a.py", old="def f():", new="x"), *seen, *done)
    assert allows(call("edit", path="a.py", old="    return 1", new="x"), *seen, *done)


def test_an_optional_number_is_offered_once_a_result_names_it() -> None:
    properties = {"path": {"type": "string"}, "start_line": {"type": "integer"}}
    page = ToolSpec("page", "Pages.", {"type": "object", "properties": properties, "required": ["path"]})
    page_2 = call("page", path="a") | {"arguments": {"path": "a", "start_line": 2}}

    def valid(*messages: Message) -> bool:
        request = Request("m", (user("Do it."), *messages), tools=(page,))
        shape = turn_schema(request)["anyOf"][0]["properties"]["arguments"]["properties"]
        return set(page_2["arguments"]) <= set(shape)

    assert not valid()
    assert valid(asked("page", path="a"), told("[lines 1-1 of 9; go on with start_line 2]\nx\n"))


def test_lines_are_followed_through_an_edit() -> None:
    first = {"path": "a.py", "old": "    return 1", "new": "    y = 2\n    return y"}
    history = (asked("read", path="a.py"), SHOWN, asked("edit", **first), told("done"), *LISTED)
    assert not allows(call("edit", **first), *history)
    assert allows(call("edit", path="a.py", old="    y = 2", new=""), *history)


def test_a_tool_that_says_nothing_new_waits_until_something_has_changed() -> None:
    once = (asked("shell", command="ls"), told("a"))
    assert allows(call("shell", command="ls"), *once)
    assert not allows(call("shell", command="ls"), *once, *once)
    assert not allows(call("shell", command="ls"), *once, *once, asked("read", path="a"), told("x"))
    written = (
        asked("edit", path="a", old="x", new="y"),
        told("edited"),
        asked("read", path="a"),
        told("y"),
    )
    assert allows(call("shell", command="ls"), *once, *once, *written)


def test_what_was_changed_is_looked_at_before_anything_else() -> None:
    seen = (asked("read", path="a.py"), SHOWN)
    edited = (*seen, asked("edit", path="a.py", old="def f():", new="def g():"), told("edited"))
    assert allows(DONE, *seen)
    assert not allows(DONE, *edited)
    assert not allows(call("shell", command="ls"), *edited)
    assert allows(call("read", path="a.py"), *edited)
    assert allows(DONE, *edited, asked("read", path="a.py"), told("def g():\n"))


def test_a_command_that_says_nothing_may_have_changed_nothing() -> None:
    silent = (asked("shell", command="sed -i s/a/b/ x"), told("[exit code 0]"))
    assert not allows(DONE, *silent)
    assert allows(DONE, *silent, asked("read", path="x"), told("b"))


def test_a_command_that_failed_did_not_work() -> None:
    assert not allows(DONE, asked("shell", command="make"), told("no rule\n[exit code 2]"))
    assert allows(DONE, asked("shell", command="make"), told("made\n[exit code 0]"))


def test_a_turn_is_read_as_thought_and_call_or_as_the_answer() -> None:
    made = read_turn(json.dumps(call("read", path="ä")), "c9")
    assert made == (Text("t"), ToolCall("c9", "read", '{"path": "ä"}'))
    assert read_turn(json.dumps(DONE), "c9") == (Text("yes"),)
    assert read_turn(json.dumps({**DONE, "answer": {"n": 1}}), "c9") == (Text('{"n": 1}'),)
    assert read_turn('{"thought": "t", "do', "c9") is None


def test_the_history_is_spelled_as_the_model_spells_it() -> None:
    turn = json.dumps(call("read", path="a"))
    without_thought = json.dumps({"done": False, "tool": "read", "arguments": {"path": "a"}})
    parts = read_turn(turn, "c1")
    assert parts is not None
    rendered = render("", [user("Do it."), Message("assistant", parts), told("x")], [READ])
    assert [one["role"] for one in rendered] == ["system", "user", "assistant", "user"]
    assert rendered[2]["content"] == without_thought, "it would repeat its thought for ever"
    assert rendered[3]["content"].startswith("read worked:\nx\n\nThe job: Do it.")


def test_a_longer_history_begins_with_the_shorter_ones_rendering() -> None:
    history = [user("Do it."), asked("read", path="a"), told("x"), asked("shell", command="ls"), told("y")]
    assert render("s", history, [READ, SHELL])[:4] == render("s", history[:3], [READ, SHELL])


def test_without_tools_the_text_is_passed_as_it_is() -> None:
    history = [user("Hi {x}"), Message("assistant", (Text("Ho"),)), user("Ha")]
    rendered = render("Be terse.", history, [])
    assert [one["content"] for one in rendered] == ["Be terse.", "Hi {x}", "Ho", "Ha"]
    assert "assistant" in render("", history, [])[0]["content"]


def test_a_signature_says_what_is_optional_and_what_may_be_chosen() -> None:
    tool = ToolSpec(
        "go",
        "Goes.",
        {
            "type": "object",
            "properties": {
                "to": {"type": "string", "description": "a place"},
                "how": {"enum": ["a", "b"]},
            },
            "required": ["to"],
        },
    )
    assert signature(tool) == '- go(to: string - a place; how?: "a"|"b"): Goes.'


@pytest.mark.parametrize(
    ("text", "rest", "calls"),
    [
        ('<tool_call>\n{"name": "read", "arguments": {"path": "a"}}\n</tool_call>', "", [("read", "a")]),
        ('Sure.\n```json\n{"name": "read", "arguments": {"path": "`}`"}}\n```', "Sure.", [("read", "`}`")]),
        ('{"tool": "read", "parameters": {"path": "a"}}', "", [("read", "a")]),
        ("{'name': 'read', 'arguments': {'path': 'a'}}", "", [("read", "a")]),
        ('[{"function": {"name": "read", "arguments": "{\\"path\\": \\"a\\"}"}}]', "", [("read", "a")]),
        (
            '{"name": "read", "arguments": {"path": "a"}}\n{"name": "read", "arguments": {"path": "b"}}',
            "",
            [("read", "a"), ("read", "b")],
        ),
    ],
)
def test_calls_are_found_in_text(text: str, rest: str, calls: list[tuple[str, str]]) -> None:
    left, found = find_tool_calls(text, NAMES, "t")
    assert left == rest
    assert [(one.name, json.loads(one.arguments)["path"]) for one in found] == calls
    assert [one.id for one in found] == [f"t_{n}" for n in range(1, len(calls) + 1)]


@pytest.mark.parametrize(
    "text",
    [
        "No call here.",
        '{"name": "Bob", "arguments": {}}',
        '```json\n{"name": "Bob", "age": 3}\n```',
        'The call would be {"name": "read", "arguments": {"path": "a"}} but no.',
        "__import__('os').system('x')",
        "{" * 100_000,
        '{"name": ["read"]}',
        "",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    assert find_tool_calls(text, NAMES, "t") == (text, ())


async def test_missing_weights_are_said_with_the_way_to_get_them(tmp_path: Path) -> None:
    provider = LocalProvider(tmp_path / "absent.gguf")
    with pytest.raises(ProviderError, match="meshclaw models pull") as failed:
        await provider.complete(Request("m", (user("hi"),)), NullSink())
    assert failed.value.kind is FailureKind.NOT_FOUND
    await provider.aclose()


@pytest.mark.parametrize(
    ("source", "said", "hint"),
    [
        ("raise ModuleNotFoundError('no xllamacpp')", "is not installed", "pip install 'meshclaw[local]'"),
        ("raise ImportError('libgomp.so.1: cannot open')", "cannot be loaded", "apt-get install libgomp1"),
    ],
)
async def test_a_runtime_that_cannot_be_imported_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str, hint: str
) -> None:
    (tmp_path / "xllamacpp.py").write_text(f"{source}\n")
    (tmp_path / "weights.gguf").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    with pytest.raises(ProviderError, match=said) as caught:
        await LocalProvider(tmp_path / "weights.gguf").complete(Request("m", (user("hi"),)), NullSink())
    assert caught.value.kind is FailureKind.NOT_FOUND
    assert hint in caught.value.hint
