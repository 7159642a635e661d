"""One patch at a time goes into a project, whichever process brings it."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from meshclaw.errors import LockedError, WorkError

PATIENCE = 30_000
"""How often a patch looks whether it is its turn: each takes moments, so more means that one hangs."""
PAUSE = 0.02


@asynccontextmanager
async def turn(project: Path, folder: Path) -> AsyncIterator[None]:
    """Waits until nobody else writes into `project`; the lock is a file in `folder`, which all share.

    It goes with its process, however that ends. Raises LockedError when others take ten minutes, WorkError
    when the disk refuses.
    """
    lock = _open(project, folder)
    try:
        for _ in range(PATIENCE):
            if _take(lock, project):
                break
            await anyio.sleep(PAUSE)
        else:
            message = f"another process has been bringing a patch into {project} for ten minutes"
            raise LockedError(message, hint="end it, then try again")
        yield
    finally:
        os.close(lock)


def _open(project: Path, folder: Path) -> int:
    name = hashlib.sha256(os.fsencode(os.path.realpath(project))).hexdigest()[:16]
    path = folder / f".applying-{name}"
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WorkError(f"cannot write {path}: {error.strerror}") from error


def _take(lock: int, project: Path) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise WorkError(f"cannot lock {project} while a patch is applied: {error.strerror}") from error
    return True
