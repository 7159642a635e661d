"""Gathers a task's inputs before the start, at no token cost, and marks off what cannot be trusted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from meshclaw.errors import Problem, ProblemsError
from meshclaw.policies import matches_glob
from meshclaw.sandbox.base import Command, Sandbox
from meshclaw.tasks import Input
from meshclaw.templates import render
from meshclaw.workspace import Workspace, WorkspaceError

COMMAND_TIMEOUT = 300.0
"""Seconds that a `command:` input may take."""
MAX_GLOB_FILES = 500
_SHOWN_LINES = 5


@dataclass(frozen=True, slots=True)
class Gathered:
    """One input's text as the prompt will hold it, and its bytes as files and commands get them."""

    name: str
    text: str
    data: bytes
    truncated: bool = False
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Sources:
    """Where inputs come from. `params` are the parameters as text.

    `overrides` are files that the operator names for an input (they may lie anywhere); `stdin` gives
    standard input, and is None when there is nothing to read but a terminal.
    """

    project: Path
    params: Mapping[str, str]
    environment: Mapping[str, str]
    sandbox: Sandbox
    overrides: Mapping[str, Path]
    stdin: Callable[[], bytes] | None = None


async def gather(inputs: tuple[Input, ...], sources: Sources, source: str) -> list[Gathered]:
    """All inputs, in the task's order. Raises ProblemsError with every one that is missing or empty.

    `source` names the task file in Problems. Standard input is read only when an input asks for it.
    """
    problems: list[Problem] = []
    gathered: list[Gathered] = []
    declared = {one.name for one in inputs}
    for name in sources.overrides:
        if name not in declared:
            hint = f"there are {', '.join(sorted(declared))}" if declared else "the task has no inputs"
            problems.append(Problem("--input", 0, 0, f"unknown input '{name}'", hint))
    for one in inputs:
        try:
            data, truncated = await _read(one, sources)
            if not data.strip() and not one.optional:
                raise _Missing("is empty", "nothing was spent; mark it `optional: true` if that is fine")
        except _Missing as missing:
            if one.optional:
                data, truncated = b"", False
            else:
                problem = f"input '{one.name}' {missing.message}"
                problems.append(Problem(source, 0, 0, problem, missing.hint))
                continue
        gathered.append(Gathered(one.name, data.decode("utf-8", "replace"), data, truncated, one.trusted))
    if problems:
        raise ProblemsError(problems)
    return gathered


def wrap(one: Gathered) -> str:
    """An input as it stands in a prompt: marked off as material, unless it is trusted.

    Nothing inside can end the mark: a closing tag in the text loses its meaning.
    """
    text = one.text if one.text.endswith("\n") or not one.text else one.text + "\n"
    note = "[the beginning or end was cut off: it is longer]\n" if one.truncated else ""
    if one.trusted:
        return f"{text}{note}".rstrip("\n")
    inert = re.sub(r"<(?=/?\s*input\b)", "<\u200a", text, flags=re.IGNORECASE)
    return f'<input name="{one.name}">\n{inert}{note}</input>'


class _Missing(Exception):
    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


async def _read(one: Input, sources: Sources) -> tuple[bytes, bool]:
    override = sources.overrides.get(one.name)
    if override is not None:
        return await to_thread.run_sync(_from_file, override, one)
    match one.kind:
        case "file":
            path = render(one.value, sources.params)
            return await to_thread.run_sync(_from_project, Workspace(sources.project), path, one)
        case "glob":
            pattern = render(one.value, sources.params)
            return await to_thread.run_sync(_from_glob, Workspace(sources.project), pattern, one)
        case "command":
            return await _from_command(one, sources)
        case _:
            if sources.stdin is None:
                hint = f"pipe it in, or give a file: --input {one.name}=FILE"
                raise _Missing("comes from standard input, and there is none", hint)
            return _bounded(await to_thread.run_sync(sources.stdin), one)


def _from_file(path: Path, one: Input) -> tuple[bytes, bool]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if one.tail_lines is not None or one.tail_bytes is not None:
                file.seek(max(0, size - one.max_bytes - 1))
            return _bounded(file.read(one.max_bytes + 1), one)
    except OSError as error:
        raise _Missing(f"cannot be read from {path}: {error.strerror}") from None


def _from_project(workspace: Workspace, path: str, one: Input) -> tuple[bytes, bool]:
    try:
        size = workspace.stat(path).size
        tail = one.tail_lines is not None or one.tail_bytes is not None
        offset = max(0, size - one.max_bytes - 1) if tail else 0
        return _bounded(workspace.read_bytes(path, one.max_bytes + 1, offset), one)
    except WorkspaceError as error:
        raise _Missing(f"cannot be read: {error}", f"give another file: --input {one.name}=FILE") from None


def _from_glob(workspace: Workspace, pattern: str, one: Input) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    left = one.max_bytes
    count = 0
    for entry in workspace.walk():
        if entry.kind != "file" or not matches_glob(entry.path, pattern):
            continue
        count += 1
        try:
            data = workspace.read_bytes(entry.path, left + 1)
        except WorkspaceError:
            continue
        head = f"==> {entry.path} <==\n".encode("utf-8", "replace")
        parts.append(head + data[:left] + (b"" if data.endswith(b"\n") else b"\n"))
        left -= len(data) + len(head)
        if left <= 0 or count == MAX_GLOB_FILES:
            return b"".join(parts), True
    if not parts:
        raise _Missing(f"matches no file: {pattern}")
    return b"".join(parts), False


async def _from_command(one: Input, sources: Sources) -> tuple[bytes, bool]:
    variables = {f"MESHCLAW_PARAM_{name.upper()}": value for name, value in sources.params.items()}
    command = Command(
        one.value,
        sources.project,
        {**sources.environment, **variables},
        timeout=COMMAND_TIMEOUT,
        max_output=max(one.max_bytes * 2, 1_000_000),
    )
    result = await sources.sandbox.execute(command)
    if result.timed_out:
        raise _Missing(f"took longer than {COMMAND_TIMEOUT:g} s: {one.value}")
    if result.exit_code != 0:
        last = "\n".join(result.output.strip().splitlines()[-_SHOWN_LINES:])
        raise _Missing(f"failed with exit code {result.exit_code}: {one.value}", last)
    return _bounded(result.output.encode("utf-8", "replace"), one)


def _bounded(data: bytes, one: Input) -> tuple[bytes, bool]:
    """What `tail:` and `max:` leave of `data`, cut at whole lines where there are any."""
    whole = len(data)
    if one.tail_lines is not None:
        lines = data.splitlines(keepends=True)
        data = b"".join(lines[-one.tail_lines :])
    most = min(one.max_bytes, one.tail_bytes or one.max_bytes)
    if len(data) > most:
        if one.tail_lines is not None or one.tail_bytes is not None:
            data = data[-most:]
            data = data[data.find(b"\n") + 1 :] if b"\n" in data[:-1] else data
        else:
            data = data[:most]
            data = data[: data.rfind(b"\n") + 1] if b"\n" in data else data
    return data, len(data) < whole
