"""What of a project's repository a contained command sees and writes."""

from __future__ import annotations

import os
from pathlib import Path

GIT_FOLDERS = frozenset({"objects", "refs", "logs", "lfs"})
"""What git writes when it commits. Its hooks, info, modules and worktrees decide what git runs later."""
GIT_FILES = frozenset({"HEAD", "index", "packed-refs", "COMMIT_EDITMSG", "MERGE_MSG", "description"})


def is_git_file(name: str, is_folder: bool) -> bool:
    return not is_folder and (name in GIT_FILES or name.endswith("_HEAD"))


def common_folder(git: Path) -> Path | None:
    """A linked worktree's repository, if that repository says that this is its worktree."""
    try:
        target = Path(git.read_text().removeprefix("gitdir:").strip())
        if not (target / "gitdir").is_file() or not (target / "commondir").is_file():
            return None
        back = Path((target / "gitdir").read_text().strip())
        common = (target / (target / "commondir").read_text().strip()).resolve()
    except (OSError, ValueError):
        return None
    project, real = os.path.realpath(git.parent), Path(os.path.realpath(target))
    listed = target.is_absolute() and back == git and real.parent == common / "worktrees"
    return common if listed and not real.is_relative_to(project) else None
