"""Holds commands where there is no bubblewrap: Landlock for files, signals and TCP, seccomp for the rest.

Nothing is mounted and no namespace is made, so the command sees the machine's names and sizes, but opens
only the system's files, the operator's toolchains and the project, and writes only what the task's globs
name as a whole (`reports/**`, `notes.md`) and private folders that are its HOME and TMPDIR. It has no
sockets but connected pairs, no IPC with other programs, and cannot signal what it did not start. What
cannot be held this way is refused, never held in part.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.abc import Process

from meshclaw.sandbox import confine, kernel
from meshclaw.sandbox.base import Command, CommandResult, Confinement, SandboxError
from meshclaw.sandbox.git_secrets import holding_credentials
from meshclaw.sandbox.landlock_globs import HINT, Grant, is_ours, refusal
from meshclaw.sandbox.mounts import Machine
from meshclaw.sandbox.private import Private
from meshclaw.sandbox.seccomp import filter_program, find_machine
from meshclaw.sandbox.seccomp_shared import ASKED, shared_program
from meshclaw.sandbox.supervise import Start, supervise
from meshclaw.sandbox.tree import Tree
from meshclaw.sandbox.turns import turn
from meshclaw.sandbox.watch import watch

NEEDED = 6
"""The Landlock ABI that also holds signals and abstract sockets: Linux 6.12."""

DEVICES = ("/dev/random", "/dev/urandom")
KERNEL = (
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/uptime",
    "/proc/version",
    "/sys/devices/system/cpu",
)
"""What programs ask of the kernel. Never /proc as a whole: it shows others' command lines."""

DATA_FACTOR = 4
"""The kernel counts what a process may write to, used or not: its limit is that much wider."""
END_WITHIN = 10.0
"""Seconds after which a supervisor that does not end is killed; the kernel then ends its command."""


def missing() -> str:
    """Why commands cannot be held on this machine; empty when they can."""
    if sys.platform != "linux":
        return "Landlock is a part of Linux"
    found = kernel.landlock_version()
    if found < NEEDED:
        return f"the kernel's Landlock is version {found}, and {NEEDED} is needed (Linux 6.12)"
    try:
        find_machine()
    except ValueError as error:
        return str(error)
    return ""


class Landlock:
    """A Sandbox; one for a run. `private` is a folder of ours in which its private folders are made.

    `machine` is asked once. `identity` is the text of git's settings inside: who the user is.
    """

    name = "landlock"

    def __init__(self, machine: Callable[[], Machine], private: Path, *, identity: str = "") -> None:
        self._survey = machine
        self._parent = private
        self._identity = identity
        self._private: Private | None = None
        self._tree = Tree()

    def refusal(self, confinement: Confinement) -> str:
        return refusal(confinement)

    async def execute(self, command: Command) -> CommandResult:
        """Raises SandboxError also for globs and hosts that cannot be held."""
        if reason := missing():
            raise SandboxError(f"Landlock cannot hold commands here: {reason}", hint=HINT)
        if reason := refusal(command.confinement):
            raise SandboxError(reason, hint=HINT)
        async with contextlib.AsyncExitStack() as turns:
            grant = Grant(command, await to_thread.run_sync(self._masked, command), self._tree)
            try:
                if is_ours(command.confinement):
                    await to_thread.run_sync(grant.open)
                else:
                    waiting = turn(grant.project, grant.look, command.timeout)
                    await turns.enter_async_context(waiting)
                plan = await to_thread.run_sync(self._plan, command, grant)
                result = await _run(command, plan)
            finally:
                with anyio.CancelScope(shield=True):
                    kept = await to_thread.run_sync(grant.close)
        return replace(result, not_kept=kept)

    async def aclose(self) -> None:
        """Removes the private folders. May be called twice."""
        if self._private is not None:
            await to_thread.run_sync(self._private.close)
            self._private = None

    def _masked(self, command: Command) -> list[Path]:
        """What is not for commands, but for what the project itself lies in."""
        machine = self._survey()
        project = Path(os.path.realpath(command.project))
        if machine.home.is_relative_to(project):
            hint = "run in a folder of its own below it, or pass --no-sandbox"
            text = f"the project {project} holds the home folder, so it cannot be kept apart"
            raise SandboxError(text, hint=hint)
        masked = [*machine.masked, *machine.hidden]
        if not command.confinement.own_repository(project):
            masked += [path for path, _ in holding_credentials(project)]
        return [one for one in masked if not project.is_relative_to(one)]

    def _plan(self, command: Command, grant: Grant) -> confine.Plan:
        machine = self._survey()
        project, beneath = grant.project, grant.masked
        own = command.confinement.own_repository(project)
        masked = [*beneath, *machine.masked, *machine.hidden]
        private = self._folders()
        granted = [*grant.folders, *grant.files()]
        readable, listed = _around(map(Path, map(os.path.realpath, machine.read)), masked)
        for found, more in zip((readable, listed), _around([project], beneath), strict=True):
            found += more
        readable += [*DEVICES, *KERNEL, *map(os.path.realpath, command.confinement.read)]
        readable += [*map(str, command.confinement.originals())]
        readable += [os.path.realpath(source) for source, _ in command.confinement.bound]
        limits = command.confinement.limits
        return {
            "parent": os.getpid(),
            "script": command.script,
            "environment": {
                **command.environment,
                # /etc/gitconfig is out of reach, which git would not forgive.
                "GIT_CONFIG_NOSYSTEM": "1",
                "HOME": str(private / "home"),
                "TMPDIR": str(private / "tmp"),
            },
            "listed": listed,
            "read": readable,
            "write": [str(private / "home"), str(private / "tmp"), *map(str, (*granted, *own))],
            "filters": (_text(filter_program(network=False)), _text(shared_program())),
            "asked": ASKED[find_machine().name],
            "processes": limits.processes,
            "limits": {
                "RLIMIT_CORE": 0,
                "RLIMIT_CPU": max(1, round(limits.cpu)),
                "RLIMIT_FSIZE": limits.file_size,
                "RLIMIT_DATA": limits.memory * DATA_FACTOR,
            },
        }

    def _folders(self) -> Path:
        if self._private is None:
            self._private = Private(self._parent)
            for name in ("home", "tmp"):
                (self._private.folder / name).mkdir(mode=0o700)
            (self._private.folder / "home" / ".gitconfig").write_text(self._identity)
        return self._private.folder


async def _run(command: Command, plan: confine.Plan) -> CommandResult:
    limits = command.confinement.limits
    with contextlib.ExitStack() as stack:
        handed = os.memfd_create("meshclaw")
        stack.callback(os.close, handed)
        os.write(handed, json.dumps(plan).encode())
        os.lseek(handed, 0, os.SEEK_SET)
        status, write_status = os.pipe()
        stack.callback(os.close, status)
        stack.callback(os.close, write_status)
        os.set_blocking(status, False)
        program = confine.program(handed, write_status)
        result = await supervise(
            Start(program, command.directory, {}, (handed, write_status), command.apart),
            timeout=command.timeout,
            max_output=command.max_output,
            end=_end,
            watch=lambda process: watch(process.pid, limits),
        )
        said = b""
        with contextlib.suppress(BlockingIOError):
            said = os.read(status, 4_096)
    runs, _, over = said.decode("utf-8", "replace").partition(confine.OVER)
    if runs == confine.RUNS and over:
        return replace(result, exit_code=None, stopped=over)
    if result.exit_code is not None and runs != confine.RUNS:
        reason = runs.removeprefix(confine.RUNS) or "no reason was given"
        raise SandboxError(f"Landlock could not hold the command: {reason}", hint=HINT)
    return result


async def _end(process: Process) -> None:
    """Asks the supervisor to end everything, which it does before it ends itself."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
        with anyio.move_on_after(END_WITHIN):
            await process.wait()
            return


def _around(paths: Iterable[Path], masked: list[Path]) -> tuple[list[str], list[str]]:
    """What to open to leave out `masked`: as a whole, and only to list. Follows no link."""
    readable, listed, waiting = [], [], list(paths)
    while waiting:
        path = waiting.pop()
        if any(path.is_relative_to(one) for one in masked):
            continue
        if not any(one.is_relative_to(path) for one in masked):
            readable.append(str(path))
            continue
        listed.append(str(path))
        with contextlib.suppress(OSError), os.scandir(path) as entries:
            waiting += [Path(entry.path) for entry in entries if not entry.is_symlink()]
    return readable, listed


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
