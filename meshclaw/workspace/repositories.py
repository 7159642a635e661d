"""Folders that git takes for a repository although they are not called `.git`.

Whoever asks git something in such a folder runs what its `config` names. So no file is written in one, nor
one that would make a folder one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from meshclaw.workspace.beneath import FOLDER_FLAGS, Opener
from meshclaw.workspace.entries import RefusedError, shown_name


def is_repository(names: Iterable[str]) -> bool:
    """Whether git takes a folder with these entries for a repository, whatever it is called."""
    there = set(names)
    return "HEAD" in there and ("commondir" in there or {"objects", "refs"} <= there)


def names_in(folder: int | str | Path) -> set[str]:
    """A folder's entries, without a HEAD that is itself a folder: that makes no repository."""
    with os.scandir(folder) as entries:
        return {one.name for one in entries if one.name != "HEAD" or not one.is_dir(follow_symlinks=False)}


def require_no_repository(root: Path, parts: Sequence[str], opener: Opener) -> None:
    """Raises RefusedError when a folder above the file at `parts` is one, or would be with that file."""
    top = os.open(root, FOLDER_FLAGS)
    try:
        for depth, name in enumerate(parts):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                folder = opener(top, parts[:depth])
                try:
                    names = names_in(folder)
                finally:
                    os.close(folder)
                if name != "HEAD" or depth + 1 == len(parts):
                    names.add(name)
                if is_repository(names):
                    shown = shown_name("/".join(parts[:depth]) or ".")
                    text = f"{shown} is or would be a git repository, whose settings git obeys"
                    raise RefusedError(f"{shown_name('/'.join(parts))}: may not be written, since {text}")
    finally:
        os.close(top)
