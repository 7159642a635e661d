"""Git's settings without what could be a credential, since commands may read a project's repositories.

That of the project, those of its submodules and linked worktrees, and those that lie in it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path

MAX_CONFIG = 2**20
"""Bytes of one file of settings that are looked at; the rest does not show."""
MAX_FILES = 500
"""Files of one repository that are looked at."""
DEPTH = 4
"""How deep submodules' repositories are looked for; their names may have slashes."""

NESTED_DEPTH = 3
"""How deep in the project repositories of others are looked for."""

_NAMES = ("config", "config.worktree", "credentials", ".git-credentials")
_PASSWORD = re.compile(r"(?<=://)[^/\s]+@")
_SECRET = re.compile(
    r'(?P<head>\s*(?:\[\s*[\w.-]+(?:\s+"(?:[^"\\]|\\.)*")?\s*\])?)\s*'
    r"[\w-]*(?:extraheader|password|passwd|smtppass|token|secret|helper|askpass)[\w-]*\s*=",
    re.IGNORECASE,
)
"""A key that may hold one, at the beginning of a line or behind a section's name."""


def cleaned(name: str, text: str) -> str:
    """The text of a file called `name` without credentials. A value's further lines go with it."""
    if name not in ("config", "config.worktree"):
        return ""
    kept: list[str] = []
    dropping = False
    for line in text.split("\n"):
        found = None if dropping else _SECRET.match(line)
        if found and found["head"].strip():
            kept.append(_PASSWORD.sub("", found["head"]))
        elif not found and not dropping:
            kept.append(_PASSWORD.sub("", line))
        dropping = bool(found or dropping) and _goes_on(line)
    return "\n".join(kept)


def holding_credentials(project: Path, git_dir: Path | None = None) -> list[tuple[Path, str]]:
    """Git's files that hold some, with their text without: of the repositories in a project, or of the one
    in `git_dir`. No link is followed. What this account may not look into is passed over: commands change
    modes only where they may write, and there repositories and closed folders are kept from them.
    """
    folders = [git_dir] if git_dir else [project / ".git", *_nested(project)]
    found = {}
    for folder in dict.fromkeys(folders):
        if os.path.isdir(folder) and not os.path.islink(folder):
            for path in islice(_files(folder), MAX_FILES):
                text = read(path)
                if text is not None and (clean := cleaned(path.name, text)) != text:
                    found[path] = clean
    return list(found.items())


@lru_cache(maxsize=64)
def known(private: Path, project: Path, git_dir: Path | None) -> list[tuple[Path, Path]]:
    """The same files, each with a copy without credentials in `private`, a run's own folder: made once for
    all of its commands."""
    copies = []
    for number, (path, text) in enumerate(holding_credentials(project, git_dir)):
        copy = private / f"git-{number}-{path.name.removeprefix('.')}{'' if git_dir is None else '-common'}"
        copy.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
        copies.append((path, copy))
    return copies


def read(path: Path) -> str | None:
    """The text of a plain file; None for anything else."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        if os.path.isfile(path):
            with open(os.open(path, flags), encoding="utf-8", errors="surrogateescape", newline="") as file:
                return file.read(MAX_CONFIG)
    return None


def _files(git_dir: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Of a repository and those in it, whether they are whole or not."""
    for name in _NAMES:
        if os.path.isfile(path := git_dir / name) and not os.path.islink(path):
            yield path
    for folder in ("modules", "worktrees") if depth > 0 else ():
        for one in _folders(git_dir / folder):
            yield from _beneath(one, depth)


def _beneath(folder: Path, depth: int) -> Iterator[Path]:
    yield from _files(folder, depth - 1)
    if depth and not os.path.isfile(folder / "HEAD"):
        for one in _folders(folder):
            yield from _beneath(one, depth - 1)


def _nested(folder: Path, depth: int = NESTED_DEPTH) -> Iterator[Path]:
    """The `.git` of repositories beneath `folder`, a few levels down."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == ".git":
                yield Path(entry.path)
            elif depth > 1 and entry.name != "node_modules" and entry.is_dir(follow_symlinks=False):
                yield from _nested(Path(entry.path), depth - 1)


def _folders(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sorted(Path(one.path) for one in entries if one.is_dir(follow_symlinks=False))
    return []


def _goes_on(line: str) -> bool:
    line = line.removesuffix("\r")
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1
