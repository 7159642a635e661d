"""A Task: what is asked, from one YAML file, immutable once loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from meshclaw.budgets import NO_LIMITS, Budget
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


@dataclass(frozen=True, slots=True)
class Task:
    """One task file. `budget` holds only the limits that the task states.

    `digest` is the SHA-256 of the file's bytes, in hex; `source` its path as given.
    """

    name: str
    prompt: str
    source: str = ""
    path: Path | None = None
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
    output: Output = field(default_factory=Output)
    budget: Budget = NO_LIMITS
    max_output: int | None = None
