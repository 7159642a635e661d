"""`matches` and `absent`: a regular expression on the result, or on a file.

The text is a model's, so the `regex` library searches: unlike `re` it can be stopped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread

from meshclaw.checks.base import CheckContext, CheckResult, error, failed, passed
from meshclaw.checks.evidence import label, one_line
from meshclaw.runs import Candidate
from meshclaw.workspace import Workspace, WorkspaceError

if TYPE_CHECKING:
    from regex import Pattern

SECONDS = 20.0
"""The longest that a search may take."""
MAX_FILE = 8 * 2**20
"""Bytes of the largest file that is looked at."""
MAX_PATTERN = 1_000
MAX_SHOWN = 200
"""Characters of a line that is shown."""
MAX_PLACES = 10
"""Places that are shown of what should be absent."""


class _PatternCheck(ABC):
    kind: str
    needs_changes = False
    asks = False

    def __init__(self, pattern: str, *, name: str = "", seconds: float = SECONDS, **options: str) -> None:
        # `in` is a word of Python's: it cannot be a parameter.
        self._file = options.pop("in", None)
        if options:
            raise TypeError(f"{self.kind} has no option {', '.join(options)}")
        self.reads_files = self._file is not None
        self.files_read = () if self._file is None else (self._file,)
        self._pattern = _compile(pattern)
        self._seconds = seconds
        self._where = self._file or "the result"
        self.label = label(self.kind, pattern + (f" in {self._file}" if self._file else ""), name)

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        try:
            return await to_thread.run_sync(self._judge, candidate, context.files, abandon_on_cancel=True)
        except TimeoutError:
            return error(self, f"the pattern took longer than {self._seconds:g} s on {self._where}")

    def _judge(self, candidate: Candidate, files: Path) -> CheckResult:
        text = candidate.text
        if self._file is not None:
            try:
                data = Workspace(files).read_bytes(self._file, MAX_FILE + 1)
            except WorkspaceError as problem:
                return failed(self, f"there is nothing to look at: {problem}")
            if len(data) > MAX_FILE:
                return error(self, f"{self._file} has more than {MAX_FILE} bytes")
            text = data.decode("utf-8", "replace")
        return self._search(text)

    @abstractmethod
    def _search(self, text: str) -> CheckResult:
        """What is found in the text. Raises TimeoutError."""


class MatchesCheck(_PatternCheck):
    """The pattern is found somewhere. A file that is not there does not match."""

    kind = "matches"

    def _search(self, text: str) -> CheckResult:
        if self._pattern.search(text, timeout=self._seconds, concurrent=True):
            return passed(self)
        return failed(self, f"{self._where} does not match {self._pattern.pattern}")


class AbsentCheck(_PatternCheck):
    """The pattern is found nowhere. In a file that is not there nothing can be looked for: that fails."""

    kind = "absent"

    def _search(self, text: str) -> CheckResult:
        places: list[str] = []
        for found in self._pattern.finditer(text, timeout=self._seconds, concurrent=True):
            number = text.count("\n", 0, found.start()) + 1
            start = text.rfind("\n", 0, found.start()) + 1
            end = text.find("\n", found.start())
            places.append(
                f"line {number}: {one_line(text[start : end if end >= 0 else len(text)], MAX_SHOWN)}"
            )
            if len(places) == MAX_PLACES:
                break
        if not places:
            return passed(self)
        return failed(self, f"{self._where} matches {self._pattern.pattern}", "\n".join(places))


def _compile(pattern: str) -> Pattern[str]:
    import regex

    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"the pattern has more than {MAX_PATTERN} characters")
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as problem:
        raise ValueError(f"'{one_line(pattern, 60)}' is not a regular expression: {problem}") from None
