"""Task files: what is accepted, and every mistake of a file at once, each at its place."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest

from meshclaw.documents import parse
from meshclaw.errors import ProblemsError
from meshclaw.tasks import Input, Param, Task, bind_params, load_task, parse_task, task_json_schema
from meshclaw.tasks.fields import CHECKS, TASK, Field

ROOT = Path(__file__).parent.parent
TOOLS = ("read", "list", "search", "edit", "write", "shell")
RUNNERS = ("agent", "prompt")
KINDS = tuple(CHECKS)

MANY_MISTAKES = """\
description: 5
modle: fast
runner: agnt
params:
  svc: {type: string, default: api, choices: [web]}
  unused: {type: integer, default: no}
inputs:
  log: {file: "../x/{{ svc }}.log", tail: many}
  cmd: {command: "echo {{ svc }}"}
system: use {{ log }}
prompt: |
  Hello {{ name }}
    and {{ svc }}
tools: [read, serch]
allow: {write: src, run: ["a {{ svc }}"]}
budget: {usd: 0, tokens: 2x, time: 15}
accept: [shcema]
output: {schema: {type: strin}}
max_output: -5
prompt: again
"""
MISTAKES = """\
t.yaml:1:14: 'description' must be text, not a number '5' - quote it: '5'
t.yaml:2:1: unknown key 'modle' - did you mean 'model'?
t.yaml:3:9: unknown runner 'agnt' - did you mean 'agent'?
t.yaml:5:32: 'default' of 'svc': 'api' is none of web
t.yaml:6:3: parameter 'unused' is never used - write {{ unused }} where it belongs, or remove it; \
commands read it as $MESHCLAW_PARAM_UNUSED
t.yaml:6:36: 'default' of 'unused' is not of type integer: 'no'
t.yaml:8:15: 'file' leads out of the project: '../x/{{ svc }}.log' - use a path beneath the project; \
--input NAME=FILE can name any file
t.yaml:8:43: 'tail': 'many' is neither lines nor a size: write 2000 lines or 64 KB
t.yaml:9:3: input 'cmd' is never used - write {{ cmd }} where it belongs, or remove it
t.yaml:9:18: '{{' is not allowed in a command - text must not become code: write "$MESHCLAW_PARAM_NAME"
t.yaml:10:13: input 'log' cannot stand here, only parameters can - inputs are untrusted: put them \
into the prompt
t.yaml:12:9: 'name' is not declared - declare it in params or inputs
t.yaml:14:15: unknown tool 'serch' - did you mean 'search'?
t.yaml:15:16: 'write' must be a list, not the text 'src' - write write: [...]
t.yaml:15:27: '{{' is not allowed in allow - what is allowed is fixed beforehand
t.yaml:16:15: 'usd' must be more than 0, not 0
t.yaml:16:26: 'tokens': '2x' is not a whole number: write 500, 200k or 1M
t.yaml:16:36: 'time': '15' is not a duration: write 90s, 15m or 1h30m
t.yaml:17:10: unknown check 'shcema' - did you mean 'schema'?
t.yaml:18:18: 'schema' is not a JSON Schema: $.type: 'strin' is not valid under any of the given schemas
t.yaml:19:13: 'max_output': '-5' is not a whole number: write 500, 200k or 1M
t.yaml:20:1: duplicate key 'prompt' - it is already set in line 11"""


def load(text: str) -> Task:
    return parse_task(text.encode(), "t.yaml", "t", tools=TOOLS, runners=RUNNERS, checks=KINDS)


def mistakes(text: str) -> str:
    with pytest.raises(ProblemsError) as caught:
        load(text)
    return str(caught.value)


def test_every_mistake_of_a_file_is_told_at_once() -> None:
    assert mistakes(MANY_MISTAKES) == MISTAKES


def test_yaml_that_is_not_read_hides_no_other_mistake() -> None:
    text = """\
description: &d hello
params: {svc: {type: string}}
inputs: {log: {file: *d}}
base: &b {run: ["pytest *"]}
prompt: {{ svc }}
allow: {<<: *b, write: src}
budgt: {usd: 1}
accept: !!seq [{run: make, timeot: 3}]
runner: agnt
"""
    found = [line.removeprefix("t.yaml:").partition(" - ")[0] for line in mistakes(text).splitlines()]
    assert found == [
        "1:14: anchor '&d'",
        "3:10: input 'log' is never used",
        "3:22: alias '*d'",
        "4:1: unknown key 'base'",
        "4:7: anchor '&b'",
        "5:10: a key must be plain text",
        "6:9: merge key '<<'",
        "6:13: alias '*b'",
        "6:24: 'write' must be a list, not the text 'src'",
        "7:1: unknown key 'budgt'",
        "8:9: tag '!!seq'",
        "8:28: unknown key 'timeot'",
        "9:9: unknown runner 'agnt'",
    ]


@pytest.mark.parametrize("glob", ["/etc/*", "../x", "a/../b", ".", "a//b", "lib/.git/config"])
def test_a_glob_of_files_that_are_never_written_is_a_mistake(glob: str) -> None:
    assert f"t.yaml:2:17: '{glob}' can never match: " in mistakes(
        f"prompt: hi\nallow: {{write: ['{glob}']}}"
    )
    assert f"t.yaml:2:11: '!{glob}' can never match: " in mistakes(f"prompt: hi\nprotect: ['!{glob}']")
    assert load("prompt: hi\nallow: {write: ['./a/', '**', '*.md', 'a/[b]', '..a']}").allow.write
    assert load("prompt: hi\nprotect: ['!a', 'tests/**']").protect == ("!a", "tests/**")


def test_a_whole_task_is_read_as_it_is_written() -> None:
    task = load(
        """\
description: Nightly triage.
model: strong
effort: high
params:
  service: {type: string, default: api, choices: [api, web], description: Which one}
  days: {type: integer, default: 3}
inputs:
  log: {file: "logs/{{ service }}.log", tail: 2000 lines, max: 2 MB}
  diff: {command: 'git log --since="$MESHCLAW_PARAM_DAYS days"', optional: true, trusted: true}
  note: stdin
prompt: "{{ log }} {{ diff }} {{ note }}"
tools: [shell, read, read]
allow: {write: ["src/**"], run: ["pytest *"]}
output: {file: "out/{{ service }}.md", schema: {type: object}}
budget: {usd: "0.50", tokens: 200k, steps: 30, time: 1h30m}
max_output: 2k
"""
    )
    assert (task.name, task.model, task.effort, task.runner) == ("t", "strong", "high", "agent")
    assert task.params[1] == Param("days", "integer", 3)
    assert task.inputs == (
        Input("log", "file", "logs/{{ service }}.log", tail_lines=2_000, max_bytes=2_000_000),
        Input(
            "diff", "command", 'git log --since="$MESHCLAW_PARAM_DAYS days"', trusted=True, optional=True
        ),
        Input("note", "stdin"),
    )
    assert task.tools == ("shell", "read")
    assert (task.allow.write, task.allow.run, task.allow.network) == (("src/**",), ("pytest *",), ())
    assert (task.budget.usd, task.budget.tokens, task.budget.steps) == (Decimal("0.50"), 200_000, 30)
    assert (task.budget.time, task.budget.usd_stated, task.max_output) == (5_400.0, True, 2_000)
    assert len(task.digest) == 64


def test_what_a_task_does_not_state_is_not_a_limit() -> None:
    budget = load("prompt: hi").budget
    assert (budget.usd, budget.tokens, budget.steps, budget.time, budget.usd_stated) == (None,) * 4 + (
        False,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'prompt' is missing"),
        ("prompt: '  '", "'prompt' is empty"),
        ("- a", "a task must be a mapping"),
        ("prompt: hi\nrunner: prompt\ntools: [read]", "'runner: prompt' has no tools"),
        ("prompt: '{{ a }}'\nparams: {a: {}}\ninputs: {a: stdin}", "is a parameter and an input"),
        ("prompt: '{{ a }}'\ninputs: {a: {file: x, command: y}}", "needs exactly one of"),
        ("prompt: '{{ a }}'\ninputs: {a: {}}", "needs exactly one of"),
        ("prompt: '{{ a }}'\ninputs: {a: {stdin: yes}}", "write true: 'yes' is text here"),
        ("prompt: '{{ a }}'\ninputs: {a: {glob: '*', tail: 3 lines}}", "'tail' does not go with 'glob'"),
        ("prompt: hi\noutput: {file: /etc/passwd}", "leads out of the project"),
        ("prompt: hi\noutput: {file: ../x}", "leads out of the project"),
        ("prompt: hi\noutput: {schema: {$ref: 'http://x/y'}}", "points outside the schema"),
        ("prompt: hi\noutput: {schema: {$ref: '#/$defs/x'}}", "'#/$defs/x' points to nothing"),
        ("prompt: hi\noutput: {schema: {$ref: '#'}}", "'#' leads back to itself"),
        ("prompt: hi\noutput: {file: .}", "'file' names no file"),
        ("prompt: hi\nmodel: ''", "'model' is empty"),
        ("prompt: '{{ a }}'\ninputs: {a: {command: ' '}}", "'command' is empty"),
        ("prompt: '{{ a }}'\ninputs: {a: {file: x, tail: 0 lines}}", "'tail' must be more than 0"),
        ("prompt: '{{ a }}{{ b }}'\ninputs: {a: stdin, b: stdin}", "standard input already goes to 'a'"),
        ("prompt: '{{ a }}{{ A }}'\nparams: {a: {}, A: {}}", "'A' differs from 'a' only in case"),
        ("prompt: '{{ a }}'\nparams: {a: {choices: []}}", "'choices' is empty"),
        ("prompt: '{{ a }}'\nparams: {a: }", "write {} for one without details"),
        ("prompt: '{{ a }}'\nparams: {a: {type: boolean, default: no}}", "write false: 'no' is text here"),
        ("prompt: '{{ a }}'\nparams: {a: {type: integer, default: 012}}", "write 12: '012' is text here"),
        ("prompt: '{{ a }}'\nparams: {a: {default: 5}}", "quote it: '5'"),
        ("prompt: hi\nbudget: {steps: 012}", "'012' is not a whole number: write 12"),
        ("prompt: hi\nbudget: {usd: 1_000}", "'1_000' is not an amount in US dollars: write 1000"),
        ("prompt: hi\nbudget: {tokens: ٣k}", "'٣k' is not a whole number"),
        ("prompt: hi\nbudget: {tokens: 99999999999999999999}", "more than anybody needs"),
        ("prompt: hi\nbudget: {time: 99999d}", "longer than a hundred years"),
        ("prompt: hi\nbudget: {time: 22:22}", "'22:22' is not a duration"),
        ("prompt: hi\nparams: {2a: {}}", "'2a' cannot be a name"),
        ("prompt: '{{ a.b }}'", "is not a lookup"),
        ("prompt: '{{ a | upper }}'", "is not a lookup"),
        ("prompt: hi\nbudget: {usd: 1e99}", "is not an amount"),
        ("prompt: hi\nbudget: {steps: 1.5}", "is not a whole number"),
        ("prompt: hi\nbudget: {time: 0s}", "must be more than 0"),
        ("prompt: hi\nschedule: {cron: x}", "'schedule' is not supported by this version"),
        ("prompt: hi\nmodel: []", "'model' is empty"),
        ("prompt: hi\nmodel: [fast, 3]", "an item of 'model' must be text"),
        ("prompt: hi\nmodel: [fast, strong]\nattempts: 1", "not all of the 2 models are ever asked"),
        ("prompt: hi\nattempts: 99", "'attempts' can be at most 20"),
        (
            "prompt: hi\nisolate: copy\nbranch: mc/{{ n }}..b\nparams: {n: {}}",
            "no branch can be called 'mc/{{ n }}..b': it holds '..'",
        ),
        ("prompt: hi\nbranch: fix", "'branch' goes with 'isolate: copy' only"),
        ("prompt: hi\nisolate: copy\nshare: [/root]", "3:9: 'share' leads out of the project: '/root'"),
        ("prompt: hi\nisolate: copy\nshare: [a, ../b]", "3:12: 'share' leads out of the project: '../b'"),
        ("prompt: hi\nisolate: copy\nshare: [a/../../b]", "'share' leads out of the project"),
        ("prompt: hi\nisolate: clone", "'isolate' cannot be 'clone'"),
        ("prompt: hi\nreuse: always", "'reuse' cannot be 'always'"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    assert message in mistakes(text)


def test_a_wrong_declaration_is_one_mistake() -> None:
    text = mistakes("prompt: '{{ a }}'\ninputs: {a: STDIN}")
    assert text.startswith("t.yaml:2:13: input 'a' cannot be the text 'STDIN' - write ")
    assert "\n" not in text


def test_durations_may_fill_up_with_zeros() -> None:
    assert load("prompt: hi\nbudget: {time: 1h05m}").budget.time == 3_900.0


def test_the_place_of_a_name_in_a_block_is_exact() -> None:
    text = "prompt: |\n  one\n\n    two {{ nobody }}\n"
    assert mistakes(text).startswith("t.yaml:4:9: 'nobody' is not declared")


def test_literal_braces_need_no_declaration() -> None:
    assert load("""prompt: 'literal {{ "{{" }} braces'""").prompt.startswith("literal")


def test_every_example_loads_and_fits_the_schema_for_editors() -> None:
    schema = task_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for path in sorted((ROOT / "tasks").glob("*.yaml")):
        load_task(path, path.name, tools=TOOLS, runners=RUNNERS, checks=KINDS)
        jsonschema.validate(parse(path.read_bytes(), path.name).data(), schema)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"prompt": 1},
        {"prompt": "x", "modle": "y"},
        {"prompt": "x", "tools": "read"},
        {"prompt": "x", "params": {"a": {"type": "text"}}},
    ],
)
def test_the_schema_refuses_what_loading_refuses(data: dict[str, object]) -> None:
    assert list(jsonschema.Draft202012Validator(task_json_schema()).iter_errors(data))
    mistakes(json.dumps(data))


def test_the_shipped_schema_is_the_generated_one_and_describes_every_key() -> None:
    shipped = ROOT / "meshclaw" / "data" / "task.schema.json"
    assert json.loads(shipped.read_text()) == task_json_schema()

    def described(fields: dict[str, Field]) -> bool:
        return all(one.description and described(dict(one.fields)) for one in fields.values())

    assert described(TASK)
    assert described(CHECKS)


TASK_WITH_PARAMS = """\
prompt: "{{ text }} {{ count }} {{ share }} {{ deep }} {{ kind }}"
params:
  text: {}
  count: {type: integer, default: 1}
  share: {type: number, default: 0.5}
  deep: {type: boolean, default: false}
  kind: {default: a, choices: [a, b]}
"""


def test_parameters_get_their_type() -> None:
    bound = bind_params(load(TASK_WITH_PARAMS), {"text": "012", "count": "7", "share": "2", "deep": "true"})
    assert bound == {"text": "012", "count": 7, "share": 2.0, "deep": True, "kind": "a"}


def test_every_wrong_parameter_is_told_at_once() -> None:
    given = {"cuont": "1", "count": "x", "share": "nan", "deep": "yes", "kind": "c"}
    with pytest.raises(ProblemsError) as caught:
        bind_params(load(TASK_WITH_PARAMS), given)
    text = str(caught.value)
    for message in (
        "unknown parameter 'cuont' - did you mean 'count'?",
        "'text': must be given: -p text=...",
        "'x' is not of type integer",
        "'nan' is not of type number",
        "'yes' is not true or false",
        "'c' is none of a, b",
    ):
        assert message in text


@pytest.mark.parametrize("number", ["inf", "1_0", " 1", "+1", "٣", "012", "9" * 5_000, "0x1f", ""])
def test_a_number_is_what_a_task_file_takes_for_one(number: str) -> None:
    for name in ("count", "share"):
        with pytest.raises(ProblemsError, match="is not of type") as caught:
            bind_params(load(TASK_WITH_PARAMS), {"text": "", name: number})
        assert len(str(caught.value)) < 200
