"""Copies folder trees by descriptor, as `trees` reads them. All of it blocks but `copy_tree`."""

from __future__ import annotations

import stat as st
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

from anyio import from_thread, to_thread

from meshclaw.errors import WorkError
from meshclaw.frozen import dataclass
from meshclaw.isolation.trees import CHUNK, MAX_DEPTH, Folders, remove_tree, walk

MAX_BYTES = 16 * 2**30


@dataclass(frozen=True, slots=True)
class Copied:
    """What `copy_tree` did; `left_out` names sockets, devices and the like, what lies too deep, and what is
    another account's and may not be read.
    """

    files: int
    bytes: int
    left_out: tuple[str, ...]


async def copy_tree(
    source: Path,
    target: Path,
    *,
    skip: Collection[str] = (),
    skip_names: Collection[str] = (),
    max_bytes: int = MAX_BYTES,
) -> Copied:
    """Copies a folder's files, folders and links into `target`, which must not be there yet.

    Links are copied as links and never followed. Of a file's rights only the executable one is kept.
    `skip` are paths from the root, `skip_names` names anywhere. A copy that fails or is cancelled is
    removed. Raises WorkError when there is more than `max_bytes` or MAX_ENTRIES, or when the disk refuses.
    """

    def work() -> Copied:
        try:
            return _copy_tree(source, target, skip, skip_names, max_bytes)
        except OSError as error:
            remove_tree(target)
            raise WorkError(f"cannot copy {source}: {error}") from error
        except BaseException:
            remove_tree(target)
            raise

    return await to_thread.run_sync(work)


def _copy_tree(
    source: Path, target: Path, skip: Collection[str], skip_names: Collection[str], max_bytes: int
) -> Copied:
    target.mkdir(parents=True)
    files = size = 0
    left_out: list[str] = []

    def enter(path: str) -> bool:
        return path.rpartition("/")[2] not in skip_names

    with Folders(target, create=True) as folders:
        for found in walk(source, skip, enter=enter, closed=left_out.append):
            if found.name in skip_names:
                continue
            if found.kind == st.S_IFREG:
                files += 1
                size += found.status.st_size
                if size > max_bytes:
                    raise WorkError(f"{source} holds more than {max_bytes} bytes")
                executable = bool(found.status.st_mode & 0o100)
                if (file := found.open_unless_closed()) is None:
                    left_out.append(found.path)
                    continue
                with file, folders.create(found.path, executable=executable) as copy:
                    copy_bytes(file, copy, max_bytes)
            elif found.kind == st.S_IFLNK:
                folders.link(found.path, found.target())
            elif found.kind == st.S_IFDIR and found.path.count("/") < MAX_DEPTH - 1:
                folders.make(found.path)
            else:
                left_out.append(found.path)
    return Copied(files, size, tuple(left_out))


def copy_bytes(source: BinaryIO, target: BinaryIO, most: int) -> None:
    """To the source's end; raises WorkError when there is more than `most`."""
    while chunk := source.read(CHUNK):
        from_thread.check_cancelled()
        most -= len(chunk)
        if most < 0:
            raise WorkError(f"{source.name} grew while it was copied")
        target.write(chunk)
