"""What lies in a workspace, and how a path that cannot be opened is explained."""

from __future__ import annotations

import contextlib
import errno
import os
import stat as st
from collections.abc import Iterator
from typing import Literal

from meshclaw.errors import MeshClawError
from meshclaw.frozen import dataclass

Kind = Literal["file", "folder", "link", "other"]


class WorkspaceError(MeshClawError):
    """A path that may not be opened, or could not be; the message is fit for a model."""


class RefusedError(WorkspaceError):
    """A path that may not be opened, whatever is there and whatever a task allows."""


class NotFoundError(WorkspaceError):
    """There is nothing at that path."""


class IsFolderError(WorkspaceError):
    """A folder is at that path, where a file was wanted."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file or folder; `path` is relative to the project, `size` in bytes."""

    path: str
    kind: Kind
    size: int = 0

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def shown_name(name: str) -> str:
    r"""A file name as text that can be encoded: bytes that are not UTF-8 appear as `\xNN`."""
    try:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode()


def is_git(name: str) -> bool:
    return name.lower() == ".git"


def kind_of(mode: int) -> Kind:
    if st.S_ISREG(mode):
        return "file"
    if st.S_ISDIR(mode):
        return "folder"
    return "link" if st.S_ISLNK(mode) else "other"


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Turns an OSError into what a model should be told."""
    try:
        yield
    except OSError as error:
        shown = shown_name(path)
        if error.errno == errno.ENOENT:
            raise NotFoundError(f"{shown}: no such file or folder") from error
        if error.errno == errno.ELOOP:
            raise RefusedError(f"{shown}: a symlink is in the way") from error
        raise WorkspaceError(f"{shown}: {(error.strerror or str(error)).lower()}") from error


def require_file(found: os.stat_result, path: str) -> None:
    if st.S_ISDIR(found.st_mode):
        raise IsFolderError(f"{shown_name(path)}: is a folder")
    if not st.S_ISREG(found.st_mode):
        raise WorkspaceError(f"{shown_name(path)}: is not a regular file")
