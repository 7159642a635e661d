"""The kernel's calls for containing the own process: Landlock, system call filters, capabilities.

Only the standard library, and little of it: this is loaded anew for each command.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable

_libc = ctypes.CDLL(None, use_errno=True)

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_ABI_VERSION = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REMOVE_DIR, _REMOVE_FILE, _MAKE_CHAR, _MAKE_DIR = 1 << 4, 1 << 5, 1 << 6, 1 << 7
_MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK = 1 << 8, 1 << 9, 1 << 10, 1 << 11
_MAKE_SYM, _REFER, _TRUNCATE, _IOCTL_DEV = 1 << 12, 1 << 13, 1 << 14, 1 << 15
_ALL_FILES = (1 << 16) - 1
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE = _ALL_FILES & ~(_MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEV)
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_ALL_TCP = 3
_SCOPE_ABSTRACT, _SCOPE_SIGNAL = 1, 2

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 24, 36, 38
_OPENAT2, _RESOLVE_NO_SYMLINKS = 437, 4
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER, _NEW_LISTENER, _WAIT_UNDISTURBED = 1, 8, 32
_AT_FDCWD = -100
_CAPABILITY_VERSION = 0x2008_0522


def landlock_version() -> int:
    """The kernel's Landlock ABI; 0 without Landlock."""
    found: int = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ABI_VERSION)
    return max(found, 0)


class SignalDomain:
    """The processes that this one may signal: its own descendants. Only `hold_signals_in` makes one."""

    def signal_all(self, number: int) -> None:
        """Signals all of them, and nobody else on the machine, in one go that no fork escapes."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(-1, number)


def hold_signals_in(outside: int) -> SignalDomain:
    """Enters a Landlock domain from which only own descendants can be signalled, `outside` cannot.

    Raises OSError when that does not hold: `kill(-1)` would reach everybody else.
    """
    _restrict(0, 0, _SCOPE_SIGNAL, ())
    try:
        os.kill(outside, 0)
    except PermissionError:
        return SignalDomain()
    raise OSError(errno.ENOTSUP, "Landlock does not keep signals in")


def hold_files_in(listed: Iterable[str], readable: Iterable[str], writable: Iterable[str]) -> None:
    """Enters a Landlock domain that opens nothing else, has no TCP, and no signals or abstract sockets out.

    Paths that do not exist are left out; one with a symlink in it raises OSError.
    """
    rules = [(path, _READ_DIR) for path in listed]
    rules += [(path, _READ) for path in readable]
    rules += [(path, _READ | _WRITE) for path in writable]
    rules += [(path, _READ_FILE | _WRITE_FILE) for path in ("/dev/null", "/dev/zero", "/dev/full")]
    _restrict(_ALL_FILES, _ALL_TCP, _SCOPE_ABSTRACT | _SCOPE_SIGNAL, rules)


def install_filter(program: bytes) -> None:
    """A system call filter for this process and all that it starts."""
    _install(program, 0)


def install_asking_filter(program: bytes) -> int:
    """The same; returns the descriptor that is asked. Who asks is not disturbed by signals once heard."""
    return _install(program, _NEW_LISTENER | _WAIT_UNDISTURBED)


def give_up_rights() -> None:
    """Root keeps its files, but none of its other rights, here and in what is started."""
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    _check(_libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24)))
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def signal_when_parent_ends(number: int) -> None:
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number))


def adopt_orphans() -> None:
    """Descendants whose parent has ended become this process's children."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1))


def set_times(path: str, times: bytes | None) -> None:
    """`times` is two `struct timespec`; None is now."""
    _check(_libc.utimensat(_AT_FDCWD, os.fsencode(path), times, 0))


def _install(program: bytes, flags: int) -> int:
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    number = _SECCOMP[os.uname().machine]
    return _check(_libc.syscall(number, _SET_MODE_FILTER, ctypes.c_ulong(flags), header))


def _restrict(files: int, tcp: int, scoped: int, rules: Iterable[tuple[str, int]]) -> None:
    """Of the kinds of access named first, only `rules` are allowed from now on."""
    attributes = struct.pack("=QQQ", files, tcp, scoped)
    ruleset = _check(_libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    for path, rights in rules:
        try:
            target = _open_plainly(path)
        except FileNotFoundError:
            continue
        allowed = rights if stat.S_ISDIR(os.fstat(target).st_mode) else rights & _OF_A_FILE
        rule = struct.pack("=Qi", allowed, target)
        _check(_libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0))
        os.close(target)
    _check(_libc.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _open_plainly(path: str) -> int:
    """Refuses symlinks on the way: what was looked at before may have been exchanged."""
    how = struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_NO_SYMLINKS)
    arguments = (_AT_FDCWD, os.fsencode(path), how, ctypes.c_size_t(len(how)))
    return _check(_libc.syscall(_OPENAT2, *arguments))


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
