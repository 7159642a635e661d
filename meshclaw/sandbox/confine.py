"""The supervisor process: runs one command under Landlock and two system call filters, then ends its all.

It enters a Landlock domain that holds nothing but signals, so that `kill(-1)` reaches exactly its own
descendants, at once, whatever they fork; the command's own domain lies within, from where this one cannot
be signalled. It also sets the modes, owners and times that the command asks for (see `seccomp_shared`).
Only the standard library is used: it is started anew for each command.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from typing import TypedDict

from meshclaw.sandbox import kernel
from meshclaw.sandbox.metadata import set_metadata

RUNS = "runs"
FAILED = 125
"""The exit code when the command could not be held."""

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
LOOK = 0.02
"""Seconds between two looks at how many processes there are: a storm must not outrun them."""
OVER = "!"
"""Before the reason why the command was stopped, on STATUS after RUNS."""


class Plan(TypedDict):
    """What to run. `listed`, `read` and `write` are paths without a symlink, `filters` are in base64,
    `asked` are call numbers, `processes` is how many may run, `limits` those of `resource`."""

    parent: int
    script: str
    environment: dict[str, str]
    listed: list[str]
    read: list[str]
    write: list[str]
    filters: tuple[str, str]
    asked: dict[str, int]
    processes: int
    limits: dict[str, int]


_RECEIVE, _SEND, _STILL_VALID = 0xC050_2100, 0xC018_2101, 0x4008_2102
_NOTICE, _RESPONSE = "=QIIiIQ6Q", "=QqiI"

_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def program(plan: int, status: int) -> list[str]:
    """How to start this: from `plan`, a descriptor, JSON is read (see `Plan`), and to `status` goes one
    word when the command runs, or why it does not."""
    room = os.path.realpath(f"{__file__}/../../..")
    start = f"import sys; sys.path.append({room!r}); from meshclaw.sandbox import confine; confine.main()"
    return [sys.executable, "-I", "-S", "-c", start, str(plan), str(status)]


def main() -> None:
    """Ends the process with the command's exit code."""
    reading, status = map(int, sys.argv[1:])
    with open(reading, encoding="utf-8", errors="surrogateescape") as file:
        plan: Plan = json.load(file)
    os.set_inheritable(status, False)
    try:
        code = Supervisor(plan, status).run()
    except Exception as error:
        os.write(status, f"{type(error).__name__}: {error}".encode())
        code = FAILED
    os._exit(code)


class Supervisor:
    """Holds one command from its start to the end of its last descendant."""

    def __init__(self, plan: Plan, status: int) -> None:
        self._plan = plan
        self._status = status
        self._names = {number: name for name, number in plan["asked"].items()}
        self._code: int | None = None
        self._deadline: float | None = None
        self._baseline = _count_machine()

    def run(self) -> int:
        """The command's exit code, 128 + n for signals, 143 when asked to end it."""
        kernel.signal_when_parent_ends(signal.SIGTERM)
        kernel.adopt_orphans()
        if os.getppid() != self._plan["parent"]:
            return FAILED
        kernel.give_up_rights()
        self._domain = kernel.hold_signals_in(self._plan["parent"])
        try:
            return self._hold()
        finally:
            self._domain.signal_all(signal.SIGKILL)

    def _hold(self) -> int:
        wake, waking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        # Held back until the fork is over: these handlers are not for the command.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        listener = self._start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.write(self._status, RUNS.encode())
        self._attend(wake, listener)
        return 128 + signal.SIGTERM if self._code is None else self._code

    def _on_signal(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD and self._deadline is None:
            self._end()

    def _end(self) -> None:
        self._deadline = time.monotonic() + GRACE
        self._domain.signal_all(signal.SIGTERM)

    def _start(self) -> int:
        """Forks the command and returns the listener of its filter."""
        ours, theirs = socket.socketpair()
        self._child = os.fork()
        if self._child == 0:
            try:
                _become(self._plan, theirs)
            except BaseException as error:
                theirs.send(f"{type(error).__name__}: {error}".encode()[:4_000])
            os._exit(FAILED)
        theirs.close()
        said, descriptors, _, _ = socket.recv_fds(ours, 4_096, 1)
        if not descriptors:
            raise OSError(said.decode() or "the command could not be held")
        # What comes now is why the shell could not be started; nothing when it was.
        late = ours.recv(4_096)
        ours.close()
        if late:
            raise OSError(late.decode())
        return descriptors[0]

    def _attend(self, wake: int, listener: int) -> None:
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(listener, select.POLLIN)
        while self._reap():
            if self._deadline is None:
                self._look()
            elif time.monotonic() >= self._deadline:
                self._domain.signal_all(signal.SIGKILL)
            for descriptor, event in poll.poll(LOOK * 1_000):
                if descriptor == wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake, 4_096)
                elif event & select.POLLIN:
                    self._decide(listener)
                else:
                    poll.unregister(listener)

    def _reap(self) -> bool:
        """Whether anything still runs. When the command itself has ended, the rest is ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._child:
                code = os.waitstatus_to_exitcode(status)
                if self._deadline is None:
                    self._code = 128 - code if code < 0 else code
                    self._end()

    def _decide(self, listener: int) -> None:
        """Answers one call of the command's."""
        notice = bytearray(struct.calcsize(_NOTICE))
        try:
            fcntl.ioctl(listener, _RECEIVE, notice)
        except OSError:
            return
        mark, pid, _, number, _, _, *arguments = struct.unpack(_NOTICE, notice)

        def valid() -> None:
            fcntl.ioctl(listener, _STILL_VALID, struct.pack("=Q", mark))

        failed = 0
        try:
            set_metadata(self._names[number], pid, arguments, self._plan["write"], valid)
        except OSError as error:
            failed = error.errno or errno.EPERM
        except Exception:
            # The command chose the arguments: whatever they lead to is its failure, not ours.
            failed = errno.EFAULT
        with contextlib.suppress(OSError):
            fcntl.ioctl(listener, _SEND, struct.pack(_RESPONSE, mark, 0, -failed, 0))

    def _look(self) -> None:
        """Ends everything at once when there are too many processes."""
        most = self._plan["processes"]
        if _count_machine() - self._baseline > most // 2 and _count_descendants(most) > most:
            self._deadline = time.monotonic()
            self._domain.signal_all(signal.SIGKILL)
            os.write(self._status, f"{OVER}more than {most} processes".encode())


def _count_machine() -> int:
    """Of all threads there are; one read, where counting the own takes one for each."""
    with open("/proc/loadavg") as file:
        return int(file.read().split()[3].partition("/")[2])


def _count_descendants(most: int) -> int:
    """Stops soon after `most`."""
    waiting, seen = [os.getpid()], 0
    while waiting and seen <= most:
        folder = f"/proc/{waiting.pop()}/task"
        with contextlib.suppress(OSError):
            for task in os.listdir(folder):  # noqa: PTH208
                with contextlib.suppress(OSError), open(f"{folder}/{task}/children") as file:
                    children = file.read().split()
                    seen += len(children)
                    waiting += map(int, children)
    return seen


def _become(plan: Plan, theirs: socket.socket) -> None:
    """Turns this process into the command. Returns only by raising."""
    os.setsid()
    kernel.signal_when_parent_ends(signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    for number in (*_SIGNALS, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    for name, most in plan["limits"].items():
        _, hard = resource.getrlimit(kind := getattr(resource, name))
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    kernel.hold_files_in(plan["listed"], plan["read"], plan["write"])
    plain, asking = map(base64.b64decode, plan["filters"])
    kernel.install_filter(plain)
    socket.send_fds(theirs, [RUNS.encode()], [kernel.install_asking_filter(asking)])
    os.execve("/bin/sh", ["/bin/sh", "-c", plan["script"]], plan["environment"])
