"""The tools that look: `read` a file and `list` a folder. Both bound what they show."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from io import BytesIO
from itertools import islice
from typing import Any, BinaryIO

from meshclaw.policies import Effects
from meshclaw.threads import in_thread
from meshclaw.tools.base import ToolContext, ToolError, ToolOutput
from meshclaw.tools.specs import tool_spec
from meshclaw.workspace import IsFolderError, NotFoundError, Workspace, shown_name

PAGE_LINES = 2_000
PAGE_BYTES = 32_768
"""What one `read` shows at most."""
AT_ONCE = 64 * 2**10
"""Bytes of a file up to which it is taken in whole, with few calls of the system."""
LISTED = 400
"""Entries that one `list` shows at most."""
LIST_DEPTH = 2
SNIFFED = 8_192
"""Bytes at a file's start in which a NUL makes it binary."""
SCANNED = 256 * 2**20
"""Bytes of a file in which lines are counted at most."""
SEARCHED_FOR_SIMILAR = 5_000


class ReadTool:
    """A whole file, or a page of it with a line that says which."""

    spec = tool_spec(
        "read",
        "Read a text file or a range of its lines. On a folder: list it.",
        {"path": "string"},
        {"start_line": "integer: 1 is the first", "end_line": "integer"},
    )

    def effects(self, arguments: Mapping[str, Any]) -> Effects:
        return Effects(reads=(arguments["path"],))

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        start, end = arguments.get("start_line", 1), arguments.get("end_line")
        if start < 1 or (end is not None and end < start):
            raise ToolError("lines count from 1, and end_line is not before start_line")
        content = await in_thread(_read, context.workspace, arguments["path"], start, end, abandon=True)
        return ToolOutput(content, bounded=True)


class ListTool:
    """What a folder holds, without what `.gitignore` files exclude."""

    spec = tool_spec(
        "list",
        "List files and folders (not the git-ignored ones).",
        {},
        {"path": "string", "depth": f"integer: default {LIST_DEPTH}"},
    )

    def effects(self, arguments: Mapping[str, Any]) -> Effects:
        return Effects(reads=(arguments.get("path", ""),))

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        depth = max(arguments.get("depth", LIST_DEPTH), 1)
        content = await in_thread(_list, context.workspace, arguments.get("path", ""), depth, abandon=True)
        return ToolOutput(content, bounded=True)


def similar_paths(workspace: Workspace, path: str) -> list[str]:
    """Files that may have been meant by a path where there is nothing: the same name, or nearly."""
    files = [item for item in islice(workspace.walk(), SEARCHED_FOR_SIMILAR) if item.kind == "file"]
    name = workspace.relative(path).rpartition("/")[2].lower()
    same = [item.path for item in files if item.name.lower() == name]
    paths = {item.path.lower(): item.path for item in files}
    names = {item.name.lower(): item.path for item in files}
    close = [paths[match] for match in get_close_matches(path.lower(), paths, n=3, cutoff=0.7)]
    close += [names[match] for match in get_close_matches(name, names, n=3, cutoff=0.7)]
    return [shown_name(found) for found in dict.fromkeys([*same, *close])][:3]


def not_found(workspace: Workspace, path: str) -> ToolError:
    """What to tell a model that named a file that is not there."""
    similar = similar_paths(workspace, path)
    hint = f"; did you mean {' or '.join(similar)}?" if similar else "; `list` shows what there is"
    return ToolError(f"{shown_name(path)}: no such file or folder{hint}")


def is_binary(data: bytes) -> bool:
    return b"\0" in data[:SNIFFED]


def _read(workspace: Workspace, path: str, start: int, end: int | None) -> str:
    try:
        with workspace.open(path) as file:
            data = file.read(AT_ONCE)
            if is_binary(data):
                return f"[binary file, {os.fstat(file.fileno()).st_size} bytes]"
            if len(data) < AT_ONCE:
                return _page(BytesIO(data), start, end)
            file.seek(0)
            return _page(file, start, end)
    except IsFolderError:
        return _list(workspace, path, LIST_DEPTH)
    except NotFoundError:
        raise not_found(workspace, path) from None


def _page(file: BinaryIO, start: int, end: int | None) -> str:
    """Lines `start` to `end` as far as a page holds them, headed by their numbers unless that is all."""
    wanted = min(end or start + PAGE_LINES, start + PAGE_LINES - 1)
    shown = bytearray()
    number, last, cut = 0, start - 1, False
    for number, (line, shortened) in enumerate(_lines(file), 1):
        if number < start:
            continue
        if shown and len(shown) + len(line) > PAGE_BYTES:
            break
        shown += line
        last, cut = number, cut or shortened
        if number == wanted:
            break
    number += _count_lines(file)
    more_follows = bool(file.read(1))
    total = f"more than {number}" if more_follows else f"{number}"
    if number == 0:
        return "[empty file]"
    if last < start:
        raise ToolError(f"the file has {total} lines")
    text = shown.decode("utf-8-sig" if start == 1 else "utf-8", "replace").replace("\r\n", "\n")
    if cut:
        text += f"\n[line {last} is longer than {PAGE_BYTES} bytes and was cut]"
    elif start == 1 and last == number and not more_follows:
        return text
    more = f"; go on with start_line {last + 1}" if last < number and last != end else ""
    return f"[lines {start}-{last} of {total}{more}]\n{text}"


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Lines in bounded memory: of a very long one the beginning, and True."""
    scanned = 0
    while scanned < SCANNED and (line := file.readline(PAGE_BYTES)):
        scanned += len(line)
        shortened = False
        piece = line
        while not piece.endswith(b"\n") and scanned < SCANNED and (piece := file.readline(PAGE_BYTES)):
            scanned += len(piece)
            shortened = True
        yield line, shortened


def _count_lines(file: BinaryIO) -> int:
    """Lines from here on; a last one without its line feed is one."""
    count, scanned, end = 0, file.tell(), b"\n"
    while scanned < SCANNED and (block := file.read(PAGE_BYTES)):
        scanned += len(block)
        count += block.count(b"\n")
        end = block[-1:]
    return count + (end != b"\n")


def _list(workspace: Workspace, path: str, depth: int) -> str:
    try:
        if workspace.stat(path).kind != "folder":
            raise ToolError(f"{shown_name(path)}: is not a folder; use `read`")
        found = list(islice(workspace.walk(path, depth), LISTED + 1))
    except NotFoundError:
        raise not_found(workspace, path) from None
    lines = [shown_name(item.path) + ("/" if item.kind == "folder" else "") for item in found[:LISTED]]
    if len(found) > LISTED:
        lines.append(f"[only the first {LISTED} entries; list a folder, or with depth 1, to see others]")
    return "\n".join(lines) or "[empty folder]"
