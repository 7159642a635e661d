"""What the system call filter says on each architecture: its instructions, interpreted."""

from __future__ import annotations

import ctypes
import struct

import pytest

from meshclaw.sandbox.seccomp import MACHINES, filter_program
from meshclaw.sandbox.seccomp_shared import ASKED, calls, shared_program

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x50001, 0x50026

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_* of linux/audit.h, which libseccomp uses as they are."""


def words(text: str) -> list[str]:
    return text.split()


REFUSED = words(
    "mount umount2 pivot_root move_mount open_tree fsopen fsmount fsconfig fspick mount_setattr "
    "setns keyctl add_key request_key ptrace process_vm_readv process_vm_writev pidfd_getfd "
    "kcmp bpf perf_event_open userfaultfd kexec_load kexec_file_load init_module finit_module "
    "delete_module name_to_handle_at open_by_handle_at"
)
ABSENT = words("io_uring_setup io_uring_enter io_uring_register clone3 openat2 memfd_create memfd_secret")
ORDINARY = words(
    "read write openat execve execveat fork vfork wait4 futex mmap mprotect brk fchmod fchmodat "
    "fchownat kill prctl seccomp landlock_create_ruleset pidfd_open "
    "copy_file_range sendto recvfrom bind listen accept4 shmget mq_open inotify_add_watch "
    "prlimit64 getrandom rt_sigreturn statx close_range"
)

NEW_USER, NEW_NS, NEW_TIME = 0x10000000, 0x00020000, 0x80
THREAD = 0x003D0F00
"""What a C library passes to clone for a thread."""

both_machines = pytest.mark.parametrize("machine", sorted(MACHINES))


def answer(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """What the kernel would do: an interpreter of the instructions that the filter is made of."""
    data = struct.pack("=IIQ6Q", number, audit, 0, *(*arguments, *[0] * (6 - len(arguments))))
    code = list(struct.iter_unpack("=HBBI", program))
    at = value = 0
    while True:
        operation, then, otherwise, constant = code[at]
        at += 1
        if operation == 0x20:
            (value,) = struct.unpack_from("=I", data, constant)
        elif operation == 0x54:
            value &= constant
        elif operation == 0x06:
            return int(constant)
        else:
            holds = {
                0x15: value == constant,
                0x35: value >= constant,
                0x45: bool(value & constant),
            }[operation]
            at += then if holds else otherwise


def number_of(name: str, machine: str) -> int:
    """libseccomp's own table, as a second opinion; below 0 when it does not know the name."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp.so.2 is not installed: its table of numbers is the second opinion")
    return int(library.seccomp_syscall_resolve_name_arch(AUDIT[machine], name.encode()))


@both_machines
def test_every_number_is_the_one_that_libseccomp_knows(machine: str) -> None:
    this = MACHINES[machine]
    ours = this.refused | {
        name: getattr(this, name)
        for name in [
            *("clone", "unshare", "ioctl", "personality", "socket", "socketpair", "connect"),
            "memfd_create",
        ]
    }
    ours |= {name: number for name, (number, _) in (this.modes | this.opens).items()}
    theirs = {name: number_of(name, machine) for name in ours}
    unknown = {name for name, number in theirs.items() if number < 0}
    assert unknown <= {"open_tree_attr", "fchmodat2"}, "newer than the library"
    assert {name: ours[name] for name in ours if name not in unknown} == {
        name: number for name, number in theirs.items() if name not in unknown
    }


@both_machines
@pytest.mark.parametrize("network", [True, False])
def test_dangerous_calls_are_refused_and_ordinary_ones_are_not(machine: str, network: bool) -> None:
    program = filter_program(network=network, machine=machine)
    said = {
        name: answer(program, AUDIT[machine], number)
        for name in REFUSED + ABSENT + ORDINARY
        if (number := number_of(name, machine)) >= 0
    }
    assert said == {
        name: EPERM if name in REFUSED else ENOSYS if name in ABSENT else ALLOW for name in said
    }
    assert len(said) > 60


@both_machines
def test_arguments_decide_where_a_call_is_both_good_and_bad(machine: str) -> None:
    program = filter_program(network=True, machine=machine)

    def of(name: str, *arguments: int) -> int:
        return answer(program, AUDIT[machine], number_of(name, machine), *arguments)

    assert of("clone", THREAD) == ALLOW
    assert of("clone", 0x01200011) == ALLOW, "fork"
    assert of("clone", THREAD | 0xFF) == ALLOW, "the low byte is a signal"
    for bit in (NEW_NS, 0x02000000, 0x04000000, 0x08000000, NEW_USER, 0x20000000, 0x40000000):
        assert of("clone", bit | 17) == EPERM
        assert of("unshare", bit) == EPERM
    assert of("unshare", NEW_TIME) == EPERM
    assert of("unshare", 0x400) == ALLOW, "CLONE_FILES"
    assert of("ioctl", 0, 0x5401) == ALLOW, "TCGETS"
    assert of("ioctl", 0, 0x5412) == of("ioctl", 0, 0x541C) == EPERM
    assert of("ioctl", 0, 0x7_0000_5412) == EPERM, "the kernel looks at the low half only"
    assert of("personality", 0) == of("personality", 0xFFFFFFFF) == ALLOW
    assert of("personality", 0x0040000) == of("personality", 8) == EPERM
    for call in ("socket", "socketpair"):
        assert [of(call, family, 1) for family in (1, 2, 10)] == [ALLOW] * 3
        assert [of(call, family, 3) for family in (0, 4, 17, 29, 38, 40, 44)] == [EPERM] * 7
        assert of(call, 16, 3, 0) == ALLOW, "routes: which interfaces there are"
        assert [of(call, 16, 3, protocol) for protocol in (4, 9, 12, 15, 16)] == [EPERM] * 5


@both_machines
@pytest.mark.parametrize("network", [True, False])
def test_no_file_gets_a_mode_that_lends_rights(machine: str, network: bool) -> None:
    program = filter_program(network=network, machine=machine)
    this = MACHINES[machine]
    for number, index in this.modes.values():
        for mode, said in ((0o755, ALLOW), (0o1777, ALLOW), (0o4755, EPERM), (0o2755, EPERM)):
            assert answer(program, AUDIT[machine], number, *[0] * index, mode) == said
            assert answer(program, AUDIT[machine], number, *[0xFFFF] * index, mode) == said
    created, temporary, plain = 0o101, 0o20200001, 0o2000002
    for number, index in this.opens.values():
        for flags, mode, said in (
            (created, 0o4755, EPERM),
            (created, 0o2755, EPERM),
            (temporary, 0o4755, EPERM),
            (created, 0o755, ALLOW),
            (plain, 0o4755, ALLOW),
        ):
            assert answer(program, AUDIT[machine], number, *[0] * index, flags, mode) == said


@both_machines
def test_without_a_network_there_are_only_pairs_that_cannot_be_sent_elsewhere(machine: str) -> None:
    program = filter_program(network=False, machine=machine)

    def of(name: str, *arguments: int) -> int:
        return answer(program, AUDIT[machine], number_of(name, machine), *arguments)

    close_on_exec = 0o2000000
    assert [of("socket", family, 1) for family in (1, 2, 10, 16)] == [EPERM] * 4
    assert of("socketpair", 1, 1 | close_on_exec) == of("socketpair", 1, 5) == ALLOW
    assert of("socketpair", 1, 2 | close_on_exec) == of("socketpair", 1, 3) == EPERM, "datagrams"
    assert of("connect", 3) == EPERM


@both_machines
def test_foreign_machines_are_killed(machine: str) -> None:
    program = filter_program(network=True, machine=machine)
    read = number_of("read", machine)
    assert answer(program, AUDIT[machine], read) == ALLOW
    for audit in (0x40000003, 0x40000028, *(other for name, other in AUDIT.items() if name != machine)):
        assert answer(program, audit, read) == KILL
    if machine == "x86_64":
        assert answer(program, AUDIT[machine], 0x40000000 | read) == KILL, "x32"


def test_an_unknown_machine_has_no_filter() -> None:
    with pytest.raises(
        ValueError, match="no system call filter for 's390x'; there is one for x86_64, aarch64"
    ):
        filter_program(network=True, machine="s390x")


@both_machines
def test_the_second_filter_asks_refuses_and_lets_through(machine: str) -> None:
    program = shared_program(machine)
    known = {name: number for name in calls(machine) if (number := number_of(name, machine)) >= 0}
    assert {name: calls(machine)[name] for name in known} == known
    assert set(calls(machine)) - set(known) <= {"fchmodat2", "setxattrat", "removexattrat", "file_setattr"}
    said = {name: answer(program, AUDIT[machine], number) for name, number in calls(machine).items()}
    asked = {name for name, what in said.items() if what == 0x7FC00000}
    assert asked == set(ASKED[machine]) >= {"fchmod", "fchmodat", "fchown", "fchownat", "utimensat"}
    assert {what for name, what in said.items() if "xattr" in name} == {0x5005F}
    own = {"prlimit64", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler"}
    for name in own:
        assert answer(program, AUDIT[machine], known[name], 0) == ALLOW
        assert answer(program, AUDIT[machine], known[name], 1) == EPERM
    assert said["fchmodat2"] == ENOSYS
    assert said["shmget"] == said["mq_open"] == said["setpriority"] == EPERM
    assert answer(program, AUDIT[machine], number_of("openat", machine)) == ALLOW
    set_flags = number_of("ioctl", machine)
    assert answer(program, AUDIT[machine], set_flags, 3, 0x40086602) == EPERM
    assert answer(program, AUDIT[machine], set_flags, 3, 0x5401) == ALLOW
