"""The second filter, for commands that share the machine's processes, files and IPC with everybody else.

Landlock holds what is opened, made and removed, but not a file's mode, times, owner and attributes: those
can be changed of anything that the account owns. Here modes, owners and times are asked of the supervisor,
which sets them itself where the command may write; attributes fail as on a file system that has none.
"""

from __future__ import annotations

import errno

from meshclaw.sandbox.bpf import (
    ALLOW,
    ASK,
    MISSING,
    REFUSE,
    Code,
    answer,
    fail,
    none_of,
    one_of,
    program,
    when,
)
from meshclaw.sandbox.seccomp import find_machine

ASKED = {
    "x86_64": {
        "chmod": 90,
        "fchmod": 91,
        "chown": 92,
        "fchown": 93,
        "lchown": 94,
        "fchownat": 260,
        "fchmodat": 268,
        "utimensat": 280,
    },
    "aarch64": {
        "fchmod": 52,
        "fchmodat": 53,
        "fchownat": 54,
        "fchown": 55,
        "utimensat": 88,
    },
}
"""What the supervisor decides, by number. Never forks: a call that waits for an answer can fail with EINTR
when a signal comes, which no program expects of them."""

_OLD_TIMES: dict[str, dict[str, int]] = {
    "x86_64": {"utime": 132, "utimes": 235, "futimesat": 261},
    "aarch64": {},
}
"""Times as old programs set them."""

_ATTRIBUTES = {
    "x86_64": {
        "setxattr": 188,
        "lsetxattr": 189,
        "fsetxattr": 190,
        "removexattr": 197,
        "lremovexattr": 198,
        "fremovexattr": 199,
    },
    "aarch64": {
        "setxattr": 5,
        "lsetxattr": 6,
        "fsetxattr": 7,
        "removexattr": 14,
        "lremovexattr": 15,
        "fremovexattr": 16,
    },
}
_NEW_ATTRIBUTES = {"setxattrat": 463, "removexattrat": 466, "file_setattr": 469}
_NEW_MODES = {"fchmodat2": 452}

_IPC = {
    "x86_64": {
        "shmget": 29,
        "shmat": 30,
        "shmctl": 31,
        "semget": 64,
        "semop": 65,
        "semctl": 66,
        "msgget": 68,
        "msgsnd": 69,
        "msgrcv": 70,
        "msgctl": 71,
        "semtimedop": 220,
        "mq_open": 240,
        "mq_unlink": 241,
    },
    "aarch64": {
        "mq_open": 180,
        "mq_unlink": 181,
        "msgget": 186,
        "msgctl": 187,
        "msgrcv": 188,
        "msgsnd": 189,
        "semget": 190,
        "semctl": 191,
        "semtimedop": 192,
        "semop": 193,
        "shmget": 194,
        "shmctl": 195,
        "shmat": 196,
    },
}
"""Shared memory, semaphores and queues that other processes of the account use by their key."""

_OTHERS = {
    "x86_64": {"setpriority": 141, "ioprio_set": 251, "migrate_pages": 256},
    "aarch64": {"ioprio_set": 30, "setpriority": 140, "migrate_pages": 238},
}
"""What changes how other processes are run, or all of an account."""

_OWN = {
    "x86_64": {
        "sched_setparam": 142,
        "sched_setscheduler": 144,
        "sched_setaffinity": 203,
        "prlimit64": 302,
        "sched_setattr": 314,
    },
    "aarch64": {
        "sched_setparam": 118,
        "sched_setscheduler": 119,
        "sched_setaffinity": 122,
        "prlimit64": 261,
        "sched_setattr": 274,
    },
}
"""The same, where the first argument names the process: 0 is the caller."""

_SET_FLAGS = (0x4008_6602, 0x4004_6602, 0x401C_5820)
"""FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS and FS_IOC_FSSETXATTR."""


def shared_program(machine: str = "") -> bytes:
    """An array of `struct sock_filter`, to be installed with a listener for the calls in ASKED.

    Raises ValueError as `filter_program` does.
    """
    this = find_machine(machine)
    code: Code = []
    for number in ASKED[this.name].values():
        code += when(number, [answer(ASK)])
    for number in (_OLD_TIMES[this.name] | _IPC[this.name] | _OTHERS[this.name]).values():
        code += when(number, [answer(REFUSE)])
    for number in (_ATTRIBUTES[this.name] | _NEW_ATTRIBUTES).values():
        code += when(number, [answer(fail(errno.EOPNOTSUPP))])
    for number in _NEW_MODES.values():
        code += when(number, [answer(MISSING)])
    for number in _OWN[this.name].values():
        code += when(number, one_of(0, 0))
    code += when(this.ioctl, none_of(1, *_SET_FLAGS))
    return program(this.audit, [*code, answer(ALLOW)])


def calls(machine: str = "") -> dict[str, int]:
    """Every call that the filter has a rule for, by name."""
    name = find_machine(machine).name
    tables = (ASKED, _OLD_TIMES, _ATTRIBUTES, _IPC, _OTHERS, _OWN)
    merged = _NEW_ATTRIBUTES | _NEW_MODES
    for table in tables:
        merged = merged | table[name]
    return merged
