"""Where a path beneath a folder leads when its symlinks are followed."""

from __future__ import annotations

import os
import stat as st
from pathlib import Path


def real_place(root: Path, inside: str) -> Path:
    """What `os.path.realpath` says of `inside`, which holds no `.` or `..`, beneath `root`, which is real.

    Looks at the names beneath `root` alone unless one of them is a link. What it says may be untrue a
    moment later: whoever opens the place must follow no link. Raises OSError for a name that cannot be
    looked at.
    """
    place = str(root)
    for name in inside.split("/") if inside else ():
        place = f"{place}/{name}"
        try:
            mode = os.lstat(place).st_mode
        except (FileNotFoundError, NotADirectoryError):
            break  # Nothing there, and so nothing beneath it.
        if st.S_ISLNK(mode):
            return Path(os.path.realpath(root / inside))
    return root / inside
