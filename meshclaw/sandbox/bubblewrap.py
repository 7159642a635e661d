"""Runs commands in namespaces of their own, made by the system's bubblewrap.

Inside there are the system's programs and libraries, the operator's toolchains and the project, nothing
else: no home, no other process, no network but a proxy to the hosts that are allowed. What a command may
write is the project's part that the task names, and private folders that are gone when the run is. Every
descriptor but the three is closed.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat as st
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import anyio
from anyio import to_thread

from meshclaw.sandbox.base import Command, CommandResult, Confinement, SandboxError
from meshclaw.sandbox.doorway import Doorway
from meshclaw.sandbox.inside import NAMESPACES, environment, masks, prepare, system
from meshclaw.sandbox.mounts import Machine, interpreter
from meshclaw.sandbox.namespace import Namespace
from meshclaw.sandbox.parts import Trees
from meshclaw.sandbox.private import Private
from meshclaw.sandbox.project import ProjectView
from meshclaw.sandbox.proxy import Internet
from meshclaw.sandbox.seccomp import filter_program
from meshclaw.sandbox.supervise import Start, supervise
from meshclaw.sandbox.tree import Found
from meshclaw.sandbox.turns import turn

PLACES = ("/usr/bin/bwrap", "/bin/bwrap", "/usr/local/bin/bwrap", "/run/current-system/sw/bin/bwrap")
"""Where bubblewrap is looked for. Never on PATH: a project can change that."""

DATA_FACTOR = 4
"""The kernel counts what a process may write to, used or not: its limit is that much wider."""

# The limits are set inside, by the shell that then becomes the command's own.
_LIMITED = (
    'ulimit -c 0; ulimit -t "$1" 2>/dev/null; ulimit -f "$2" 2>/dev/null; ulimit -d "$3" 2>/dev/null; '
    '[ "$5" = 0 ] || ulimit -u "$5" 2>/dev/null || ulimit -p "$5" 2>/dev/null; exec /bin/sh -c "$4"'
)


def find_bubblewrap(named: Path | None = None) -> Path | None:
    """The program, at the operator's path or a system's place. Raises SandboxError for an unsafe one."""
    for path in (named,) if named is not None else map(Path, PLACES):
        if not path.is_file():
            continue
        real = path.resolve()
        found = real.stat()
        if found.st_uid not in (0, os.getuid()) or found.st_mode & (st.S_IWGRP | st.S_IWOTH):
            raise SandboxError(f"{path} can be changed by others, so it is not used")
        return real
    return None


class Bubblewrap:
    """A Sandbox; one for a run. `private` is a folder of ours in which its private folders are made.

    `machine` is asked once. `identity` is the text of git's settings inside: who the user is. `internet` is
    where the names of allowed hosts lead. Raises SandboxError when a project cannot be contained.
    """

    name = "bubblewrap"

    def __init__(
        self,
        program: Path,
        machine: Callable[[], Machine],
        private: Path,
        *,
        identity: str = "",
        scratch: Sequence[str] = (),
        internet: Internet | None = None,
    ) -> None:
        self.program = program
        self._survey = machine
        self._parent = private
        self._identity = identity
        self._scratch = tuple(scratch)
        self._internet = internet or Internet()
        self._machine: Machine | None = None
        self._private: Private | None = None
        self._count = 0
        self._trees = Trees()
        self._by_descriptor: bool | None = None

    def refusal(self, confinement: Confinement) -> str:
        if confinement.network and not any(map(interpreter().is_relative_to, self._known().read)):
            return f"{interpreter()}, which opens the way to hosts, lies where commands may not look"
        return ""

    async def execute(self, command: Command) -> CommandResult:
        view = await to_thread.run_sync(self._view, command)
        async with contextlib.AsyncExitStack() as turns:
            found = Found()
            if view.parts.writes:
                waiting = turn(view.root, view.parts.look, command.timeout)
                found = await turns.enter_async_context(waiting)
            try:
                arguments = await to_thread.run_sync(self._arrange, command, view, found)
                with contextlib.ExitStack() as stack:
                    result = await self._run(command, arguments, view.handed, stack)
            finally:
                with anyio.CancelScope(shield=True):
                    lost = await to_thread.run_sync(view.close)
        return replace(result, not_kept=lost)

    async def aclose(self) -> None:
        """Removes the private folders. May be called twice."""
        if self._private is not None:
            await to_thread.run_sync(self._private.close)
            self._private = None

    def _known(self) -> Machine:
        if self._machine is None:
            self._machine = self._survey()
        return self._machine

    async def _run(
        self,
        command: Command,
        arguments: list[str],
        sources: list[int],
        stack: contextlib.ExitStack,
    ) -> CommandResult:
        status, write_status = os.pipe()
        stack.callback(os.close, status)
        os.set_blocking(status, False)
        with contextlib.ExitStack() as handed:
            handed.callback(os.close, write_status)
            seccomp = _memory_file(handed, filter_program(network=True))
            cpu, size, data, processes = _limits(command)
            inside = ["/bin/sh", "-c", _LIMITED, "sh", cpu, size, data, command.script, processes]
            hosts = command.confinement.network
            way = Doorway(hosts, self._internet, stack) if hosts else None
            options = [*arguments, "--seccomp", str(seccomp), "--json-status-fd", str(write_status)]
            text = b"".join(os.fsencode(one) + b"\0" for one in options)
            listed = _memory_file(handed, text)
            keep = (seccomp, write_status, listed, *sources, *((way.handed,) if way else ()))
            life = Namespace(status, command.confinement.limits)
            argv = [str(self.program), "--args", str(listed), "--", *(way.argv(inside) if way else inside)]
            result = await supervise(
                Start(argv, Path("/"), {}, keep, command.apart),
                timeout=command.timeout,
                max_output=command.max_output,
                end=life.end,
                watch=way.beside(life.watch) if way else life.watch,
            )
        if result.exit_code is not None and not (life.ran() and (way is None or way.opened())):
            said = result.errors or result.output
            reason = said.strip().splitlines()[-1:] or ["bubblewrap said nothing"]
            hint = "see `meshclaw doctor --security`"
            raise SandboxError(f"the sandbox could not be set up: {reason[0]}", hint=hint)
        return result if way is None else replace(result, refused=way.refused)

    def _view(self, command: Command) -> ProjectView:
        machine = self._known()
        project = Path(os.path.realpath(command.project))
        shown = command.confinement.shown(project)
        if machine.home.is_relative_to(project) or machine.home.is_relative_to(shown):
            hint = "run in a folder of its own below it, or pass --no-sandbox"
            raise SandboxError(
                f"the project {shown} holds the home folder, so it cannot be kept apart", hint=hint
            )
        private = self._folders()
        self._count += 1
        return ProjectView(
            project,
            private,
            command.confinement,
            self._scratch,
            self._count,
            self._trees,
            by_descriptor=self._takes_descriptors,
            covered=(*machine.masked, *machine.hidden),
        )

    def _arrange(self, command: Command, view: ProjectView, found: Found) -> list[str]:
        machine, private = self._known(), self._folders()
        project = Path(os.path.realpath(command.project))
        shown = command.confinement.shown(project)
        try:
            inside = view.arguments(found)
        except OSError as error:
            raise SandboxError(f"the sandbox could not be prepared: {error}") from error
        directory = Path(os.path.realpath(command.directory))
        if directory.is_relative_to(project):
            directory = shown / directory.relative_to(project)
        bound = [*((path, path) for path in command.confinement.read), *command.confinement.bound]
        return [
            *NAMESPACES,
            *system(machine, private),
            *inside,
            *masks(machine, private, shown, project, command.confinement.originals()),
            *(text for source, path in bound for text in ("--ro-bind", str(source), str(path))),
            "--remount-ro",
            "/",
            "--chdir",
            str(directory),
            "--clearenv",
            *environment(command, machine.home),
        ]

    def _takes_descriptors(self) -> bool:
        """Whether this bubblewrap mounts what is open: 0.10 does, and older ones of distributions."""
        if self._by_descriptor is None:
            argv = [str(self.program), "--help"]
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            self._by_descriptor = b"--bind-fd" in done.stdout + done.stderr
        return self._by_descriptor

    def _folders(self) -> Path:
        if self._private is None:
            self._private = Private(self._parent)
            prepare(self._private.folder, self._known())
            (self._private.folder / "home" / ".gitconfig").write_text(self._identity)
        return self._private.folder


def _limits(command: Command) -> tuple[str, str, str, str]:
    """In the units of the shell's `ulimit`: seconds, blocks of 512 bytes, KiB, processes (0: not set).

    Before Linux 5.14 the number of processes counted all of the account's, wherever they ran.
    """
    limits = command.confinement.limits
    return (
        str(max(1, round(limits.cpu))),
        str(limits.file_size // 512),
        str(limits.memory * DATA_FACTOR // 1024),
        str(limits.processes if _kernel() >= (5, 14) else 0),
    )


def _kernel() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _memory_file(stack: contextlib.ExitStack, data: bytes) -> int:
    descriptor = os.memfd_create("meshclaw")
    stack.callback(os.close, descriptor)
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
