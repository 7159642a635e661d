"""Starts a process, reads what it writes in bounded memory, and sees to its end."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import anyio
from anyio.abc import Process

from meshclaw.frozen import dataclass
from meshclaw.sandbox.base import CommandResult

LINGER = 0.5
"""Seconds that processes left in the background may still write after the first one has ended."""

_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Start:
    """How a process is started; `keep` are descriptors that it inherits, `apart` as in Command."""

    argv: Sequence[str]
    directory: Path
    environment: Mapping[str, str]
    keep: tuple[int, ...] = ()
    apart: bool = False


async def _nothing(process: Process) -> str:
    await anyio.sleep_forever()
    return ""


async def supervise(
    start: Start,
    *,
    timeout: float,
    max_output: int,
    end: Callable[[Process], Awaitable[None]],
    watch: Callable[[Process], Awaitable[str]] = _nothing,
) -> CommandResult:
    """Runs it to the end, the timeout or until `watch` returns the reason to stop it.

    `end` must leave nothing of it running; it is awaited exactly once, however this ends. Raises OSError
    when the process cannot be started.
    """
    started = anyio.current_time()
    with contextlib.ExitStack() as stack:
        with contextlib.ExitStack() as handed:
            streams = [Stream(stack, handed, max_output) for _ in range(2 if start.apart else 1)]
            # Shielded: a cancellation here would lose the only handle on what was started.
            with anyio.CancelScope(shield=True):
                process = await _open(start, streams)
        timed_out, stopped = await _attend(process, streams, timeout, end, watch)
    code = process.returncode
    if code is not None and code < 0:
        code = 128 - code
    return CommandResult(
        None if timed_out or stopped else code,
        streams[0].collected.text(),
        timed_out,
        anyio.current_time() - started,
        stopped,
        errors=streams[1].collected.text() if start.apart else "",
        dropped=streams[0].collected.dropped,
    )


class Stream:
    """A pipe that a process writes to, and what came out of it.

    Our end is closed with `stack`, the end that is handed on with `handed`.
    """

    def __init__(self, stack: contextlib.ExitStack, handed: contextlib.ExitStack, max_output: int) -> None:
        self.collected = Collected(max_output)
        self._reading, self.writing = os.pipe()
        stack.callback(os.close, self._reading)
        handed.callback(os.close, self.writing)
        os.set_blocking(self._reading, False)

    async def drain(self) -> None:
        """Reads until nobody can write any more."""
        while True:
            await anyio.wait_readable(self._reading)
            try:
                data = os.read(self._reading, _CHUNK)
            except BlockingIOError:
                continue
            if not data:
                return
            self.collected.add(data)


async def _open(start: Start, streams: Sequence[Stream]) -> Process:
    return await anyio.open_process(
        list(start.argv),
        stdin=subprocess.DEVNULL,
        stdout=streams[0].writing,
        stderr=streams[-1].writing,
        cwd=start.directory,
        env=dict(start.environment),
        start_new_session=True,
        pass_fds=start.keep,
    )


async def _attend(
    process: Process,
    streams: Sequence[Stream],
    timeout: float,
    end: Callable[[Process], Awaitable[None]],
    watch: Callable[[Process], Awaitable[str]],
) -> tuple[bool, str]:
    """Waits for the end, however it comes: (whether it was the timeout, what `watch` said)."""
    drained = anyio.Event()
    stopped = ""
    ended = False
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_drain, streams, drained)
            with anyio.move_on_after(timeout) as scope:
                stopped = await _first(process, watch)
            if not scope.cancelled_caught and not stopped:
                with anyio.move_on_after(LINGER):
                    await drained.wait()
            await end(process)
            ended = True
            with anyio.move_on_after(LINGER):
                await drained.wait()
            group.cancel_scope.cancel()
    finally:
        # Never twice: the process's number may belong to somebody else by then.
        if not ended:
            with anyio.CancelScope(shield=True):
                await end(process)
    return scope.cancelled_caught, stopped


async def _first(process: Process, watch: Callable[[Process], Awaitable[str]]) -> str:
    """Empty when the process ended by itself, else why it is to be stopped."""
    reason = ""

    async def look() -> None:
        nonlocal reason
        reason = await watch(process)
        if reason:
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        await process.wait()
        group.cancel_scope.cancel()
    return reason


async def _drain(streams: Sequence[Stream], drained: anyio.Event) -> None:
    async with anyio.create_task_group() as group:
        for stream in streams:
            group.start_soon(stream.drain)
    drained.set()


class Collected:
    """The first and the last half of what comes, in bounded memory."""

    def __init__(self, most: int) -> None:
        self._half = max(most // 2, 1)
        self._head = bytearray()
        self._tail = bytearray()
        self.dropped = 0

    def add(self, data: bytes) -> None:
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        excess = len(self._tail) - self._half
        if excess > 0:
            self.dropped += excess
            del self._tail[:excess]

    def text(self) -> str:
        data = bytes(self._head)
        if self.dropped:
            data += b"\n[... %d bytes dropped ...]\n" % self.dropped
        return (data + self._tail).decode("utf-8", "replace")
