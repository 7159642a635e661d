"""Runs commands with this account's rights and no containment: what `--no-sandbox` asks for.

It still leaves nothing behind: a command gets a session of its own, and when its shell has ended, the
time is up or the run is cancelled, the whole process group is ended. A process that leaves its group on
purpose (`setsid`) escapes; only a sandbox holds that.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path

import anyio
from anyio.abc import Process

from meshclaw.sandbox.base import Command, CommandResult, Confinement
from meshclaw.sandbox.supervise import Start, supervise

TERMINATE_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

_KEPT = re.compile(
    r"PATH|HOME|LANG|LANGUAGE|LC_[A-Z]+|TERM|TZ|TMPDIR|USER|LOGNAME|SHELL|SSL_CERT_(FILE|DIR)"
    # Where toolchains are (FOLDER_VARIABLES).
    r"|VIRTUAL_ENV|PYENV_ROOT|RUSTUP_HOME|CARGO_HOME|NVM_DIR|JAVA_HOME|GOROOT"
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

    def refusal(self, confinement: Confinement) -> str:
        return ""

    async def execute(self, command: Command) -> CommandResult:
        """Raises OSError when the shell cannot be started there."""
        argv = ["/bin/sh", "-c", command.script]
        start = Start(argv, command.directory, command.environment, apart=command.apart)
        return await supervise(
            start, timeout=command.timeout, max_output=command.max_output, end=_end_group
        )


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
