"""Which system calls a contained command may make: a seccomp filter as classic BPF bytes.

Everything ordinary is allowed; what is refused opens ways around the rest of the sandbox (namespaces,
mounts, other processes' memory, keyrings, terminals) or is kernel surface that programs do without.
`bwrap --seccomp FD` reads these bytes. Numbers are from the kernel's `syscall_64.tbl` and
`asm-generic/unistd.h`, which both only ever grow.
"""

from __future__ import annotations

import platform

from meshclaw.frozen import dataclass
from meshclaw.sandbox.bpf import (
    ALLOW,
    KILL,
    MISSING,
    REFUSE,
    Code,
    answer,
    any_bit,
    argument,
    at_least,
    both,
    none_of,
    one_of,
    program,
    when,
)

_X32 = 0x4000_0000

_NAMESPACES = 0x7E02_0080
"""CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""

_EXIT_SIGNAL = 0xFF
"""Of clone's flags: the signal at the end, where unshare's have CLONE_NEWTIME."""

_TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: both type into the terminal that somebody else reads."""

_PERSONALITIES = (0, 0xFFFF_FFFF)
"""PER_LINUX, and asking without changing."""

_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCK_STREAM, _SOCK_SEQPACKET, _SOCK_TYPE = 1, 5, 0xF
_NETLINK_ROUTE = 0

_X86_64_REFUSED = {
    "ptrace": 101,
    "uselib": 134,
    "pivot_root": 155,
    "mount": 165,
    "umount2": 166,
    "init_module": 175,
    "delete_module": 176,
    "kexec_load": 246,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "perf_event_open": 298,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "setns": 308,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "finit_module": 313,
    "kexec_file_load": 320,
    "bpf": 321,
    "userfaultfd": 323,
}
_AARCH64_REFUSED = {
    "umount2": 39,
    "mount": 40,
    "pivot_root": 41,
    "kexec_load": 104,
    "init_module": 105,
    "delete_module": 106,
    "ptrace": 117,
    "add_key": 217,
    "request_key": 218,
    "keyctl": 219,
    "perf_event_open": 241,
    "name_to_handle_at": 264,
    "open_by_handle_at": 265,
    "setns": 268,
    "process_vm_readv": 270,
    "process_vm_writev": 271,
    "kcmp": 272,
    "finit_module": 273,
    "bpf": 280,
    "userfaultfd": 282,
    "kexec_file_load": 294,
}
_REFUSED = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "open_tree_attr": 467,
}
"""Since 424 a call has the same number on every machine."""

_ABSENT = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "clone3": 435,
    "openat2": 437,
    "memfd_secret": 447,
}
"""Answered as an old kernel does, so that libraries fall back. The flags of clone3 and the mode of openat2
lie in memory, where no filter looks; programs go on with clone and openat, whose arguments are looked at.
What memfd_create and memfd_secret make is in no process's memory, so no limit would count it."""

_SET_ID = 0o6000
"""S_ISUID and S_ISGID: a program that others of the machine could start with the account's rights."""
_CREATES = 0o100 | 0o20000000
"""O_CREAT and O_TMPFILE: only then is there a mode."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One architecture: its AUDIT_ARCH number, and the calls whose numbers are its own.

    Of `modes` it is the number and which argument is a file's mode, of `opens` which are the flags: the
    mode is the one after them.
    """

    name: str
    audit: int
    refused: dict[str, int]
    clone: int
    unshare: int
    ioctl: int
    personality: int
    socket: int
    socketpair: int
    connect: int
    modes: dict[str, tuple[int, int]]
    opens: dict[str, tuple[int, int]]
    memfd_create: int
    has_x32: bool = False


MACHINES = {
    "x86_64": Machine(
        name="x86_64",
        audit=0xC000_003E,
        refused=_X86_64_REFUSED | _REFUSED,
        clone=56,
        unshare=272,
        ioctl=16,
        personality=135,
        socket=41,
        socketpair=53,
        connect=42,
        modes={
            "creat": (85, 1),
            "chmod": (90, 1),
            "fchmod": (91, 1),
            "mknod": (133, 1),
            "mknodat": (259, 2),
            "fchmodat": (268, 2),
            "fchmodat2": (452, 2),
        },
        opens={"open": (2, 1), "openat": (257, 2)},
        memfd_create=319,
        has_x32=True,
    ),
    "aarch64": Machine(
        name="aarch64",
        audit=0xC000_00B7,
        refused=_AARCH64_REFUSED | _REFUSED,
        clone=220,
        unshare=97,
        ioctl=29,
        personality=92,
        socket=198,
        socketpair=199,
        connect=203,
        modes={"mknodat": (33, 2), "fchmod": (52, 1), "fchmodat": (53, 2), "fchmodat2": (452, 2)},
        opens={"openat": (56, 2)},
        memfd_create=279,
    ),
}
"""By the name that `uname -m` gives."""


def filter_program(*, network: bool, machine: str = "") -> bytes:
    """An array of `struct sock_filter` for `machine`, the running one unless named.

    With `network` there are sockets of the families unix, inet and inet6, and netlink for routes (what
    interfaces there are), as fits a network namespace of the command's own. Without, there are only
    connected pairs (`socketpair`), for use where the machine's network is the command's: nothing can be
    reached then, not even a socket that is a file. Raises ValueError on other architectures.
    """
    this = find_machine(machine)
    return program(this.audit, _rules(this, network))


def find_machine(name: str = "") -> Machine:
    """The running one unless named. Raises ValueError on other architectures."""
    name = name or platform.machine()
    try:
        return MACHINES[name]
    except KeyError:
        known = ", ".join(MACHINES)
        raise ValueError(f"no system call filter for '{name}'; there is one for {known}") from None


def _rules(this: Machine, network: bool) -> Code:
    code: Code = at_least(_X32, KILL) if this.has_x32 else []
    for number in sorted(this.refused.values()):
        code += when(number, [answer(REFUSE)])
    for number in (*_ABSENT.values(), this.memfd_create):
        code += when(number, [answer(MISSING)])
    for number, mode in this.modes.values():
        code += when(number, any_bit(mode, _SET_ID, REFUSE, ALLOW))
    for number, flags in this.opens.values():
        code += when(number, both(flags, _CREATES, any_bit(flags + 1, _SET_ID, REFUSE, ALLOW)))
    code += when(this.clone, any_bit(0, _NAMESPACES & ~_EXIT_SIGNAL, REFUSE, ALLOW))
    code += when(this.unshare, any_bit(0, _NAMESPACES, REFUSE, ALLOW))
    code += when(this.ioctl, none_of(1, *_TERMINAL_INPUT))
    code += when(this.personality, one_of(0, *_PERSONALITIES))
    if network:
        code += when(this.socket, _families())
        code += when(this.socketpair, _families())
    else:
        code += when(this.socket, [answer(REFUSE)])
        # A datagram socket can send to any address although it is one of a pair; these cannot.
        code += when(this.socketpair, one_of(1, _SOCK_STREAM, _SOCK_SEQPACKET, bits=_SOCK_TYPE))
        code += when(this.connect, [answer(REFUSE)])
    return [*code, answer(ALLOW)]


def _families() -> Code:
    routes = one_of(2, _NETLINK_ROUTE)
    code = [argument(0), *when(_AF_NETLINK, routes)]
    return [*code, *one_of(0, _AF_UNIX, _AF_INET, _AF_INET6)]
