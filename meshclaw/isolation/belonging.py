"""Whether a repository is the project's.

What a `.git` says of other folders may be an archive's or a model's word, and git would follow it anywhere:
into every repository of the account.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from meshclaw.isolation.git import Git, GitError

_OF_STORE = re.compile(r"[0-9a-f]{2}|info|pack|(tmp_|incoming-|bulk-fsync-).*|[a-z-]+\.lock|\.nfs.*")
MAX_ENTRIES = 10_000


def belongs(git: Git, top: Path, git_dir: Path, common: Path) -> bool:
    """Whether the repository lies in the work tree `top`, or says itself that this is its work tree: by
    the worktrees that it lists, or by its `core.worktree`, as submodules have it."""
    entry = top / ".git"
    top, git_dir, common = (Path(os.path.realpath(one)) for one in (top, git_dir, common))
    if git_dir != common:
        return git_dir.parent == common / "worktrees" and _points_back(git_dir, entry)
    if git_dir.is_relative_to(top):
        return Path(os.path.realpath(entry)) == git_dir or entry.is_file()
    return entry.is_file() and not entry.is_symlink() and _work_tree(git, git_dir) == top


def looks_like_store(folder: Path) -> bool:
    """Whether a folder holds what git keeps objects in, and nothing else."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for _, entry in zip(range(MAX_ENTRIES), entries, strict=False)]
    except OSError:
        return False
    return all(map(_OF_STORE.fullmatch, names))


def _points_back(git_dir: Path, entry: Path) -> bool:
    pointer = git_dir / "gitdir"
    try:
        back = pointer.read_text(errors="replace").strip() if pointer.is_file() else ""
    except OSError:
        return False
    return os.path.realpath(git_dir / back) == os.path.realpath(entry) and entry.is_file()


def _work_tree(git: Git, git_dir: Path) -> Path | None:
    try:
        named = git.run("config", "--file", str(git_dir / "config"), "--get", "core.worktree")
    except GitError:
        return None
    return Path(os.path.realpath(git_dir / os.fsdecode(named.removesuffix(b"\n"))))
