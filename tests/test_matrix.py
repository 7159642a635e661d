"""`matrix:` and `needs:`: what is wrong in a file, what a matrix expands to, and what comes before what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from meshclaw.batches.expanding import axis_values, expand, label
from meshclaw.batches.plan import Plan, make_plan, needed
from meshclaw.errors import Problem, ProblemsError
from meshclaw.tasks import Axis, Need, Task, Value, parse_task

MISTAKES = """\
params:
  service: {choices: [api, web]}
  level: {type: integer, default: 1}
  team: {default: core}
inputs:
  log: {file: app.log}
matrix:
  service: [api, db, 3]
  level: {file: ../levels.txt, comand: x}
  team: {command: "echo {{ service }}"}
  servce: [api]
  include: [{level: one}, {service: web, nothing: 1}, 5]
  exclude: []
needs: [deploy, deploy, Log, a/b, task]
prompt: "{{ service }} {{ level }} {{ team }} {{ log }} {{ dploy }}"
"""
EXPECTED = """\
t.yaml:8:18: a value of 'service': 'db' is none of api, web
t.yaml:8:22: a value of 'service' is not of type string: '3' - quote it: '3'
t.yaml:9:17: 'file' leads out of the project: '../levels.txt' - use a path beneath the project
t.yaml:9:32: unknown key 'comand' - did you mean 'command'?
t.yaml:10:19: '{{' is not allowed in a command - text must not become code: write "$MESHCLAW_PARAM_NAME"
t.yaml:11:3: 'servce' is no parameter - did you mean 'service'?
t.yaml:12:21: a value of 'level' is not of type integer: 'one'
t.yaml:12:42: 'nothing' is no parameter - there are service, level, team
t.yaml:12:55: a row of 'include' must map parameters to values - write {name: value}
t.yaml:13:12: 'exclude' must be a list of rows - write exclude: [{name: value}]
t.yaml:14:17: 'deploy' is named twice
t.yaml:14:25: the result of 'Log' is called 'Log', as an input is - give one of them another name
t.yaml:14:30: 'a/b' cannot be needed - write the name of a task that consists of letters, digits, - and _
t.yaml:14:35: 'task' needs itself
t.yaml:15:57: 'dploy' is not declared - did you mean 'deploy'?"""


def load(text: str, name: str = "task") -> Task:
    return parse_task(
        text.encode(), "t.yaml", name, tools=("read",), runners=("agent", "prompt"), checks=()
    )


def mistakes(text: str) -> str:
    with pytest.raises(ProblemsError) as caught:
        load(text)
    return str(caught.value)


def test_every_mistake_of_a_matrix_and_of_needs_is_told_at_its_place() -> None:
    assert mistakes(MISTAKES) == EXPECTED


@pytest.mark.parametrize(
    ("matrix", "mistake"),
    [
        ("{}", "'matrix' is empty"),
        ("[a]", "'matrix' must map parameters to their values"),
        ("{a: []}", "'a' has no values"),
        ("{a: 5}", "'a' must be a list of values, not a number '5'"),
        ("{a: {}}", "'a' needs exactly one of file, command"),
        ("{a: {file: x, command: y}}", "'a' needs exactly one of file, command"),
        ("{a: {command: ' '}}", "'command' is empty"),
        ("{a: [[1]]}", "a value of 'a' cannot be a list"),
        ("{exclude: [{a: x}]}", "there are no axes to exclude something from"),
        ("{a: {file: '{{ b }}.txt'}, b: [x]}", "'b' is an axis itself"),
        ("{a: {command: 'echo $MESHCLAW_PARAM_B'}, b: [x]}", "'b' is an axis itself"),
        ("{a: {file: '{{ c }}.txt'}}", "'c' is not declared"),
    ],
)
def test_a_matrix_that_cannot_be(matrix: str, mistake: str) -> None:
    text = f"params: {{a: {{}}, b: {{default: x}}}}\nmatrix: {matrix}\nprompt: '{{{{ a }}}} {{{{ b }}}}'\n"
    assert mistake in mistakes(text)


def test_parameters_that_only_an_axis_uses_are_used_and_axes_must_be_in_the_prompt() -> None:
    text = (
        "params: {a: {}, b: {default: x}}\nmatrix: {a: {command: 'echo $MESHCLAW_PARAM_B'}}\nprompt: '%s'\n"
    )
    assert load(text % "{{ a }}").matrix is not None
    assert "parameter 'a' is never used" in mistakes(text % "hello")


PARAMS = "params: {service: {}, level: {type: integer, default: 1}, team: {default: core}}\n"
PROMPT = "prompt: '{{ service }} {{ level }} {{ team }}'\n"


def items(matrix: str, values: Any = None, **given: str) -> list[tuple[Any, ...]]:
    task = load(PARAMS + f"matrix: {matrix}\n" + PROMPT)
    assert task.matrix is not None
    columns = {axis.param: axis.values for axis in task.matrix.axes} | dict(values or {})
    return [tuple(item.values()) for item in expand(task, given, columns)]


def test_the_product_comes_in_declared_order_and_duplicates_are_one_item() -> None:
    assert items("{service: [api, web, api], level: [2, 1]}") == [
        ("api", 2, "core"),
        ("api", 1, "core"),
        ("web", 2, "core"),
        ("web", 1, "core"),
    ]


def test_rows_are_left_out_and_added() -> None:
    matrix = "{service: [api, web], level: [1, 2], exclude: [{service: api, level: 1}, {team: other}], "
    assert items(
        matrix + "include: [{service: db}, {service: api, level: 1}, {service: web, level: 2}]}"
    ) == [
        ("api", 2, "core"),
        ("web", 1, "core"),
        ("web", 2, "core"),
        ("db", 1, "core"),
        ("api", 1, "core"),
    ]


def test_rows_alone_are_a_matrix() -> None:
    assert items("{include: [{service: a}, {service: b, level: 3}]}") == [
        ("a", 1, "core"),
        ("b", 3, "core"),
    ]


def test_what_is_given_narrows_axes_and_holds_for_the_others() -> None:
    matrix = (
        "{service: [api, web], level: [1, 2], include: [{service: db, team: x}, {service: web, team: y}]}"
    )
    assert items(matrix, service="web") == [("web", 1, "core"), ("web", 2, "core"), ("web", 1, "y")]
    assert items(matrix, team="y", level="2") == [("api", 2, "y"), ("web", 2, "y")]
    assert items(matrix, team="x", level="1") == [("api", 1, "x"), ("web", 1, "x"), ("db", 1, "x")]


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        ({"service": "nope"}, "the matrix has no item with service=nope - 'service' is one of api, web"),
        ({"levle": "1"}, "unknown parameter 'levle' - did you mean 'level'?"),
        ({"level": "x"}, "parameter 'level': 'x' is not of type integer"),
    ],
)
def test_what_is_given_must_leave_something(given: dict[str, str], mistake: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        items("{service: [api, web]}", **given)
    assert mistake in str(caught.value)


def test_a_row_that_leaves_a_parameter_open_is_a_problem_of_the_file() -> None:
    with pytest.raises(
        ProblemsError, match=r"t.yaml:2:9: the item level=1: parameter 'service': must be given"
    ):
        items("{include: [{service: api}, {level: 1}]}")
    assert items("{include: [{level: 2}]}", service="api") == [("api", 2, "core")]


def test_an_axis_without_values_makes_no_items_and_is_no_mistake() -> None:
    assert items("{service: {file: none.txt}, level: [1, 2]}", {"service": []}) == []
    assert items("{service: {file: none.txt}}", {"service": []}, level="2") == []


def test_too_many_combinations_are_refused_before_they_are_made() -> None:
    numbers = list(range(101))
    with pytest.raises(
        ProblemsError, match=r"t.yaml:2:9: the matrix has 10,201 combinations; at most 10,000"
    ):
        items(
            "{service: {file: a}, level: {file: b}}", {"service": list(map(str, numbers)), "level": numbers}
        )


def test_an_item_is_called_by_what_differs() -> None:
    task = load(PARAMS + "matrix: {level: [1], include: [{level: 2, team: x}]}\n" + PROMPT)
    assert label(task, {"service": "api", "level": 2, "team": "x"}) == "level=2, team=x"


def test_lines_become_values_of_the_parameters_type_or_problems_with_their_number() -> None:
    task = load(PARAMS + "matrix: {level: {file: levels.txt}}\n" + PROMPT)
    assert task.matrix is not None
    (axis,) = task.matrix.axes
    assert axis_values(task, axis, [(1, "3"), (4, "-2")], "levels.txt") == [3, -2]
    lines = [(1, "3"), (2, "x"), (9, "a\x00b")]
    with pytest.raises(ProblemsError) as caught:
        axis_values(task, axis, lines, "levels.txt")
    assert str(caught.value) == (
        "levels.txt:2:1: no value of 'level': 'x' is not of type integer\n"
        "levels.txt:9:1: no value of 'level': it holds a control character"
    )
    with pytest.raises(
        ProblemsError, match=r"t.yaml:2:10: line 2 of the command's output is no value of 'level'"
    ):
        axis_values(task, axis, lines[:2], None)


def family(**needs: list[str]) -> dict[str, Task]:
    return {
        name: Task(
            name,
            "x",
            source=f"{name}.yaml",
            needs=tuple(Need(other, other, 2, 9 + at) for at, other in enumerate(others)),
        )
        for name, others in needs.items()
    }


def order(tasks: dict[str, Task], first: str) -> list[str]:
    def load_need(task: Task, need: Need) -> Task:
        if need.task not in tasks:
            raise ProblemsError(
                [Problem(task.source, need.line, need.column, f"unknown task '{need.task}'")]
            )
        return tasks[need.task]

    return list(needed(tasks[first], load_need))


def test_what_is_needed_comes_first() -> None:
    assert order(family(a=["b", "c"], b=["d"], c=["d"], d=[]), "a") == ["d", "b", "c", "a"]


def test_cycles_and_unknown_tasks_are_found_at_once() -> None:
    with pytest.raises(ProblemsError) as caught:
        order(family(a=["b", "nope"], b=["c"], c=["b"]), "a")
    assert str(caught.value) == (
        "a.yaml:2:10: unknown task 'nope'\nc.yaml:2:9: this never begins: 'b' needs 'c' needs 'b'"
    )


async def plan_of(tasks: Mapping[str, str], first: str, **given: str) -> Plan:
    loaded = {name: load(text, name) for name, text in tasks.items()}

    async def gather(task: Task, texts: Mapping[str, str]) -> dict[str, list[Value]]:
        return {"file": [f"{texts['folder']}/{name}" for name in ("x", "y")]}

    found = needed(loaded[first], lambda task, need: loaded[need.task])
    return await make_plan(loaded[first], found, given, gather)


COLLECT = "params: {service: {default: api}}\nprompt: 'collect {{ service }}'\n"


async def test_needs_get_the_parameters_of_their_names_and_equal_work_is_done_once() -> None:
    plan = await plan_of(
        {
            "collect": COLLECT,
            "config": "prompt: hi\n",
            "triage": "params: {service: {}, level: {type: integer}}\nneeds: [collect, config]\n"
            "matrix: {service: [api, web], level: [1, 2]}\n"
            "prompt: '{{ service }} {{ level }} {{ collect }} {{ config }}'\n",
        },
        "triage",
    )
    assert [(item.task, dict(item.params), dict(item.needs)) for item in plan.items] == [
        ("collect", {"service": "api"}, {}),
        ("config", {}, {}),
        ("triage", {"service": "api", "level": 1}, {"collect": (1,), "config": (2,)}),
        ("triage", {"service": "api", "level": 2}, {"collect": (1,), "config": (2,)}),
        ("collect", {"service": "web"}, {}),
        ("triage", {"service": "web", "level": 1}, {"collect": (5,), "config": (2,)}),
        ("triage", {"service": "web", "level": 2}, {"collect": (5,), "config": (2,)}),
    ]
    assert [plan.name(item) for item in plan.items][:3] == ["collect", "config", "service=api, level=1"]


async def test_a_need_that_is_a_matrix_gives_all_its_items_narrowed_by_what_it_is_handed() -> None:
    tasks = {
        "part": "params: {service: {}, level: {type: integer}}\n"
        "matrix: {service: [api, web], level: [1, 2]}\nprompt: '{{ service }} {{ level }}'\n",
        "whole": "needs: [part]\nprompt: '{{ part }}'\n",
        "some": "params: {service: {}}\nneeds: [part]\nprompt: '{{ part }} {{ service }}'\n",
    }
    assert (await plan_of(tasks, "whole")).items[-1].needs == {"part": (1, 2, 3, 4)}
    plan = await plan_of(tasks, "some", service="web")
    assert [plan.name(item) for item in plan.items] == [
        "part service=web, level=1",
        "part service=web, level=2",
        "some",
    ]


async def test_what_does_not_fit_a_need_is_a_problem_where_it_is_needed() -> None:
    tasks = {
        "collect": "params: {service: {choices: [api]}, team: {}}\nprompt: '{{ service }} {{ team }}'\n",
        "triage": "params: {service: {}}\nneeds: [collect]\nprompt: '{{ service }}'\n",
    }
    with pytest.raises(ProblemsError) as caught:
        await plan_of(tasks, "triage", service="db")
    assert str(caught.value).splitlines() == [
        "t.yaml:2:9: 'collect': parameter 'service': 'db' is none of api"
        " - 'collect' gets the parameters that both tasks declare",
        "t.yaml:2:9: 'collect': parameter 'team': must be given: -p team=..."
        " - 'collect' gets the parameters that both tasks declare",
    ]


async def test_values_are_gathered_with_the_parameters_that_are_no_axes() -> None:
    text = (
        "params: {folder: {}, file: {}}\nmatrix: {file: {file: '{{ folder }}.txt'}}\nprompt: '{{ file }}'\n"
    )
    plan = await plan_of({"read": text}, "read", folder="src")
    assert [item.params["file"] for item in plan.items] == ["src/x", "src/y"]
    assert [
        item.params["file"]
        for item in (await plan_of({"read": text}, "read", folder="a", file="a/y")).items
    ] == ["a/y"]


def test_an_axis_keeps_its_place() -> None:
    task = load(PARAMS + "matrix:\n  level: {command: seq 3, trusted: true}\n" + PROMPT)
    assert task.matrix is not None
    (axis,) = task.matrix.axes
    assert isinstance(axis, Axis)
    assert (axis.line, axis.column, axis.source and axis.source.trusted) == (3, 3, True)
