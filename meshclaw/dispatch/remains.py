"""What a run that worked in the project itself has left there, so that one can tell later whether it is
still so."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from meshclaw.errors import WorkError
from meshclaw.workspace import ExactWorkspace, WorkspaceError

if TYPE_CHECKING:
    from meshclaw.isolation import Snapshot

FILE = "remains.json"


def note_remains(snapshot: Snapshot, folder: Path) -> None:
    """Writes down in a run's folder what each changed file is now. Blocks. Raises WorkError."""
    try:
        before, now = snapshot.base, snapshot.now()
        changed = sorted(path for path in {**before, **now} if before.get(path) != now.get(path))
        found = {path: _fingerprint(snapshot.project, path) for path in changed}
        (folder / FILE).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise WorkError(f"cannot note what was changed: {error}") from error


def are_there(project: Path, folder: Path) -> bool:
    """Whether every file is as it was noted; False where nothing was noted. Blocks."""
    try:
        noted = json.loads((folder / FILE).read_bytes())
        return all(_fingerprint(project, path) == was for path, was in noted.items())
    except (OSError, ValueError, AttributeError):
        return False


def _fingerprint(project: Path, path: str) -> str:
    """Its kind, mode and content; "" for what is not there, "?" for what is neither file nor link."""
    try:
        entry = ExactWorkspace(project).entry(path)
    except WorkspaceError:
        return "?"
    if entry is None:
        return ""
    kind = "program" if entry.executable else entry.kind
    return f"{kind} {hashlib.sha256(entry.data).hexdigest()}"
