"""`changed`, `unchanged` and `max_diff`: which files differ from before the start, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

from meshclaw.checks.base import CheckContext, CheckResult, FileChange, error, failed, passed
from meshclaw.checks.evidence import label
from meshclaw.policies import matches_glob
from meshclaw.runs import Candidate

UNKNOWN = "nobody kept track of what was changed"


class _GlobsCheck:
    kind: str
    needs_changes = True
    asks = False
    reads_files = False

    def __init__(self, globs: Sequence[str], *, name: str = "") -> None:
        self.label = label(self.kind, globs, name)
        self._globs = globs


class ChangedCheck(_GlobsCheck):
    """A file that one of the globs matches differs: it was added, changed or deleted."""

    kind = "changed"

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        if context.changes is None:
            return error(self, UNKNOWN)
        if _matching(context.changes, self._globs):
            return passed(self)
        if not context.changes:
            return failed(self, "no file was changed")
        return failed(self, f"nothing was changed in {', '.join(self._globs)}", _listed(context.changes))


class UnchangedCheck(_GlobsCheck):
    """No file that one of the globs matches differs."""

    kind = "unchanged"

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        if context.changes is None:
            return error(self, UNKNOWN)
        found = _matching(context.changes, self._globs)
        if not found:
            return passed(self)
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return failed(self, f"{found[0].path} was {found[0].kind}{more}", _listed(found))


class MaxDiffCheck:
    """Lines added and removed, of all files together, are at most so many.

    The lines of a binary file are not known, so they cannot be counted: `error`.
    """

    kind = "max_diff"
    needs_changes = True
    asks = False
    reads_files = False

    def __init__(self, lines: int, *, name: str = "") -> None:
        self.label = label(self.kind, lines, name)
        self._most = lines

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        if context.changes is None:
            return error(self, UNKNOWN)
        counted = sum((one.added or 0) + (one.removed or 0) for one in context.changes)
        if counted > self._most:
            reason = f"{counted} lines were added and removed, more than {self._most}"
            return failed(self, reason, _listed(context.changes))
        binary = [one.path for one in context.changes if one.added is None or one.removed is None]
        if binary:
            return error(self, f"the lines of a binary file cannot be counted: {binary[0]}")
        return passed(self)


def _matching(changes: Sequence[FileChange], globs: Sequence[str]) -> list[FileChange]:
    return [one for one in changes if any(matches_glob(one.path, glob) for glob in globs)]


def _listed(changes: Sequence[FileChange]) -> str:
    return "\n".join(_line(one) for one in changes)


def _line(one: FileChange) -> str:
    lines = "binary" if one.added is None or one.removed is None else f"+{one.added} -{one.removed}"
    return f"{one.kind} {one.path} ({lines})"
