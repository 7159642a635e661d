"""Puts repositories aside that a command has made: git would obey their settings and hooks outside.

A `.git` gets another name, and in a folder that is a repository without being called so `HEAD` does: then
it is none. Nothing is lost, since a person may have made it meanwhile. What was there before, by inode,
stays wherever it was moved. The project itself is looked at too: what lies at its top can make it one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from meshclaw.sandbox.base import SandboxError
from meshclaw.sandbox.private import remove_tree
from meshclaw.sandbox.tree import Found, Identity, Tree, identity_of
from meshclaw.workspace.beneath import FOLDER_FLAGS, open_folder
from meshclaw.workspace.repositories import is_repository, names_in

ASIDE = "not-kept"
"""What is added to the name."""

ROUNDS = 100
"""A command can hide one in another, or behind folders that it locks; so often it is looked again."""


def itself(root: Path) -> dict[Path, Identity]:
    """A project that is a repository without having one: for what was found before a command."""
    return {root: identity_of(root.lstat())} if is_repository(names_in(root)) else {}


def put_aside(
    root: Path, folders: Sequence[Path], tree: Tree, before: Found, *, remove: bool = False
) -> tuple[Found, list[str]]:
    """What is beneath `folders` now, and the names in `root` of what was put aside, or removed in a tree
    that is nobody's own. `before` has `root` as well, if that was a repository.

    Raises SandboxError when something stays, OSError too.
    """
    known = {*before.repositories.values(), *before.locked.values()}
    moved: list[str] = []
    aside: set[Path] = set()
    for _ in range(ROUNDS):
        found = tree.look(folders)
        locked = [path for path, one in found.locked.items() if one not in known]
        now = {**found.repositories, **itself(root)}
        planted = [path for path, one in now.items() if one not in known]
        if not locked and not planted:
            return found, moved
        for path in locked:
            with _opened(root, path.parent) as folder:
                _unlock(folder, path.name, found.locked[path])
        for path in planted:
            name = path if path.name.lower() == ".git" else path / "HEAD"
            with _opened(root, name.parent) as folder:
                put = _put_aside(folder, name.name, remove)
            if path not in aside:
                moved.append(str(name.relative_to(root)))
            aside.add(name.with_name(put))
    raise SandboxError(f"a command has hidden repositories in {root}, and not all could be put aside")


@contextlib.contextmanager
def _opened(root: Path, folder: Path) -> Iterator[int]:
    top = os.open(root, FOLDER_FLAGS)
    try:
        descriptor = open_folder(top, folder.relative_to(root).parts)
    finally:
        os.close(top)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _unlock(folder: int, name: str, identity: Identity) -> None:
    """Lets its owner look into a folder."""
    now = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if identity_of(now) == identity:
        os.chmod(name, 0o700, dir_fd=folder)


def _put_aside(folder: int, name: str, remove: bool) -> str:
    """Returns the other name."""
    mode = os.fstat(folder).st_mode & 0o7777
    with contextlib.suppress(PermissionError):
        os.fchmod(folder, mode | 0o300)
    try:
        aside = f"{name}.{ASIDE}"
        if _is_taken(folder, aside):
            aside += f"-{secrets.token_hex(4)}"
        os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
        if remove:
            try:
                os.unlink(aside, dir_fd=folder)
            except IsADirectoryError:
                remove_tree(aside, folder)
        return aside
    finally:
        with contextlib.suppress(PermissionError):
            os.fchmod(folder, mode)


def _is_taken(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
