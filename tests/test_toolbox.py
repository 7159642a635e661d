"""The Toolbox: decoding, review, bounds, redaction; whatever a model gets wrong comes back to it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshclaw.messages import ToolCall, ToolResult, ToolSpec
from meshclaw.policies import Effects, TaskPolicy
from meshclaw.runners.agent import AGENT_SYSTEM
from meshclaw.schemas import violations
from meshclaw.tools.arguments import ArgumentsError, decode_arguments, plainly_fits
from meshclaw.tools.base import ToolContext, ToolError, ToolOutput
from meshclaw.tools.built_in import BUILT_IN, built_in_tools
from meshclaw.tools.specs import tool_spec
from meshclaw.tools.toolbox import HEAD_BYTES, TAIL_BYTES, Toolbox
from meshclaw.workspace import Workspace


class EchoTool:
    """Gives back `text`; counts its calls."""

    spec = tool_spec(
        "echo", "Echo.", {"text": "string"}, {"count": "integer", "loud": "boolean", "mode": "string"}
    )

    def __init__(
        self, output: ToolOutput | Exception | None = None, effects: Effects | None = None
    ) -> None:
        self.calls: list[Mapping[str, Any]] = []
        self._output = output
        self._effects = effects or Effects()

    def effects(self, arguments: Mapping[str, Any]) -> Effects:
        return self._effects

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        self.calls.append(arguments)
        if isinstance(self._output, Exception):
            raise self._output
        return self._output or ToolOutput(arguments["text"])


class HangingTool(EchoTool):
    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        await anyio.sleep_forever()
        raise AssertionError


def toolbox(tmp_path: Path, *tools: Any, policy: TaskPolicy | None = None, **options: Any) -> Toolbox:
    project, outputs = tmp_path / "project", tmp_path / "outputs"
    project.mkdir(exist_ok=True)
    context = ToolContext(Workspace(project, outputs), None, {}, timeout=options.pop("timeout", 60.0))
    return Toolbox(tools, policy or TaskPolicy(), context, outputs=outputs, **options)


def call(arguments: Any, name: str = "echo", id: str = "c1") -> ToolCall:
    return ToolCall(id, name, arguments if isinstance(arguments, str) else json.dumps(arguments))


@pytest.mark.parametrize(
    ("arguments", "decoded"),
    [
        ('{"text": "a"}', {"text": "a"}),
        (' {"text": "a", "count": "3"} ', {"text": "a", "count": 3}),
        ('{"text": "a", "count": 3.0, "loud": "true"}', {"text": "a", "count": 3, "loud": True}),
        ('{"text": "a", "count": null}', {"text": "a"}),
        ('{"text": 5}', {"text": "5"}),
        ('{"text": {"k": [1]}}', {"text": '{\n  "k": [\n    1\n  ]\n}\n'}),
        (json.dumps('{"text": "a"}'), {"text": "a"}),
    ],
)
def test_decoding_is_forgiving_about_form(tmp_path: Path, arguments: str, decoded: dict[str, Any]) -> None:
    assert toolbox(tmp_path, EchoTool()).decode(call(arguments)) == decoded


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "'text' is a required property"),
        ("{", "not valid JSON"),
        ("[1]", "must be a JSON object"),
        ("7", "must be a JSON object"),
        ("ls -la", "not valid JSON"),
        ('"ls"', "not valid JSON"),
        ('{"text": null}', "not of type 'string'"),
        ('{"text": "a", "count": "many"}', "not of type 'integer'"),
        ('{"text": "a", "wrong": 1}', "'wrong' was unexpected"),
        ("[" * 100_000, "JSON"),
        ('{"count": ' + "9" * 5_000 + "}", "JSON"),
    ],
)
async def test_what_cannot_be_decoded_is_told(tmp_path: Path, arguments: str, told: str) -> None:
    tool = EchoTool()
    box = toolbox(tmp_path, tool)
    result = box.decode(call(arguments))
    assert isinstance(result, ToolResult)
    assert result.is_error
    assert told in result.content
    done = await box.execute(call(arguments))
    assert done.result == result
    assert done.denied is None
    assert tool.calls == []
    assert box.only_reads(call(arguments))


@given(st.text() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_decoding_never_raises(arguments: str) -> None:
    with contextlib.suppress(ArgumentsError):
        assert isinstance(decode_arguments(arguments, EchoTool.spec), dict)


async def test_an_unknown_tool_is_told_with_the_names(tmp_path: Path) -> None:
    done = await toolbox(tmp_path, *built_in_tools(BUILT_IN)).execute(call({}, name="reed"))
    assert done.result.is_error
    assert done.result.content == (
        "there is no tool 'reed'; did you mean read? "
        "the tools are: read, list, search, edit, write, shell, fetch"
    )


async def test_a_denied_call_does_not_happen(tmp_path: Path) -> None:
    tool = EchoTool(effects=Effects(writes=("a.txt",)))
    done = await toolbox(tmp_path, tool, policy=TaskPolicy(source="t.yaml")).execute(call({"text": "x"}))
    assert tool.calls == []
    assert done.result == ToolResult("c1", "denied: writing a.txt is not allowed", is_error=True)
    assert done.denied == 'add "a.txt" to allow.write in t.yaml, or pass --allow-write a.txt'
    allowed = toolbox(tmp_path, tool, policy=TaskPolicy(write=["*.txt"]))
    assert (await allowed.execute(call({"text": "x"}))).result == ToolResult("c1", "x")
    assert len(tool.calls) == 1


async def test_the_policy_sees_paths_as_they_will_be_opened(tmp_path: Path) -> None:
    for path in (".//tasks/./x.yaml", str(tmp_path / "project" / "tasks/x.yaml")):
        tool = EchoTool(effects=Effects(writes=(path,)))
        done = await toolbox(tmp_path, tool, policy=TaskPolicy(write=["**"])).execute(call({"text": "x"}))
        assert done.result.content.startswith("denied: writing tasks/x.yaml is not allowed")
    outside = EchoTool(effects=Effects(reads=("../x",)))
    done = await toolbox(tmp_path, outside).execute(call({"text": "x"}))
    assert done.result.is_error
    assert outside.calls == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ToolError("no such luck"), "no such luck"),
        (ValueError("bad"), "echo failed: ValueError: bad"),
        (ExceptionGroup("several", [OSError("disk")]), "echo failed: ExceptionGroup"),
    ],
)
async def test_errors_go_back_to_the_model(tmp_path: Path, error: Exception, told: str) -> None:
    done = await toolbox(tmp_path, EchoTool(error)).execute(call({"text": "x"}))
    assert done.result.is_error
    assert told in done.result.content


async def test_cancellation_passes(tmp_path: Path) -> None:
    ended: list[str] = []

    async def execute() -> None:
        await toolbox(tmp_path, HangingTool()).execute(call({"text": "x"}))
        ended.append("returned")

    async with anyio.create_task_group() as group:
        group.start_soon(execute)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert ended == []


async def test_a_tool_that_hangs_is_stopped(tmp_path: Path) -> None:
    done = await toolbox(tmp_path, HangingTool(), timeout=-15.0).execute(call({"text": "x"}))
    assert done.result.is_error
    assert "took longer than" in done.result.content


async def test_long_outputs_are_bounded_and_kept_whole(tmp_path: Path) -> None:
    text = "".join(f"line {number} é\n" for number in range(10_000))
    box = toolbox(tmp_path, EchoTool(ToolOutput(text)), *built_in_tools(["read"]))
    done = await box.execute(call({"text": "x"}, id="call/../1"))
    content = done.result.content
    assert len(content.encode()) < HEAD_BYTES + TAIL_BYTES + 200
    assert content.startswith("line 0 é\nline 1 é\n")
    assert content.endswith("line 9998 é\nline 9999 é\n")
    assert "read @run/call____1.txt for all" in content
    assert (tmp_path / "outputs" / "call____1.txt").read_text() == text
    page = await box.execute(
        call({"path": "@run/call____1.txt", "start_line": 5_000, "end_line": 5_001}, name="read")
    )
    assert page.result.content == "[lines 5000-5001 of 10000]\nline 4999 é\nline 5000 é\n"
    again = await box.execute(call({"text": "x"}, id="call/../1"))
    assert "@run/call____1-2.txt" in again.result.content
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "outputs").iterdir()] == [0o600] * 2


async def test_an_output_without_lines_is_cut_between_characters(tmp_path: Path) -> None:
    done = await toolbox(tmp_path, EchoTool(ToolOutput("é" * 50_000))).execute(call({"text": "x"}))
    assert "\ufffd" not in done.result.content
    assert "of 100000 bytes left out ...]" in done.result.content


async def test_secrets_are_redacted_before_anything_is_kept(tmp_path: Path) -> None:
    text = "SECRET " * 10_000
    output = ToolOutput(text, display="+SECRET")
    box = toolbox(tmp_path, EchoTool(output), redact=lambda given: given.replace("SECRET", "***"))
    done = await box.execute(call({"text": "x"}))
    kept = (tmp_path / "outputs" / "c1.txt").read_text()
    assert "SECRET" not in done.result.content + done.display + kept
    assert kept == "*** " * 10_000
    failing = toolbox(
        tmp_path, EchoTool(ToolError("SECRET")), redact=lambda given: given.replace("SECRET", "***")
    )
    assert (await failing.execute(call({"text": "x"}))).result.content == "***"


async def test_every_output_can_be_encoded(tmp_path: Path) -> None:
    done = await toolbox(tmp_path, EchoTool(ToolOutput("a\udcff\ud800b"))).execute(call({"text": "x"}))
    assert done.result.content == r"a\udcff\ud800b"
    done = await toolbox(tmp_path, EchoTool()).execute(call('{"text": "x"}', name="\ud800"))
    done.result.content.encode()


def test_only_reads(tmp_path: Path) -> None:
    box = toolbox(tmp_path, *built_in_tools(BUILT_IN))
    for name, arguments, reads in (
        ("read", {"path": "a"}, True),
        ("list", {}, True),
        ("search", {"pattern": "a"}, True),
        ("edit", {"path": "a", "old": "a", "new": "b"}, False),
        ("write", {"path": "a", "content": "a"}, False),
        ("shell", {"command": "ls"}, False),
        ("fetch", {"url": "https://page.example/"}, False),
        ("nothing", {}, True),
    ):
        assert box.only_reads(call(arguments, name=name)) is reads


def test_the_prompt_overhead_is_bounded(tmp_path: Path) -> None:
    specs = toolbox(tmp_path, *built_in_tools(BUILT_IN)).specs
    wire = json.dumps([[spec.name, spec.description, spec.parameters] for spec in specs])
    assert len(wire) <= 2_400
    assert len(wire) + len(AGENT_SYSTEM) < 4 * 1_000
    assert all(spec.parameters["additionalProperties"] is False for spec in specs)


def test_the_order_of_tools_is_always_the_same() -> None:
    names = [tool.spec.name for tool in built_in_tools(["write", "read", "read"])]
    assert names == ["read", "write"]
    with pytest.raises(KeyError):
        built_in_tools(["serch"])


@given(
    arguments=st.dictionaries(
        st.sampled_from(["path", "start_line", "all", "other"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
    ),
    schema=st.fixed_dictionaries(
        {
            "type": st.sampled_from(["object", "array"]),
            "properties": st.dictionaries(
                st.sampled_from(["path", "start_line", "all"]),
                st.fixed_dictionaries(
                    {},
                    optional={
                        "type": st.sampled_from(
                            ["string", "integer", "boolean", "null", ["string", "null"]]
                        ),
                        "description": st.just("what it is"),
                        "minimum": st.just(3),
                        "enum": st.just(["a", 1]),
                    },
                ),
            ),
        },
        optional={
            "required": st.lists(st.sampled_from(["path", "all"]), unique=True),
            "additionalProperties": st.booleans(),
            "maxProperties": st.just(1),
        },
    ),
)
def test_what_plainly_fits_has_no_violations(arguments: dict[str, Any], schema: dict[str, Any]) -> None:
    if plainly_fits(arguments, schema):
        assert violations(arguments, schema) == []


@pytest.mark.parametrize("spec", [tool().spec for tool in BUILT_IN.values()], ids=lambda spec: spec.name)
def test_calls_of_the_built_in_tools_need_no_validator(spec: ToolSpec) -> None:
    values = {"string": "x", "integer": 3, "boolean": True}
    properties = spec.parameters["properties"]
    arguments = {name: values[rule["type"]] for name, rule in properties.items()}
    assert plainly_fits(arguments, spec.parameters)
    assert not plainly_fits({**arguments, "other": 1}, spec.parameters)
