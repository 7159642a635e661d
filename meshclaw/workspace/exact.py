"""Entries of a workspace exactly as they are: links as links, rights included, for applying a patch."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat as st
from typing import Literal

from meshclaw.frozen import dataclass
from meshclaw.workspace.entries import (
    NotFoundError,
    RefusedError,
    WorkspaceError,
    explained,
    is_git,
    shown_name,
)
from meshclaw.workspace.files import Workspace, open_file


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or a link whose `data` is where it leads. `executable` is the owner's right."""

    kind: Literal["file", "link"]
    data: bytes
    executable: bool = False


class ExactWorkspace(Workspace):
    """A workspace in which no link is followed, not even one that stays inside.

    All methods raise WorkspaceError and block, as those of Workspace do.
    """

    def entry(self, path: str) -> Entry | None:
        """What is there; None for nothing. Raises for a folder, and where a link is in the way."""
        parts = self.relative(path).split("/")
        try:
            with self._folder(self.root, parts[:-1]) as folder, explained(path):
                found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
                if st.S_ISLNK(found.st_mode):
                    return Entry("link", os.readlink(os.fsencode(parts[-1]), dir_fd=folder))
                with open_file(folder, parts[-1], path) as file:
                    return Entry("file", file.read(), bool(found.st_mode & 0o100))
        except NotFoundError:
            return None

    def put(self, path: str, entry: Entry) -> None:
        """Makes `entry` what is there, and the folders on the way; all in one step.

        Refuses `.git`, a folder in the place, links that lead out of the workspace, and what `write_bytes`
        refuses.
        """
        relative = self._writable(path)
        if entry.kind == "link":
            self._put_link(relative, entry.data)
            return
        with contextlib.suppress(NotFoundError):
            if self._is_link(relative):
                self.remove(relative)
        self.write_bytes(relative, entry.data, executable=entry.executable)

    def remove(self, path: str) -> None:
        """Removes a file or a link, and the folders that are empty then."""
        parts = self._writable(path).split("/")
        with self._folder(self.root, parts[:-1]) as folder, explained(path):
            os.unlink(parts[-1], dir_fd=folder)
        while len(parts) > 1:
            *parts, name = parts[:-1]
            try:
                with self._folder(self.root, parts) as folder:
                    os.rmdir(name, dir_fd=folder)
            except (OSError, WorkspaceError):
                return

    def _writable(self, path: str) -> str:
        relative = self.relative(path)
        if not relative or any(map(is_git, relative.split("/"))):
            raise RefusedError(f"{shown_name(path)}: may not be written")
        return relative

    def _is_link(self, path: str) -> bool:
        *above, name = path.split("/")
        with self._folder(self.root, above) as folder, explained(path):
            return st.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)

    def _put_link(self, path: str, target: bytes) -> None:
        *above, name = path.split("/")
        if leads_out(path, target):
            raise RefusedError(f"{shown_name(path)}: would be a link that leads out of the project")
        with self._folder(self.root, above, create=True) as folder, explained(path):
            draft = f".meshclaw-{os.getpid()}.tmp"
            os.symlink(target, draft.encode(), dir_fd=folder)
            try:
                os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(draft, dir_fd=folder)
                raise


def leads_out(path: str, target: bytes) -> bool:
    """Whether a link at `path` leads out of the workspace, as far as its text says."""
    leads = posixpath.normpath(posixpath.join(os.fsencode(posixpath.dirname(path)), target))
    return leads.startswith((b"/", b"../")) or leads == b".."
