"""Which names a copy and a patch may hold, and what `share:` may name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from meshclaw.errors import Problem, ProblemsError

SHARED = (".venv", "node_modules")
"""What is shared when a task does not say."""

_IGNORED_ON_MACOS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")


def is_git_name(name: str) -> bool:
    """Whether some file system takes `name` for `.git`: in any case, shortened, or with invisible parts."""
    plain = _IGNORED_ON_MACOS.sub("", name).lower().partition(":")[0].rstrip(" .")
    return plain in (".git", "git~1")


def is_tracked_path(path: str) -> bool:
    """Whether git would record this path, and every file system keeps it beneath the root."""
    return not any(name in ("", ".", "..") or is_git_name(name) for name in path.split("/"))


def checked_shares(names: Iterable[str]) -> tuple[str, ...]:
    """The names of `share:`, made plain. Raises ProblemsError for what is not a path in the project."""
    found = [name.removeprefix("./").rstrip("/") for name in names]
    hint = "name files or folders of the project, without patterns"
    wrong = [
        Problem("share", 0, 0, f"'{name}' cannot be shared", hint)
        for name in found
        if not is_tracked_path(name) or any(character in name for character in "*?[\0")
    ]
    if wrong:
        raise ProblemsError(wrong)
    return tuple(dict.fromkeys(found))


def is_beneath(path: str, folders: Iterable[str]) -> bool:
    """Whether `path` is one of `folders` or lies in one."""
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
