"""`files`: files that exist, and are as large as they should be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from anyio import to_thread

from meshclaw.checks.base import CheckContext, CheckResult, failed, passed
from meshclaw.checks.evidence import label
from meshclaw.runs import Candidate
from meshclaw.workspace import Workspace, WorkspaceError


class FilesCheck:
    """`files` maps paths to `{"min": bytes, "max": bytes}`, both of which may be left out."""

    kind = "files"
    needs_changes = False
    asks = False

    def __init__(self, files: Mapping[str, Mapping[str, int]], *, name: str = "") -> None:
        for path, size in files.items():
            if "*" in path:
                raise ValueError(f"'{path}' must be the name of one file: patterns are not read here")
            if "min" in size and "max" in size and size["min"] > size["max"]:
                raise ValueError(f"'{path}': min is more than max")
        self.label = label(self.kind, files, name)
        self._files = files
        self.files_read = tuple(files)

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        wrong = await to_thread.run_sync(self._wrong, context.files)
        return failed(self, wrong[0], "\n".join(wrong)) if wrong else passed(self)

    def _wrong(self, folder: Path) -> list[str]:
        workspace = Workspace(folder)
        wrong: list[str] = []
        for path, size in self._files.items():
            try:
                found = workspace.stat(path)
            except WorkspaceError as problem:
                wrong.append(str(problem))
                continue
            if found.kind != "file":
                wrong.append(f"{path}: is a {found.kind}, not a file")
            elif found.size < size.get("min", 0):
                wrong.append(f"{path}: has {found.size} bytes, less than {size['min']}")
            elif found.size > size.get("max", found.size):
                wrong.append(f"{path}: has {found.size} bytes, more than {size['max']}")
        return wrong
