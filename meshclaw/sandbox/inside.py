"""What a command sees around its project, as bubblewrap's options."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from meshclaw.sandbox.base import Command
from meshclaw.sandbox.doorway import variables
from meshclaw.sandbox.mounts import Machine

PROC_READ_ONLY = ("sys", "sysrq-trigger", "irq", "bus", "fs")
PROC_HIDDEN = ("acpi", "asound", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list")

HOSTS = "127.0.0.1 localhost\n::1 localhost\n"

NAMESPACES = (
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-net",
    "--unshare-cgroup-try",
    "--die-with-parent",
    "--new-session",
    "--cap-drop",
    "ALL",
    "--hostname",
    "sandbox",
)


def prepare(private: Path, machine: Machine) -> None:
    """Makes the private folders of a run's commands.

    Files of /etc are copied, once for all commands: a mount of each would cost every command time.
    """
    for name in ("home", "tmp", "shm", "etc"):
        (private / name).mkdir(mode=0o700)
    (private / "nothing").touch(mode=0o400)
    for path in machine.read:
        if not path.is_relative_to("/etc"):
            continue
        copy = private / path.relative_to("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):
            shutil.copyfile(path, copy) if _is_copied(path) else copy.mkdir(parents=True, exist_ok=True)
    (private / "etc" / "hosts").write_text(HOSTS)


def _is_copied(path: Path) -> bool:
    return path.is_relative_to("/etc") and path.is_file()


def system(machine: Machine, private: Path) -> Iterator[str]:
    """What of the machine is there, but for the project."""
    for name, target in machine.links:
        yield from ("--symlink", target, name)
    yield from _process_table(private)
    # Read-only: what is written there is memory that no limit counts.
    yield from ("--dev", "/dev", "--bind", str(private / "shm"), "/dev/shm", "--remount-ro", "/dev")
    for temporary in ("/tmp", "/var/tmp"):
        # Not a link to the other: a project that lies there could not be mounted.
        yield from ("--bind", str(private / "tmp"), temporary)
    yield from ("--bind", str(private / "home"), str(machine.home))
    yield from ("--ro-bind", str(private / "etc"), "/etc")
    for path in machine.read:
        if not _is_copied(path):
            yield from ("--ro-bind", str(path), str(path))


def _process_table(private: Path) -> Iterator[str]:
    """The namespace's own /proc. What of it is the machine's is read-only or empty: root could write it."""
    yield from ("--proc", "/proc")
    for name in PROC_READ_ONLY:
        yield from ("--ro-bind-try", f"/proc/{name}", f"/proc/{name}")
    for path in (Path("/proc", name) for name in PROC_HIDDEN):
        if path.is_dir():
            yield from ("--size", "4096", "--perms", "0555", "--tmpfs", str(path))
        elif path.exists():
            yield from ("--ro-bind", str(private / "nothing"), str(path))


def masks(machine: Machine, private: Path, at: Path, workspace: Path, shared: list[Path]) -> Iterator[str]:
    """Empty files and folders over what must not show. The `workspace` shows at the path `at`; where it
    stands for what is there otherwise, only `shared` shows of that."""

    def shows(path: Path) -> bool:
        if not path.is_relative_to(at):
            return any(path.is_relative_to(one) for one in machine.read)
        there = os.path.lexists(workspace / path.relative_to(at))
        return there or any(path.is_relative_to(one) for one in shared)

    for path in (*machine.masked, *filter(shows, machine.hidden)):
        if os.path.isdir(path):
            yield from ("--size", "65536", "--tmpfs", str(path))
        elif os.path.exists(path):
            yield from ("--ro-bind", str(private / "nothing"), str(path))


def environment(command: Command, home: Path) -> Iterator[str]:
    ours = {"HOME": str(home), "TMPDIR": "/tmp", "GIT_OPTIONAL_LOCKS": "0"}
    proxy = variables() if command.confinement.network else {}
    for name, value in {**command.environment, **proxy, **ours}.items():
        yield from ("--setenv", name, value)
