"""Files in a writable folder that have another name elsewhere: what is written here is changed there too.

Package managers make such files by the thousand (pnpm, uv): a command that could write to `.venv` would
change what every other project on the machine runs. No command can make one that leads out by itself, since
a mount is a border for links.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from meshclaw.sandbox.base import SandboxError

MOST_BESIDE = 50
"""So many in one folder below a writable one are kept apart one by one; with more, all of that folder."""
MOST = 2_000
"""Files and folders that are kept apart in all; each is a mount."""


def grouped(folders: Sequence[Path], files: Sequence[Path]) -> list[Path]:
    """What in `folders` to keep so that none of `files` is written: they, or a folder that holds many of
    them. Raises SandboxError when there are too many to keep apart."""
    beside: defaultdict[Path, list[Path]] = defaultdict(list)
    for file in files:
        above = max((one for one in folders if file.is_relative_to(one)), key=lambda one: len(one.parts))
        beside[above / file.relative_to(above).parts[0]].append(file)
    kept = [
        path
        for top, some in beside.items()
        for path in (some if len(some) <= MOST_BESIDE or top in some else [top])
    ]
    if len(kept) > MOST:
        hint = "name narrower folders in allow.write, or run with --no-sandbox"
        raise SandboxError(f"{len(files)} writable files have another name elsewhere", hint=hint)
    return kept
