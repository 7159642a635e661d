"""The `search` tool: lines that match a regular expression, as `file:line: text`.

Patterns come from a model and lines from anywhere, and Python's `re` cannot be stopped once it
backtracks. The `regex` package reads the same patterns and has a timeout.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from meshclaw.policies import Effects, matches_glob
from meshclaw.tools.base import ToolContext, ToolError, ToolOutput
from meshclaw.tools.files import is_binary, not_found
from meshclaw.tools.specs import tool_spec
from meshclaw.workspace import FileInfo, NotFoundError, Workspace, WorkspaceError, shown_name

if TYPE_CHECKING:
    from regex import Pattern

MAX_MATCHES = 100
MAX_SEARCHED = 8 * 2**20
"""Larger files are passed over, in bytes."""
MAX_LINE = 2_000
"""Characters of a line that are looked at."""
SHOWN = 240
"""Characters of a matching line that are shown."""
MAX_PATTERN = 1_000
SECONDS = 20.0
"""The longest that a search may take."""


class SearchTool:
    """Skips binary and git-ignored files. A pattern that is not a regular expression is plain text."""

    spec = tool_spec(
        "search",
        "Search files for lines that match a regular expression.",
        {"pattern": "string"},
        {"path": "string: file or folder", "glob": "string: such as *.py"},
    )

    def __init__(self, clock: Callable[[], float] = time.monotonic, seconds: float = SECONDS) -> None:
        self._clock = clock
        self._seconds = seconds

    def effects(self, arguments: Mapping[str, Any]) -> Effects:
        return Effects(reads=(arguments.get("path", ""),))

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        search = _Search(
            context.workspace, arguments["pattern"], arguments.get("glob"), self._clock, self._seconds
        )
        path = arguments.get("path", "")
        return ToolOutput(await to_thread.run_sync(search.run, path, abandon_on_cancel=True), bounded=True)


class _Search:
    def __init__(
        self,
        workspace: Workspace,
        pattern: str,
        glob: str | None,
        clock: Callable[[], float],
        seconds: float,
    ) -> None:
        self._workspace = workspace
        self._glob = glob
        self._clock = clock
        self._deadline = clock() + seconds
        self._notes: list[str] = []
        self._pattern = self._compile(pattern)

    def run(self, path: str) -> str:
        lines: list[str] = []
        try:
            for file in self._files(path):
                for line in self._matches(file):
                    if len(lines) == MAX_MATCHES:
                        self._notes.append(f"only the first {MAX_MATCHES} matches; narrow the search")
                        return self._report(lines)
                    lines.append(line)
        except TimeoutError:
            self._notes.append("stopped: it took too long; use a simpler pattern or narrow the search")
        except NotFoundError:
            raise not_found(self._workspace, path) from None
        return self._report(lines)

    def _report(self, lines: list[str]) -> str:
        return "\n".join([*(lines or ["no matches"]), *(f"[{note}]" for note in self._notes)])

    def _compile(self, pattern: str) -> Pattern[str]:
        import regex

        if not pattern or len(pattern) > MAX_PATTERN:
            raise ToolError(f"the pattern must have 1 to {MAX_PATTERN} characters")
        try:
            return regex.compile(pattern)
        except (regex.error, RecursionError, OverflowError) as error:
            self._notes.append(f"not a regular expression ({error}), so searched as plain text")
            return regex.compile(regex.escape(pattern))

    def _files(self, path: str) -> Iterator[FileInfo]:
        start = self._workspace.stat(path)
        if start.kind == "file":
            yield start
            return
        for file in self._workspace.walk(path):
            if self._clock() > self._deadline:
                raise TimeoutError
            if file.kind == "file" and self._wanted(file):
                yield file

    def _wanted(self, file: FileInfo) -> bool:
        """A glob without `/` is matched with the name alone, as everywhere."""
        if self._glob is None:
            return True
        if "/" not in self._glob:
            return fnmatchcase(file.name, self._glob)
        return matches_glob(file.path, self._glob)

    def _matches(self, file: FileInfo) -> Iterator[str]:
        if file.size > MAX_SEARCHED:
            self._notes.append(f"{shown_name(file.path)} is too large and was left out")
            return
        try:
            data = self._workspace.read_bytes(file.path, MAX_SEARCHED)
        except WorkspaceError:
            return
        if is_binary(data):
            return
        name = shown_name(file.path)
        for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
            left = self._deadline - self._clock()
            if left <= 0:
                raise TimeoutError
            found = self._pattern.search(line, 0, MAX_LINE, timeout=left, concurrent=True)
            if found:
                yield f"{name}:{number}: {_excerpt(line, found.start())}"


def _excerpt(line: str, at: int) -> str:
    """The line, or of a long one what surrounds the match."""
    line = line.rstrip()
    if len(line) <= SHOWN:
        return line
    start = max(0, min(at - SHOWN // 4, len(line) - SHOWN))
    end = start + SHOWN
    return ("..." if start else "") + line[start:end] + ("..." if end < len(line) else "")
