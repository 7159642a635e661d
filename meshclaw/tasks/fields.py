"""The one table of a task file's keys: it validates, and the JSON Schema for editors is made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from meshclaw.messages import EFFORTS

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
    "table",
    "named",
    "inputs",
]


@dataclass(frozen=True, slots=True)
class Field:
    """One key: what it takes and means. `fields` are the keys of a `table` or of each `named` one."""

    kind: Kind
    description: str
    required: bool = False
    choices: tuple[str, ...] = ()
    fields: Mapping[str, Field] = field(default_factory=dict)


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
    "write": Field("texts", "Glob patterns of files that may be written, beneath the project."),
    "run": Field("texts", 'Patterns of commands that may run; a trailing " *" matches any further words.'),
    "network": Field("texts", "Hosts that may be reached: none yet."),
}
OUTPUT = {
    "file": Field("text", "Where the result is written, beneath the project; may hold {{ parameters }}."),
    "schema": Field("schema", "A JSON Schema that the result must fit."),
}
BUDGET = {
    "usd": Field("usd", "Most US dollars of one run."),
    "tokens": Field("count", "Most tokens of one run, cache reads not counted: `200k`."),
    "steps": Field("count", "Most steps (model responses) of one run."),
    "time": Field("duration", "Most time of one run: `15m`."),
}
TASK = {
    "description": Field("text", "What the task is for, in one line."),
    "model": Field("text", "An alias (default, fast, strong) or provider/model-id."),
    "effort": Field("choice", "How hard a reasoning model should think.", choices=EFFORTS),
    "runner": Field("choice", "agent (works with tools) or prompt (one call, no tools)."),
    "params": Field("named", "Parameters, given with -p name=value.", fields=PARAM),
    "inputs": Field(
        "inputs", "What is gathered before the start, at no token cost for the asking.", fields=INPUT
    ),
    "system": Field("text", "Standing instructions; may hold {{ parameters }}, no inputs."),
    "prompt": Field("text", "What is asked; may hold {{ parameters }} and {{ inputs }}.", required=True),
    "tools": Field("texts", "Tools of the agent."),
    "allow": Field(
        "table", "What the agent may do besides reading the project; all else is denied.", fields=ALLOW
    ),
    "output": Field("table", "The result's place and form.", fields=OUTPUT),
    "budget": Field("table", "Limits of one run; what is not stated is the settings'.", fields=BUDGET),
    "max_output": Field("count", "Most tokens of one response."),
}
COMING = frozenset(
    {"accept", "attempts", "isolate", "when", "schedule", "reuse", "matrix", "needs", "propose"}
)
"""Keys of later versions: named in the Problem, so that nobody believes them to work."""

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
    "schema": {"type": "object"},
}


def task_json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a task file, for editors. Every key of the table is in it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "MeshClaw task",
        **_object(TASK),
    }


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
    schema = described | _KINDS[one.kind]
    return schema | ({"enum": list(one.choices)} if one.choices else {})
