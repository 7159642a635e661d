"""A Task: what is asked, from one YAML file, immutable once loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from meshclaw.budgets import NO_LIMITS, Budget
from meshclaw.frozen import dataclass
from meshclaw.messages import Effort

ParamType = Literal["string", "integer", "number", "boolean"]
InputKind = Literal["file", "glob", "command", "stdin"]


@dataclass(frozen=True, slots=True)
class Param:
    """A declared parameter. `default` None means that it must be given."""

    name: str
    type: ParamType = "string"
    default: str | int | float | bool | None = None
    choices: tuple[str | int | float, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Input:
    """A declared input. `value` is the path, pattern or command; empty for stdin.

    `tail_lines`/`tail_bytes` keep only the end; `max_bytes` bounds what is read.
    """

    name: str
    kind: InputKind
    value: str = ""
    trusted: bool = False
    optional: bool = False
    tail_lines: int | None = None
    tail_bytes: int | None = None
    max_bytes: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Allow:
    """What an agent may do beyond reading the project: glob patterns, command patterns, hosts."""

    write: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    network: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """Where the result goes, beneath the project, and the JSON Schema that it must fit."""

    file: str | None = None
    schema: Mapping[str, Any] | None = None


Value = str | int | float | bool
"""A parameter's value."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The values of one parameter in a matrix: stated, or one a line of what `source` gives.

    `line` and `column` say where it stands, as in every part that is checked only when a run is planned.
    """

    param: str
    values: tuple[Value, ...] = ()
    source: Input | None = None
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Matrix:
    """The product of the axes without the rows of `exclude`, then the rows of `include`."""

    axes: tuple[Axis, ...] = ()
    include: tuple[Mapping[str, Value], ...] = ()
    exclude: tuple[Mapping[str, Value], ...] = ()
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Need:
    """Another task, whose result is handed in as the input `input`."""

    task: str
    input: str
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One item of `accept:` as the task states it; `argument` and `options` are plain data.

    An item without an argument (`- schema`) has None. `line` and `column` say where it stands.
    """

    kind: str
    argument: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """One task file. `budget` holds only the limits that the task states.

    `propose` holds patterns of commands that a person may do after the run. `accept_risk` is the reason for
    combining what the rule of two keeps apart; None: there is none.
    `text` is the file's, `digest` the SHA-256 of its bytes, in hex; `source` its path as given. `stronger`
    are the models that further attempts climb to. `protect`, `share` and `reuse` are None where the task is
    silent.
    """

    name: str
    prompt: str
    source: str = ""
    path: Path | None = None
    text: str = field(default="", repr=False)
    digest: str = ""
    description: str = ""
    model: str = "default"
    effort: Effort | None = None
    runner: str = "agent"
    params: tuple[Param, ...] = ()
    inputs: tuple[Input, ...] = ()
    system: str = ""
    tools: tuple[str, ...] = ()
    allow: Allow = field(default_factory=Allow)
    propose: tuple[str, ...] = ()
    accept_risk: str | None = None
    output: Output = field(default_factory=Output)
    budget: Budget = NO_LIMITS
    max_output: int | None = None
    accept: tuple[Acceptance, ...] = ()
    stronger: tuple[str, ...] = ()
    attempts: int = 1
    protect: tuple[str, ...] | None = None
    isolate: Literal["none", "copy"] = "none"
    include_dirty: bool = False
    share: tuple[str, ...] | None = None
    branch: str | None = None
    reuse: Literal["accepted", "never"] | None = None
    matrix: Matrix | None = None
    needs: tuple[Need, ...] = ()
