"""`accept:` in task files: what is read, every mistake at its place, and what becomes of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from test_plugins import install

from meshclaw.app.acceptance import HARMLESS_CHECKS, build_checks, may_run, runs_checks
from meshclaw.documents import parse
from meshclaw.errors import ProblemsError
from meshclaw.plugins import Plugins
from meshclaw.tasks import Acceptance, Task, parse_task, task_json_schema
from meshclaw.tasks.fields import CHECKS

KINDS = tuple(CHECKS)

EVERY_KIND = """\
prompt: hi
output: {schema: {type: object}}
accept:
  - run: pytest -q
    timeout: 1m30s
    name: tests
  - schema
  - matches: "(?m)^Root cause:"
    in: reports/x.md
  - absent: TODO
  - changed: ["src/**"]
  - unchanged: ["tests/**", conftest.py]
  - files: [dist/app.tar.gz, README.md]
  - files: {dist/app.tar.gz: {min: 1 KB, max: 5 MB}, README.md: {}}
  - max_diff: 2k
  - judge: It is right.
    model: strong
  - human
  - human: "the plot: is it readable?"
"""

MANY_MISTAKES = """\
prompt: "{{ service }}"
params: {service: {default: api}}
accept:
  - shcema
  - run pytest -q
  - run
  - rnu: pytest
  - {run: pytest, timout: 5m}
  - {run: pytest, timeout: 5}
  - {run: [pytest]}
  - {run: ' '}
  - run: pytest
    matches: x
  - {}
  - {timeout: 5m}
  - [run]
  -
  - 5
  - schema
  - schema: {type: object}
  - human: 5
  - absent: 404
  - changed: src/**
  - unchanged: []
  - changed: [../other/**]
  - files: dist/x
  - files: [/etc/passwd]
  - files: {dist/x: 5, ../y: {min: 1 KB, mix: 1}}
  - {matches: x, in: /etc/passwd}
  - max_diff: 0
  - max_diff: many
  - {judge: ok, model: ''}
  - run: echo {{ service }}
  - files: {"{{ service }}.md": {}}
"""
MISTAKES = """\
t.yaml:4:5: unknown check 'shcema' - did you mean 'schema'?
t.yaml:5:5: unknown check 'run pytest -q' - did you mean 'run: pytest -q'?
t.yaml:6:5: 'run' needs more than its name - A shell command that exits 0, run in a copy of the work; \
parameters and inputs reach it as MESHCLAW_PARAM_NAME and MESHCLAW_INPUT_NAME (a file).
t.yaml:7:5: unknown check 'rnu' - did you mean 'run'?
t.yaml:8:19: unknown key 'timout' - did you mean 'timeout'?
t.yaml:9:28: 'timeout': '5' is not a duration: write 90s, 15m or 1h30m
t.yaml:10:11: 'run' must be text, not a list
t.yaml:11:11: 'run' is empty
t.yaml:13:5: 'matches' is a second check in the item of 'run' - begin each check with '- '
t.yaml:14:5: an item of 'accept' names no check - there are {kinds}
t.yaml:15:5: an item of 'accept' names no check - there are {kinds}
t.yaml:16:5: an item of 'accept' must be a check, not a list - there are {kinds}
t.yaml:17:4: an item of 'accept' must be a check, not nothing - there are {kinds}
t.yaml:18:5: an item of 'accept' must be a check, not a number '5' - there are {kinds}
t.yaml:19:5: 'schema' without an output.schema - state one: output: {schema: ...}
t.yaml:20:5: 'schema' without an output.schema - state one: output: {schema: ...}
t.yaml:20:13: 'schema' stands alone, without a mapping - write - schema
t.yaml:21:12: 'human' must be text, not a number '5' - quote it: '5'
t.yaml:22:13: 'absent' must be text, not a number '404' - quote it: '404'
t.yaml:23:14: 'changed' must be a list, not the text 'src/**' - write changed: [...]
t.yaml:24:16: 'unchanged' is empty
t.yaml:25:15: 'changed' leads out of the project: '../other/**' - use a path beneath the project
t.yaml:26:12: 'files' must be a list of files, not the text 'dist/x' - write files: [...] or \
files: {NAME: {min: 1 KB}}
t.yaml:27:13: 'files' leads out of the project: '/etc/passwd' - use a path beneath the project
t.yaml:28:21: 'dist/x' must be a mapping of keys to values, not a number '5'
t.yaml:28:24: 'files' leads out of the project: '../y' - use a path beneath the project
t.yaml:28:42: unknown key 'mix' - did you mean 'min'?
t.yaml:29:22: 'in' leads out of the project: '/etc/passwd' - use a path beneath the project
t.yaml:30:15: 'max_diff' must be more than 0, not 0
t.yaml:31:15: 'max_diff': 'many' is not a whole number: write 500, 200k or 1M
t.yaml:32:24: 'model' is empty
t.yaml:33:10: '{{' is not allowed in accept - what counts as done is fixed beforehand; commands read \
"$MESHCLAW_PARAM_NAME"
t.yaml:34:13: '{{' is not allowed in accept - what counts as done is fixed beforehand; commands read \
"$MESHCLAW_PARAM_NAME\"""".replace("{kinds}", ", ".join(KINDS))


def load(text: str, checks: tuple[str, ...] = KINDS) -> Task:
    return parse_task(
        text.encode(), "t.yaml", "t", tools=("read",), runners=("agent", "prompt"), checks=checks
    )


def mistakes(text: str) -> str:
    with pytest.raises(ProblemsError) as caught:
        load(text)
    return str(caught.value)


def test_every_kind_is_read_as_it_is_written() -> None:
    sizes = {"dist/app.tar.gz": {"min": 1_000, "max": 5_000_000}, "README.md": {}}
    assert load(EVERY_KIND).accept == (
        Acceptance("run", "pytest -q", {"timeout": 90.0, "name": "tests"}, 4, 5),
        Acceptance("schema", None, {}, 7, 5),
        Acceptance("matches", "(?m)^Root cause:", {"in": "reports/x.md"}, 8, 5),
        Acceptance("absent", "TODO", {}, 10, 5),
        Acceptance("changed", ["src/**"], {}, 11, 5),
        Acceptance("unchanged", ["tests/**", "conftest.py"], {}, 12, 5),
        Acceptance("files", {"dist/app.tar.gz": {}, "README.md": {}}, {}, 13, 5),
        Acceptance("files", sizes, {}, 14, 5),
        Acceptance("max_diff", 2_000, {}, 15, 5),
        Acceptance("judge", "It is right.", {"model": "strong"}, 16, 5),
        Acceptance("human", None, {}, 18, 5),
        Acceptance("human", "the plot: is it readable?", {}, 19, 5),
    )


def test_every_mistake_is_told_at_its_place() -> None:
    assert mistakes(MANY_MISTAKES) == MISTAKES


@pytest.mark.parametrize(
    ("accept", "message"),
    [
        ("schema", "t.yaml:2:9: 'accept' must be a list of checks, not the text 'schema' - begin each"),
        ("{run: pytest}", "'accept' must be a list of checks, not a mapping - begin each check with '- '"),
        ("[]", "t.yaml:2:9: 'accept' is empty"),
        ("", "t.yaml:2:8: 'accept' must be a list of checks, not nothing"),
    ],
)
def test_what_counts_as_done_is_a_list(accept: str, message: str) -> None:
    assert message in mistakes(f"prompt: hi\naccept: {accept}")


@pytest.mark.parametrize(
    "accept", ['[{run: "test $MESHCLAW_PARAM_X"}]', '[{lint: {deep: ["${MESHCLAW_PARAM_X}"]}}]']
)
def test_a_parameter_that_only_a_command_reads_is_used(accept: str) -> None:
    text = f"prompt: hi\nparams: {{x: {{default: a}}}}\naccept: {accept}"
    assert load(text, (*KINDS, "lint")).params[0].name == "x"


def test_an_input_that_only_a_command_reads_is_used() -> None:
    text = "prompt: hi\ninputs: {log: stdin}\naccept: [{run: 'grep ok \"$MESHCLAW_INPUT_LOG\"'}]"
    assert load(text).inputs[0].name == "log"
    assert "input 'log' is never used" in mistakes(text.replace("INPUT_LOG", "INPUT_DOG"))


def test_a_pattern_is_no_use_of_a_parameter() -> None:
    text = "prompt: hi\nparams: {x: {default: a}}\naccept: [{matches: MESHCLAW_PARAM_X}]"
    assert "parameter 'x' is never used" in mistakes(text)


def test_a_schema_may_be_checked_of_one_call() -> None:
    text = "prompt: hi\nrunner: prompt\noutput: {schema: {type: object}}\naccept: [schema]"
    assert load(text).accept == (Acceptance("schema", None, {}, 4, 10),)
    # A schema that is wrong is one mistake, not two.
    assert "without an output.schema" not in mistakes(text.replace("object", "objct"))


def test_the_schema_for_editors_takes_what_loading_takes() -> None:
    validator = jsonschema.Draft202012Validator(task_json_schema())
    assert list(validator.iter_errors(parse(EVERY_KIND.encode(), "t").data())) == []
    two = {"run": "x", "matches": "y"}
    items: list[Any] = ["shcema", "run", {"rnu": "x"}, {"run": "x", "timout": "5m"}, two, []]
    for wrong in items:
        data = {"prompt": "hi", "accept": [wrong]}
        assert list(validator.iter_errors(data)), wrong
        mistakes(json.dumps(data))
    assert list(validator.iter_errors({"prompt": "hi", "accept": []}))


def test_the_schema_for_editors_knows_installed_kinds() -> None:
    data = {"prompt": "hi", "accept": ["lint", {"lint": 5, "strict": True}]}
    assert list(jsonschema.Draft202012Validator(task_json_schema()).iter_errors(data))
    assert not list(jsonschema.Draft202012Validator(task_json_schema((*KINDS, "lint"))).iter_errors(data))


def test_the_table_and_the_entry_points_name_the_same_kinds() -> None:
    assert sorted(Plugins().names("checks")) == sorted(KINDS)
    assert set(HARMLESS_CHECKS) == set(KINDS) - {"run", "judge"}


def test_every_kind_makes_a_check() -> None:
    checks = build_checks(load(EVERY_KIND), Plugins())
    assert [(one.kind, one.label, one.needs_changes, one.asks) for one in checks] == [
        ("run", "tests", False, False),
        ("schema", "schema", False, False),
        ("matches", "matches: (?m)^Root cause: in reports/x.md", False, False),
        ("absent", "absent: TODO", False, False),
        ("changed", "changed: src/**", True, False),
        ("unchanged", "unchanged: tests/**, conftest.py", True, False),
        ("files", "files: dist/app.tar.gz, README.md", False, False),
        ("files", "files: dist/app.tar.gz, README.md", False, False),
        ("max_diff", "max_diff: 2000", True, False),
        ("judge", "judge: It is right.", True, True),
        ("human", "human", False, True),
        ("human", "human: the plot: is it readable?", False, True),
    ]


def test_what_a_check_refuses_is_told_at_its_place() -> None:
    task = load(
        "prompt: hi\naccept:\n  - matches: '('\n  - {files: {a: {min: 2 KB, max: 1 KB}}}\n"
        "  - files: ['dist/*.gz']\n  - absent: " + "x" * 1_001
    )
    with pytest.raises(ProblemsError) as caught:
        build_checks(task, Plugins())
    assert str(caught.value) == (
        "t.yaml:3:5: 'matches': '(' is not a regular expression: missing ) at position 1\n"
        "t.yaml:4:5: 'files': 'a': min is more than max\n"
        "t.yaml:5:5: 'files': 'dist/*.gz' must be the name of one file: patterns are not read here\n"
        "t.yaml:6:5: 'absent': the pattern has more than 1000 characters"
    )


PLUGIN = """
class Lint:
    kind, label, needs_changes, asks = "lint", "lint", False, False

    def __init__(self, rules=None, *, strict=False):
        if rules == []:
            raise ValueError("there are no rules")
        self.made_of = (rules, strict)

    async def judge(self, candidate, context):
        raise NotImplementedError


class Half:
    kind = "half"

    def __init__(self, argument):
        pass
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    (tmp_path / "plug_lint.py").write_text(PLUGIN)
    install(tmp_path, "lint", {"meshclaw.checks": {"lint": "plug_lint:Lint", "half": "plug_lint:Half"}})
    monkeypatch.syspath_prepend(tmp_path)
    yield Plugins([str(tmp_path), *sys.path])
    sys.modules.pop("plug_lint", None)


def test_a_plugin_gets_its_own_argument_and_options(plugins: Plugins) -> None:
    names = plugins.names("checks")
    assert names[-2:] == ("half", "lint")
    task = load("prompt: hi\naccept: [lint, {lint: [a, {b: 1}], strict: true}]", names)
    assert task.accept[1] == Acceptance("lint", ["a", {"b": 1}], {"strict": True}, 2, 16)
    checks = build_checks(task, plugins)
    assert [getattr(one, "made_of", None) for one in checks] == [(None, False), (["a", {"b": 1}], True)]
    assert may_run(task)
    assert not runs_checks(task)


def test_a_plugin_that_makes_no_check_is_told_at_its_place(plugins: Plugins) -> None:
    text = "prompt: hi\naccept:\n- lint: []\n- {lint: x, strikt: true}\n- half\n"
    with pytest.raises(ProblemsError) as caught:
        build_checks(load(text, plugins.names("checks")), plugins)
    lines = str(caught.value).splitlines()
    assert lines[0] == "t.yaml:3:3: 'lint': there are no rules"
    assert lines[1].startswith("t.yaml:4:3: 'lint' makes no check of this: TypeError: ")
    assert lines[1].endswith("unexpected keyword argument 'strikt'")
    assert lines[2] == "t.yaml:5:3: 'half' makes no check of this: TypeError: the check has no label"
    assert len(lines) == 3


def test_only_the_kinds_that_are_named_are_imported(plugins: Plugins) -> None:
    build_checks(load("prompt: hi\naccept: [{max_diff: 5}]"), plugins)
    assert "plug_lint" not in sys.modules


@pytest.mark.parametrize(
    ("accept", "runs", "may"),
    [("[human]", False, False), ("[{judge: ok}]", False, False), ("[human, {run: pytest}]", True, True)],
)
def test_which_checks_run_commands(accept: str, runs: bool, may: bool) -> None:
    task = load(f"prompt: hi\naccept: {accept}")
    assert (runs_checks(task), may_run(task)) == (runs, may)
