"""The one table of a task file's keys: it validates, and the JSON Schema for editors is made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Literal

from meshclaw.frozen import dataclass
from meshclaw.messages import EFFORTS
from meshclaw.policies import host_pattern_problem, run_pattern_problem, write_pattern_problem

Kind = Literal[
    "text",
    "choice",
    "texts",
    "bool",
    "scalar",
    "scalars",
    "count",
    "bytes",
    "duration",
    "usd",
    "tail",
    "schema",
    "ladder",
    "table",
    "named",
    "inputs",
    "checks",
    "sizes",
    "nothing",
    "rows",
    "matrix",
]


@dataclass(frozen=True, slots=True)
class Field:
    """One key: what it takes and means. `fields` are the keys of a `table` or of each `named` one.

    `wrong` says why one of `texts` can mean nothing.
    """

    kind: Kind
    description: str
    required: bool = False
    choices: tuple[str, ...] = ()
    fields: Mapping[str, Field] = field(default_factory=dict)
    wrong: Callable[[str], str | None] = lambda text: None


PARAM = {
    "type": Field("choice", "What the value must be.", choices=("string", "integer", "number", "boolean")),
    "default": Field("scalar", "The value when none is given; without one the parameter must be given."),
    "choices": Field("scalars", "The values that are allowed."),
    "description": Field("text", "What the parameter means."),
}
INPUT = {
    "file": Field("text", "A file beneath the project; may hold {{ parameters }}."),
    "glob": Field("text", "Files beneath the project that match; may hold {{ parameters }}."),
    "command": Field(
        "text", "A shell command whose output it is; parameters reach it as MESHCLAW_PARAM_NAME."
    ),
    "stdin": Field("bool", "Standard input."),
    "tail": Field("tail", "Keep only the end: `2000 lines` or `64 KB`."),
    "max": Field("bytes", "Most bytes that are taken; 1 MB unless stated."),
    "optional": Field("bool", "Go on with nothing when it is missing or empty."),
    "trusted": Field("bool", "The text may be believed: it comes from the operator."),
}
ALLOW = {
    "write": Field(
        "texts",
        "Glob patterns of files that may be written, beneath the project.",
        wrong=write_pattern_problem,
    ),
    "run": Field(
        "texts",
        'Patterns of commands that may run; a trailing " *" matches any further words.',
        wrong=run_pattern_problem,
    ),
    "network": Field(
        "texts",
        "Hosts that fetch and commands may reach: example.com (ports 80, 443), *.example.com, host:8443.",
        wrong=host_pattern_problem,
    ),
}
OUTPUT = {
    "file": Field("text", "Where the result is written, beneath the project; may hold {{ parameters }}."),
    "schema": Field("schema", "A JSON Schema that the result must fit."),
}
SIZE = {
    "min": Field("bytes", "The file's least size: `1 KB`."),
    "max": Field("bytes", "Its most size: `5 MB`."),
}
_NAMED = {"name": Field("text", "What reports call the check.")}
_IN = {"in": Field("text", "A file beneath the project, looked at instead of the result.")}
CHECKS = {
    "run": Field(
        "text",
        "A shell command that exits 0, run in a copy of the work; parameters and inputs reach it as "
        "MESHCLAW_PARAM_NAME and MESHCLAW_INPUT_NAME (a file).",
        required=True,
        fields={"timeout": Field("duration", "The longest it may take; 10m unless stated."), **_NAMED},
    ),
    "schema": Field("nothing", "The result fits output.schema."),
    "matches": Field(
        "text", "A regular expression that is found in the result.", required=True, fields={**_IN, **_NAMED}
    ),
    "absent": Field(
        "text",
        "A regular expression that is not found in the result.",
        required=True,
        fields={**_IN, **_NAMED},
    ),
    "changed": Field(
        "texts",
        "Globs, one of which matches a file that differs from before.",
        required=True,
        fields=_NAMED,
    ),
    "unchanged": Field(
        "texts",
        "Globs, none of which matches a file that differs from before.",
        required=True,
        fields=_NAMED,
    ),
    "files": Field(
        "sizes", "Files that exist; of each, `min` and `max` say its size.", required=True, fields=_NAMED
    ),
    "max_diff": Field("count", "Most lines added and removed, together.", required=True, fields=_NAMED),
    "judge": Field(
        "text",
        "A rubric by which another model judges the result and the changes.",
        required=True,
        fields={"model": Field("text", "Which model judges: an alias or provider/model-id."), **_NAMED},
    ),
    "human": Field("text", "A person decides; the text says what to look at.", fields=_NAMED),
}
"""The built-in checks. Of each the kind is that of its argument, `required` says that it cannot stand
without one, and `fields` are its options. Those of plug-ins know theirs themselves."""
BUDGET = {
    "usd": Field("usd", "Most US dollars of one run."),
    "tokens": Field("count", "Most tokens of one run, cache reads not counted: `200k`."),
    "steps": Field("count", "Most steps (model responses) of one run."),
    "time": Field("duration", "Most time of one run: `15m`."),
}
AXIS = {
    "file": Field(
        "text", "A file beneath the project, one value a line; may hold {{ parameters }} that are no axes."
    ),
    "command": Field(
        "text",
        "A shell command that prints one value a line; parameters that are no axes reach it as "
        "MESHCLAW_PARAM_NAME.",
    ),
    "trusted": Field("bool", "The values may be believed: they come from the operator."),
}
MATRIX = {
    "include": Field("rows", "Further items, each a mapping of parameters to values."),
    "exclude": Field(
        "rows", "Which items of the product are left out: those that have all of a row's values."
    ),
}
TASK = {
    "description": Field("text", "What the task is for, in one line."),
    "model": Field(
        "ladder",
        "An alias (default, fast, strong) or provider/model-id; a list is climbed, one model an attempt.",
    ),
    "effort": Field("choice", "How hard a reasoning model should think.", choices=EFFORTS),
    "runner": Field("choice", "agent (works with tools) or prompt (one call, no tools)."),
    "params": Field("named", "Parameters, given with -p name=value.", fields=PARAM),
    "inputs": Field(
        "inputs", "What is gathered before the start, at no token cost for the asking.", fields=INPUT
    ),
    "matrix": Field(
        "matrix",
        "One run for each combination of values: parameters, each with a list of values or the file or "
        "command that gives them.",
        fields=MATRIX,
    ),
    "needs": Field(
        "texts",
        "Tasks that run before this one; their accepted results are inputs of their names, a `-` as `_`.",
    ),
    "system": Field("text", "Standing instructions; may hold {{ parameters }}, no inputs."),
    "prompt": Field("text", "What is asked; may hold {{ parameters }} and {{ inputs }}.", required=True),
    "tools": Field("texts", "Tools of the agent."),
    "allow": Field(
        "table", "What the agent may do besides reading the project; all else is denied.", fields=ALLOW
    ),
    "propose": Field(
        "texts",
        "Patterns of commands, as in allow.run, that do not run: they are kept for a person to do later.",
    ),
    "accept_risk": Field(
        "text",
        "Why the task may read untrusted text, reach private data and act outward all at once; counts only "
        "where the operator's settings have `policy.accept_risk: true`.",
    ),
    "output": Field("table", "The result's place and form.", fields=OUTPUT),
    "accept": Field("checks", "What counts as done: checks, all of which have to pass."),
    "budget": Field("table", "Limits of one run; what is not stated is the settings'.", fields=BUDGET),
    "max_output": Field("count", "Most tokens of one response."),
    "attempts": Field(
        "count",
        "Most attempts, each told what was wrong with the one before; as many as there are models unless "
        "stated.",
    ),
    "protect": Field(
        "texts",
        "Glob patterns of files that checks see as they were before the start, new ones not at all; unless "
        "stated, test files, the checks' configuration, and what a check runs by name. One that begins "
        "with ! takes away.",
        wrong=lambda glob: write_pattern_problem(glob.removeprefix("!")),
    ),
    "isolate": Field(
        "choice",
        "copy: work in a clone of the repository and hand back a patch; none: in the project itself.",
        choices=("none", "copy"),
    ),
    "include_dirty": Field("bool", "The copy holds changes that are not committed, and new files."),
    "share": Field(
        "texts",
        "Files and folders of the project that the copy uses and may not change; .venv and "
        "node_modules unless stated.",
    ),
    "branch": Field("text", "Leave a good patch as a branch of this name; may hold {{ parameters }}."),
    "reuse": Field(
        "choice",
        "accepted: hand back the accepted result of the same work, at no cost; never: do it again. Unless "
        "stated, accepted for `runner: prompt` with checks, else never.",
        choices=("accepted", "never"),
    ),
}
COMING = frozenset({"when", "schedule"})
"""Keys of later versions: named in the Problem, so that nobody believes them to work."""
