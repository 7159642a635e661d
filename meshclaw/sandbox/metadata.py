"""Sets a file's mode, owner and times for a contained command that asked for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from meshclaw.frozen import dataclass
from meshclaw.sandbox.kernel import set_times

_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH = 0x100, 0x1000
_SELF = b"/proc/self/"
_TIMES = 32
"""Bytes of two `struct timespec`."""


def set_metadata(
    name: str, pid: int, arguments: list[int], roots: list[str], valid: Callable[[], None]
) -> None:
    """Does what the call `name` of process `pid` asked, to a file in one of `roots`.

    The file is opened first, so what its path means cannot change between the look and the deed. `valid`
    raises OSError when the process no longer waits, as this does with what the call is to fail with.
    """
    asked = _asked(name, arguments)
    text = _string(pid, asked.path) if asked.path else b""
    if asked.path and not text and not asked.flags & _AT_EMPTY_PATH:
        raise OSError(errno.ENOENT, "empty path")
    times = _memory(pid, asked.times, _TIMES) if asked.times else None
    if times is not None and len(times) != _TIMES:
        raise OSError(errno.EFAULT, "times out of reach")
    target = _open(pid, asked.folder, text, follow=not asked.flags & _AT_SYMLINK_NOFOLLOW)
    try:
        valid()
        here = f"/proc/self/fd/{target}"
        where = os.readlink(here)  # noqa: PTH115
        if not any(where == root or where.startswith(f"{root}/") for root in roots):
            raise PermissionError(errno.EPERM, "not a place to write")
        if asked.mode is not None:
            # Nobody is to get the account's rights: no S_ISUID, no S_ISGID.
            os.chmod(here, asked.mode & 0o1777)  # noqa: PTH101
        elif asked.owner is not None:
            os.chown(here, *asked.owner)
        else:
            set_times(here, times)
    finally:
        os.close(target)


@dataclass(slots=True)
class _Asked:
    """`path` and `times` are addresses in the process, 0 for none; `folder` is a descriptor of its."""

    path: int = 0
    folder: int = _AT_FDCWD
    flags: int = 0
    mode: int | None = None
    owner: tuple[int, int] | None = None
    times: int = 0


def _asked(name: str, arguments: list[int]) -> _Asked:
    a, b, c, d, e, _ = arguments
    match name:
        case "chmod":
            return _Asked(a, mode=b)
        case "fchmod":
            return _Asked(folder=_int(a), mode=b)
        case "fchmodat":
            return _Asked(b, _int(a), mode=c)
        case "chown":
            return _Asked(a, owner=(_int(b), _int(c)))
        case "lchown":
            return _Asked(a, flags=_AT_SYMLINK_NOFOLLOW, owner=(_int(b), _int(c)))
        case "fchown":
            return _Asked(folder=_int(a), owner=(_int(b), _int(c)))
        case "fchownat":
            return _Asked(b, _int(a), _int(e), owner=(_int(c), _int(d)))
        case "utimensat":
            return _Asked(b, _int(a), _int(d), times=c)
    raise OSError(errno.ENOSYS, name)


def _int(argument: int) -> int:
    """What the kernel takes of an argument that is an `int`."""
    return (argument & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000


def _open(pid: int, folder: int, path: bytes, *, follow: bool) -> int:
    """A descriptor that only names what `path` means to the process."""
    base = f"/proc/{pid}/cwd" if folder == _AT_FDCWD else f"/proc/{pid}/fd/{folder}"
    if path.startswith(_SELF):
        # C libraries name descriptors so; here it would be this process's.
        path = b"/proc/%d/" % pid + path.removeprefix(_SELF)
    name = os.open(base, os.O_PATH | os.O_CLOEXEC)
    if not path:
        return name
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW), dir_fd=name)
    finally:
        os.close(name)


def _memory(pid: int, address: int, size: int) -> bytes:
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(memory, size, address)
    finally:
        os.close(memory)


def _string(pid: int, address: int) -> bytes:
    text, end, _ = _memory(pid, address, 4_096).partition(b"\0")
    if not end:
        raise OSError(errno.ENAMETOOLONG, "path too long")
    return text
