"""Sees to the life of one command's namespace, from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable

import anyio
from anyio import to_thread
from anyio.abc import Process

from meshclaw.sandbox.base import Limits
from meshclaw.sandbox.watch import others_run, release, runs, terminate, watch

TERMINATE_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
OTHERS_GRACE = 1.5
"""Of these, seconds in which the command waits for what it has started."""


class Namespace:
    """The first process of one command's namespace: when it ends, the kernel ends all others.

    `status` is where bubblewrap tells of it (`--json-status-fd`), a descriptor that does not block.
    """

    def __init__(self, status: int, limits: Limits) -> None:
        self._status = status
        self._limits = limits
        self._told = b""
        self._first: int | None = None

    async def watch(self, process: Process) -> str:
        """Returns which limit was broken; else never."""
        while self._child() is None:
            await anyio.wait_readable(self._status)
            if not self._hear():
                await anyio.sleep_forever()
        first = self._child()
        assert first is not None
        reason = await watch(first, self._limits)
        # At once: what forks without end must not get the time to hear a polite signal.
        _kill(first)
        return reason

    def ran(self) -> bool:
        """Whether the command was started at all."""
        self._hear()
        return b'"exit-code"' in self._told

    async def end(self, process: Process) -> None:
        """SIGTERM and a grace for what the command started, then for the command itself; SIGKILL to all
        that is in the namespace; then nothing of it runs."""
        self._hear()
        first = self._child()
        if process.returncode is None and first is not None:
            # The namespace ends with its command, mostly a shell that ends at once: so that one comes last.
            command = await to_thread.run_sync(terminate, first)
            with anyio.move_on_after(TERMINATE_GRACE):
                with anyio.move_on_after(OTHERS_GRACE):
                    await _until(lambda: not others_run(first, command))
                release(command)
                await process.wait()
        for pid in (first, process.pid if process.returncode is None else None):
            if pid is not None:
                _kill(pid)
        await process.wait()
        if first is not None:
            await _gone(first)

    def _hear(self) -> bool:
        """Reads what bubblewrap has told; False at its end."""
        while True:
            try:
                data = os.read(self._status, 4_096)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._told += data

    def _child(self) -> int | None:
        if self._first is None and b"\n" in self._told:
            self._first = int(json.loads(self._told.partition(b"\n")[0])["child-pid"])
        return self._first


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


async def _gone(pid: int) -> None:
    """Waits until a process has ended; one that nobody reaps counts as ended."""
    with anyio.move_on_after(10):
        await _until(lambda: not runs(pid))


async def _until(condition: Callable[[], bool]) -> None:
    pause = 0.001
    while not await to_thread.run_sync(condition):
        await anyio.sleep(pause)
        pause = min(pause * 2, 0.05)
