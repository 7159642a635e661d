"""Where an input's bytes come from: a file, files by a pattern, a command, standard input."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from itertools import takewhile
from pathlib import Path

from anyio import to_thread

from meshclaw.frozen import dataclass
from meshclaw.inputs.bounding import Data, bounded, first_lines, said
from meshclaw.policies import matches_glob
from meshclaw.sandbox.base import Command, Confinement, Limits, Sandbox, SandboxError
from meshclaw.tasks import Input
from meshclaw.templates import render
from meshclaw.workspace import Workspace, WorkspaceError

COMMAND_TIMEOUT = 300.0
"""Seconds that a `command:` input may take."""
MAX_GLOB_FILES = 500
_LAST_LINES = 5


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
    limits: Limits = field(default_factory=Limits)
    overrides: Mapping[str, Path] = field(default_factory=dict)
    stdin: Callable[[], bytes] | None = None


class Missing(Exception):
    """There is no such input; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


async def read(one: Input, sources: Sources) -> Data:
    """What one input's source gives, bounded. Raises Missing."""
    override = sources.overrides.get(one.name)
    if override is not None:
        return await to_thread.run_sync(_from_file, override, one, abandon_on_cancel=True)
    match one.kind:
        case "file":
            path = render(one.value, sources.params)
            return await to_thread.run_sync(
                _from_project, Workspace(sources.project), path, one, abandon_on_cancel=True
            )
        case "glob":
            pattern = render(one.value, sources.params)
            return await to_thread.run_sync(
                _from_glob, Workspace(sources.project), pattern, one, abandon_on_cancel=True
            )
        case "command":
            return await _from_command(one, sources)
        case _:
            if sources.stdin is None:
                hint = f"pipe it in, or give a file: --input {one.name}=FILE"
                raise Missing("comes from standard input, and there is none", hint)
            data = await to_thread.run_sync(sources.stdin, abandon_on_cancel=True)
            return bounded(data, one, len(data))


def _from_file(path: Path, one: Input) -> Data:
    try:
        with path.open("rb") as file:
            # A pipe, as the shell's <(command) is one, has no end to look for beforehand.
            size = file.seek(0, os.SEEK_END) if file.seekable() else None
            if size is not None:
                file.seek(_offset(size, one))
            return bounded(file.read(one.max_bytes + 1), one, size)
    except OSError as error:
        raise Missing(f"cannot be read from {path}: {error.strerror}") from None


def _from_project(workspace: Workspace, path: str, one: Input) -> Data:
    try:
        size = workspace.stat(path).size
        return bounded(workspace.read_bytes(path, one.max_bytes + 1, _offset(size, one)), one, size)
    except WorkspaceError as error:
        raise Missing(f"cannot be read: {error}", f"give another file: --input {one.name}=FILE") from None


def _offset(size: int, one: Input) -> int:
    """Where to begin reading a file of `size` bytes."""
    tail = one.tail_lines is not None or one.tail_bytes is not None
    return max(0, size - one.max_bytes - 1) if tail else 0


def _from_glob(workspace: Workspace, pattern: str, one: Input) -> Data:
    parts: list[bytes] = []
    left = one.max_bytes
    try:
        for entry in workspace.walk(_named_folder(pattern)):
            if entry.kind != "file" or not matches_glob(entry.path, pattern):
                continue
            head = f"==> {entry.path} <==\n".encode("utf-8", "replace")
            left -= len(head)
            if len(parts) == MAX_GLOB_FILES:
                return Data(b"".join(parts), "end", f"the first {MAX_GLOB_FILES} files")
            if left <= 0:
                return _cut(parts)
            try:
                data = workspace.read_bytes(entry.path, left + 1)
            except WorkspaceError as error:
                data = f"[cannot be read: {error}]\n".encode("utf-8", "replace")
            if len(data) > left:
                kept = first_lines(data, left)
                # Of one file that is a single line, a part is more than nothing.
                parts += [head + kept] if kept.endswith(b"\n") or not parts else []
                return _cut(parts)
            parts.append(head + data + (b"" if data.endswith(b"\n") else b"\n"))
            left -= len(data)
    except WorkspaceError as error:
        raise Missing(f"matches no file: {pattern}", str(error)) from None
    if not parts:
        hint = "files that .gitignore leaves out are not looked at, unless the pattern names their folder"
        raise Missing(f"matches no file: {pattern}", hint)
    return Data(b"".join(parts))


def _cut(parts: list[bytes]) -> Data:
    data = b"".join(parts)
    return Data(data, "end", said(len(data), from_end=False))


def _named_folder(pattern: str) -> str:
    """The folder that a pattern names before its first wildcard: nothing else needs to be looked at."""
    folders = pattern.split("/")[:-1]
    literal = takewhile(lambda folder: not re.search(r"[*?\[{]", folder), folders)
    return "/".join(literal)


async def _from_command(one: Input, sources: Sources) -> Data:
    variables = {f"MESHCLAW_PARAM_{name.upper()}": value for name, value in sources.params.items()}
    command = Command(
        one.value,
        sources.project,
        {**sources.environment, **variables},
        timeout=COMMAND_TIMEOUT,
        max_output=max(one.max_bytes * 2, 1_000_000),
        apart=True,
        confinement=Confinement(limits=sources.limits),
    )
    try:
        result = await sources.sandbox.execute(command)
    except (SandboxError, OSError) as error:
        raise Missing(f"could not be started: {one.value}", str(error)) from None
    if result.timed_out:
        raise Missing(f"took longer than {COMMAND_TIMEOUT:g} s: {one.value}")
    if result.stopped:
        raise Missing(f"used {result.stopped}: {one.value}", "raise the limit in your settings: sandbox.*")
    if result.exit_code != 0:
        spoken = result.errors if result.errors.strip() else result.output
        hint = _about_git(spoken, sources.project) + shown_lines(spoken)
        raise Missing(f"failed with exit code {result.exit_code}: {one.value}", hint)
    data = result.output.encode("utf-8", "replace")
    found = bounded(data, one, len(data) + result.dropped)
    return replace(found, errors=shown_lines(result.errors))


def _about_git(spoken: str, project: Path) -> str:
    """A line on why git found no repository, where there is one that commands do not see."""
    if "not a git repository" not in spoken.lower():
        return ""
    if (project / ".git").is_file():
        return "commands see the project alone, and its .git leads elsewhere (a submodule?)\n"
    around = next((folder for folder in project.parents if os.path.lexists(folder / ".git")), None)
    if around is None or os.path.lexists(project / ".git"):
        return ""
    return f"commands see the project alone, and the repository begins above it: try --project {around}\n"


def shown_lines(text: str) -> str:
    """The first line and the last ones: what went wrong is said at one end or the other."""
    lines = text.strip().splitlines()
    left_out = len(lines) - _LAST_LINES - 1
    if left_out > 0:
        lines[1:-_LAST_LINES] = [f"[... {left_out} more line{'' if left_out == 1 else 's'} ...]"]
    return "\n".join(lines)
