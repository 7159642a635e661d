"""Runs commands with this account's rights and no containment: what `--no-sandbox` asks for.

It still leaves nothing behind: a command gets a session of its own, and when its shell has ended, the
time is up or the run is cancelled, the whole process group is ended. A process that leaves its group on
purpose (`setsid`) escapes; only a sandbox holds that.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import anyio
from anyio.abc import Process

from meshclaw.sandbox.base import Command, CommandResult

LINGER = 0.5
"""Seconds that processes left in the background may still write after the shell has ended."""
TERMINATE_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

_CHUNK = 65_536
_KEPT = re.compile(
    r"PATH|HOME|LANG|LANGUAGE|LC_[A-Z]+|TERM|TZ|TMPDIR|USER|LOGNAME|SHELL|VIRTUAL_ENV|SSL_CERT_(FILE|DIR)"
)
_ADDED = {
    "MESHCLAW": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_PAGER": "cat",
    "PAGER": "cat",
    "NO_COLOR": "1",
    "TERM": "dumb",
    # A .pyc is held to be fresh when size and mtime (in whole seconds) agree: an agent edits faster.
    "PYTHONDONTWRITEBYTECODE": "1",
}


def command_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What commands get of our environment: an allow-list, so that no key is on it by accident.

    Pagers, prompts and colours are switched off.
    """
    kept = {name: value for name, value in environment.items() if _KEPT.fullmatch(name)}
    return {**kept, **_ADDED}


class Unconfined:
    """A Sandbox that contains nothing."""

    name = "none"

    async def execute(self, command: Command) -> CommandResult:
        """Raises OSError when the shell cannot be started there."""
        started = anyio.current_time()
        collected = _Collected(command.max_output)
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        try:
            try:
                # Shielded: a cancellation here would lose the only handle on what was started.
                with anyio.CancelScope(shield=True):
                    process = await _start(command, writing)
            finally:
                os.close(writing)
            timed_out = await _supervise(process, reading, collected, command.timeout)
        finally:
            os.close(reading)
        code = process.returncode
        if code is not None and code < 0:
            code = 128 - code
        seconds = anyio.current_time() - started
        return CommandResult(None if timed_out else code, collected.text(), timed_out, seconds)


async def _start(command: Command, output: int) -> Process:
    return await anyio.open_process(
        ["/bin/sh", "-c", command.script],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=command.directory,
        env=dict(command.environment),
        start_new_session=True,
    )


async def _supervise(process: Process, reading: int, collected: _Collected, timeout: float) -> bool:
    """Waits for the end, however it comes. True when it was the timeout."""
    drained = anyio.Event()
    ended = False
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_drain, reading, collected, drained)
            with anyio.move_on_after(timeout) as scope:
                await process.wait()
            if not scope.cancelled_caught:
                with anyio.move_on_after(LINGER):
                    await drained.wait()
            await _end_group(process)
            ended = True
            with anyio.move_on_after(LINGER):
                await drained.wait()
            group.cancel_scope.cancel()
    finally:
        # Never twice: the group's number may belong to somebody else by then.
        if not ended:
            with anyio.CancelScope(shield=True):
                await _end_group(process)
    return scope.cancelled_caught


async def _drain(reading: int, collected: _Collected, drained: anyio.Event) -> None:
    while True:
        await anyio.wait_readable(reading)
        try:
            data = os.read(reading, _CHUNK)
        except BlockingIOError:
            continue
        if not data:
            drained.set()
            return
        collected.add(data)


async def _end_group(process: Process) -> None:
    """SIGTERM, a grace, SIGKILL to all that is left of the group; then nothing of it runs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _signal_group(process.pid, number):
            break
        with anyio.move_on_after(TERMINATE_GRACE):
            pause = 0.001
            while _group_runs(process.pid):
                await anyio.sleep(pause)
                pause = min(pause * 2, 0.05)
            break
    await process.wait()


def _signal_group(group: int, number: int) -> bool:
    """False when the group has no process any more."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        # macOS says so of zombies; elsewhere somebody in it has another user, and is beyond us.
        return False
    return True


def _group_runs(group: int) -> bool:
    """Whether anything in the group still runs. In a container whose first process reaps no orphans,
    zombies keep a group's number alive for ever: they do not count."""
    if not _signal_group(group, 0):
        return False
    stats = list(Path("/proc").glob("[0-9]*/stat"))
    for stat in stats:
        try:
            state, _, its_group = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(its_group) == group and state != "Z":
            return True
    return not stats


class _Collected:
    """The first and the last half of what comes, in bounded memory."""

    def __init__(self, most: int) -> None:
        self._half = max(most // 2, 1)
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        excess = len(self._tail) - self._half
        if excess > 0:
            self._dropped += excess
            del self._tail[:excess]

    def text(self) -> str:
        data = bytes(self._head)
        if self._dropped:
            data += b"\n[... %d bytes dropped ...]\n" % self._dropped
        return (data + self._tail).decode("utf-8", "replace")
