"""The tools that change files: `edit` replaces one exact passage, `write` a whole file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from meshclaw.policies import Effects
from meshclaw.threads import in_thread
from meshclaw.tools.base import ToolContext, ToolError, ToolOutput
from meshclaw.tools.files import is_binary, not_found
from meshclaw.tools.specs import tool_spec
from meshclaw.workspace import NotFoundError, Workspace, WorkspaceError, shown_name

MAX_EDITED = 4 * 2**20
"""Larger files are not edited, in bytes."""
MAX_DIFFED_LINES = 4_000
BOM = "\ufeff"


class EditTool:
    """Keeps line endings, a byte order mark, the mode, and bytes that are not UTF-8."""

    spec = tool_spec(
        "edit",
        "Replace one passage of a file. `old` must be its exact text, with enough lines to occur once.",
        {"path": "string", "old": "string", "new": "string"},
        {},
    )

    def effects(self, arguments: Mapping[str, Any]) -> Effects:
        return Effects(reads=(arguments["path"],), writes=(arguments["path"],))

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        return await in_thread(
            _edit, context.workspace, arguments["path"], arguments["old"], arguments["new"]
        )


class WriteTool:
    """Makes or replaces a file, with the folders that it needs."""

    spec = tool_spec(
        "write",
        "Create a file, or replace all of its content.",
        {"path": "string", "content": "string"},
        {},
    )

    def effects(self, arguments: Mapping[str, Any]) -> Effects:
        return Effects(writes=(arguments["path"],))

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        return await in_thread(_write, context.workspace, arguments["path"], arguments["content"])


def diff(path: str, before: str, after: str) -> str:
    """A unified diff for people; of very long texts only their lengths."""
    old, new = _lines(before), _lines(after)
    if len(old) + len(new) > MAX_DIFFED_LINES:
        return f"{shown_name(path)}: {len(old)} lines are now {len(new)} lines"
    name = shown_name(path)
    lines = difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm="")
    return "\n".join(lines)


def _edit(workspace: Workspace, path: str, old: str, new: str) -> ToolOutput:
    try:
        data = workspace.read_bytes(path, MAX_EDITED + 1)
    except NotFoundError:
        raise not_found(workspace, path) from None
    if len(data) > MAX_EDITED:
        raise ToolError(f"{shown_name(path)}: larger than {MAX_EDITED} bytes; too large to edit")
    if is_binary(data):
        raise ToolError(f"{shown_name(path)}: is a binary file")
    if not old:
        raise ToolError("old is empty; give the exact text to replace, or use `write`")
    before = data.decode("utf-8", "surrogateescape")
    if before.count("\r\n") == before.count("\n"):
        old, new = _with_crlf(old, before), _with_crlf(new, before)
    if old == new:
        raise ToolError("old and new are the same; nothing would change")
    at = _only_place(before, old, shown_name(path))
    after = before[:at] + new + before[at + len(old) :]
    workspace.write_bytes(path, _encode(after))
    line = before.count("\n", 0, at) + 1
    return ToolOutput(f"edited {shown_name(path)} at line {line}", display=diff(path, before, after))


def _write(workspace: Workspace, path: str, content: str) -> ToolOutput:
    try:
        before = workspace.read_bytes(path, MAX_EDITED)
    except NotFoundError:
        before, verb = b"", "created"
    except WorkspaceError:
        # Writing will say it better than reading.
        before, verb = b"", "wrote"
    else:
        verb = "replaced"
    data = _encode(content)
    workspace.write_bytes(path, data)
    shown = "" if is_binary(before) else diff(path, before.decode("utf-8", "replace"), content)
    return ToolOutput(f"{verb} {shown_name(path)}, {len(data)} bytes", display=shown)


def _lines(text: str) -> list[str]:
    """As `read` counts them: only a line feed ends a line."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def _with_crlf(text: str, like: str) -> str:
    return text.replace("\r\n", "\n").replace("\n", "\r\n") if "\n" in like else text


def _encode(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ToolError("the text holds half of a surrogate pair, which is no character") from None


def _only_place(text: str, old: str, path: str) -> int:
    """Where `old` begins. Raises ToolError unless it occurs exactly once, overlaps counted."""
    places: list[int] = []
    at = text.find(old)
    while at >= 0 and len(places) < 100:
        places.append(at)
        at = text.find(old, at + 1)
    if len(places) == 1:
        return places[0]
    if not places:
        raise ToolError(f"{path}: old was not found; {_nearest(text, old)}")
    lines = ", ".join(str(text.count("\n", 0, place) + 1) for place in places[:10])
    raise ToolError(f"{path}: old occurs {len(places)} times, at lines {lines}; add more lines around it")


def _nearest(text: str, old: str) -> str:
    """What to tell a model about a passage that is not there: the passage that is most like it."""
    lines = _lines(text.removeprefix(BOM))
    wanted = [line for line in _lines(old) if line.strip()]
    if not lines or not wanted:
        return "read the file and copy the text exactly"
    stripped = [line.strip()[:200] for line in lines[:20_000]]
    found = difflib.get_close_matches(wanted[0].strip()[:200], stripped, n=1, cutoff=0.6)
    if not found:
        return "nothing in the file is like its first line; read the file and copy the text exactly"
    index = stripped.index(found[0])
    passage = "\n".join(line[:300] for line in lines[index : index + min(len(_lines(old)), 12)])
    same = found[0] == wanted[0].strip()[:200]
    how = "the indentation or a later line differs" if same else "the nearest text is"
    return f"{how}; from line {index + 1} the file has:\n{passage}"
