"""Whose turn it is in one project: what is mounted or kept apart there must not be moved meanwhile.

A command is alone where something in a folder that it may write is to be kept from it: another one that
runs in the same folder at that moment could move it out of sight, or out from under a mount. All others
run side by side. The lock is on the project's folder, so it needs no file and ends with its holder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
from anyio import to_thread

from meshclaw.sandbox.base import SandboxError
from meshclaw.sandbox.tree import Found

PAUSE = 0.05
"""Seconds between two tries."""


@contextlib.asynccontextmanager
async def turn(
    project: Path, look: Callable[[], tuple[Found, bool]], patience: float
) -> AsyncIterator[Found]:
    """Gives what `look` found, true until the end of the block; it also says whether to be alone.

    Raises SandboxError when the turn has not come after `patience` seconds.
    """
    descriptor = os.open(project, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = None
        with anyio.move_on_after(patience):
            while True:
                found = await to_thread.run_sync(_try, descriptor, look)
                if found is not None:
                    break
                await anyio.sleep(PAUSE)
        if found is None:
            hint = "run one after the other, or give each a copy of its own with isolate: copy"
            text = f"another run's command has been at work in {project} all the time"
            raise SandboxError(text, hint=hint)
        yield found
    finally:
        os.close(descriptor)


def _try(descriptor: int, look: Callable[[], tuple[Found, bool]]) -> Found | None:
    first = _lock(descriptor, fcntl.LOCK_EX)
    if not first and not _lock(descriptor, fcntl.LOCK_SH):
        return None
    found, alone = look()
    if first and (alone or _lock(descriptor, fcntl.LOCK_SH)):
        return found
    # Beside others a look only counts if nothing was moved behind its back.
    if not first and not alone and found.settled:
        return found
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return None


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        text = f"the project's file system has no locks, so commands cannot write there in turn: {error}"
        raise SandboxError(text, hint="give the run a copy of its own with isolate: copy") from error
    return True
