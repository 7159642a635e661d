"""Where a path beneath a folder leads when its symlinks are followed."""

from __future__ import annotations

import os
import stat as st
from pathlib import Path


def real_names(root: Path, inside: str) -> list[str] | None:
    """The names beneath `root` of what `os.path.realpath` says of `inside`; None when that lies outside.

    `root` is real and `inside` holds no `.` or `..`. Looks at the names beneath `root` alone unless one of
    them is a link. What it says may be untrue a moment later: whoever opens the place must follow no link.
    Raises OSError for a name that cannot be looked at.
    """
    place = str(root)
    names = inside.split("/") if inside else []
    for name in names:
        place = f"{place}/{name}"
        try:
            mode = os.lstat(place).st_mode
        except (FileNotFoundError, NotADirectoryError):
            break  # Nothing there, and so nothing beneath it.
        if st.S_ISLNK(mode):
            real = Path(os.path.realpath(root / inside))
            return list(real.relative_to(root).parts) if real.is_relative_to(root) else None
    return names
