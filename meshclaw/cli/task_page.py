"""One task, for a person and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from meshclaw.tasks import Acceptance, Input, Param, Task
from meshclaw.tasks.params import as_text


def task_data(task: Task) -> dict[str, Any]:
    """A task as plain data, limits as written on the command line."""
    data = asdict(task)
    del data["text"]
    data["path"] = None if task.path is None else str(task.path)
    limits = data["budget"]
    data["budget"] = {
        "usd": None if task.budget.usd is None else str(task.budget.usd),
        "tokens": limits["tokens"],
        "steps": limits["steps"],
        "time_s": limits["time"],
    }
    return data


def task_page(task: Task) -> str:
    """Everything in a task, readable."""
    head = [f"{task.name}: {task.description}" if task.description else task.name, f"file: {task.source}"]
    head.append(
        f"model: {task.model}, runner: {task.runner}" + (f", effort: {task.effort}" if task.effort else "")
    )
    sections = [
        "\n".join(head),
        _block("parameters", [_param(one) for one in task.params]),
        _block("inputs", [_input(one) for one in task.inputs]),
        _block("matrix", _matrix(task)),
        _block("needs", [f"{need.task} (its result is the input '{need.input}')" for need in task.needs]),
        _block("system", task.system.rstrip().splitlines()),
        _block("prompt", task.prompt.rstrip().splitlines()),
        _block("tools", [", ".join(task.tools)] if task.tools else []),
        _block("may", _allow(task)),
        _block("output", _output(task)),
        _block("done when", [_check(one) for one in task.accept]),
        _block("budget", _budget(task)),
    ]
    return "\n\n".join(section for section in sections if section)


def _block(name: str, lines: list[str]) -> str:
    return f"{name}:\n" + "\n".join(f"  {line}".rstrip() for line in lines) if lines else ""


def _param(one: Param) -> str:
    kind = one.type + (f", one of {', '.join(map(str, one.choices))}" if one.choices else "")
    value = "must be given" if one.default is None else f"default {one.default}"
    about = f" - {one.description}" if one.description else ""
    return f"{one.name} ({kind}; {value}){about}"


def _input(one: Input) -> str:
    notes = [note for note, holds in (("optional", one.optional), ("trusted", one.trusted)) if holds]
    if one.tail_lines is not None:
        notes.append(f"last {one.tail_lines:,} lines")
    if one.tail_bytes is not None:
        notes.append(f"last {one.tail_bytes:,} bytes")
    notes.append(f"at most {one.max_bytes:,} bytes")
    what = f"{one.kind} {one.value}".strip()
    return f"{one.name}: {what} ({', '.join(notes)})"


def _matrix(task: Task) -> list[str]:
    if task.matrix is None:
        return []
    lines = []
    for axis in task.matrix.axes:
        source = axis.source
        values = ", ".join(map(as_text, axis.values)) if source is None else f"{source.kind} {source.value}"
        lines.append(f"{axis.param}: {' '.join(values.split())}")
    rows = (("without", task.matrix.exclude), ("and", task.matrix.include))
    for word, given in rows:
        lines += (
            f"{word} " + ", ".join(f"{name}={as_text(value)}" for name, value in row.items())
            for row in given
        )
    return lines


def _allow(task: Task) -> list[str]:
    named = (
        ("write", task.allow.write),
        ("run", task.allow.run),
        ("connect to", task.allow.network),
        ("propose", task.propose),
    )
    lines = [f"{verb}: {', '.join(patterns)}" for verb, patterns in named if patterns]
    return [*lines, f"accept its risk: {task.accept_risk}"] if task.accept_risk else lines


def _output(task: Task) -> list[str]:
    lines = [f"file: {task.output.file}"] if task.output.file else []
    if task.output.schema is not None:
        keys = ", ".join(task.output.schema.get("properties", {}))
        lines.append("JSON that fits a schema" + (f" ({keys})" if keys else ""))
    return lines


def _check(one: Acceptance) -> str:
    shown = one.kind if one.argument is None else f"{one.kind}: {_plainly(one.argument)}"
    return f"{shown} ({_plainly(one.options)})" if one.options else shown


def _plainly(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plainly(item)}".rstrip() for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plainly, value))
    return " ".join((f"{value:g}" if isinstance(value, float) else str(value)).split())


def _budget(task: Task) -> list[str]:
    stated = (
        ("usd", task.budget.usd),
        ("tokens", task.budget.tokens),
        ("steps", task.budget.steps),
        ("seconds", None if task.budget.time is None else f"{task.budget.time:g}"),
    )
    return [f"{name}: {value}" for name, value in stated if value is not None]
