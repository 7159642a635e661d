"""Folders beneath an open folder, opened so that nothing on the way can lead elsewhere.

Linux 5.6 and later does it in one call, openat2(2): RESOLVE_BENEATH refuses what leaves the folder,
RESOLVE_NO_MAGICLINKS the links of `/proc`, RESOLVE_NO_SYMLINKS every link. Where the call is missing, or
a container's filter denies it, every name is opened on its own, with O_NOFOLLOW relative to the one before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Callable, Sequence
from functools import cache

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Opener = Callable[[int, Sequence[str]], int]
"""Gives a descriptor of the folder at these names beneath an open folder. Raises OSError."""

_OPENAT2 = 437
"""The call's number, the same on every architecture."""
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 2, 4, 8
_MISSING = (errno.ENOSYS, errno.EPERM)


def open_folder(folder: int, names: Sequence[str]) -> int:
    """In one call where the kernel can, else step by step."""
    try:
        return in_one_call(folder, names)
    except OSError as error:
        if error.errno not in _MISSING:
            raise
    return step_by_step(folder, names)


def in_one_call(folder: int, names: Sequence[str]) -> int:
    """With openat2; an OSError of ENOSYS or EPERM says that there is no such call here."""
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS
    how = struct.pack("=QQQ", FOLDER_FLAGS, 0, resolve)
    path = os.fsencode("/".join(names) or ".")
    return _syscall()(_OPENAT2, folder, path, how, len(how))


def step_by_step(folder: int, names: Sequence[str]) -> int:
    """Every name on its own."""
    return _descend(folder, names, create=False)


def make_folder(folder: int, names: Sequence[str]) -> int:
    """Step by step, and what is missing is made."""
    return _descend(folder, names, create=True)


def _descend(folder: int, names: Sequence[str], *, create: bool) -> int:
    descriptor = os.open(".", FOLDER_FLAGS, dir_fd=folder)
    for name in names:
        try:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=descriptor)
            inner = os.open(name, FOLDER_FLAGS, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


@cache
def _syscall() -> Callable[..., int]:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def call(number: int, folder: int, path: bytes, how: bytes, size: int) -> int:
        result: int = libc.syscall(number, folder, path, how, ctypes.c_size_t(size))
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result

    return call
