"""Beginning a new ledger file that names the old one's digest."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from meshclaw.errors import Problem, ProblemsError
from meshclaw.ledger.codec import GENESIS, encode, seal, stated_hash
from meshclaw.ledger.disk import DiskFile, disk_error, sync_folder
from meshclaw.ledger.entry import Entry, Rotation
from meshclaw.ledger.file import read_entries

_BLOCK = 1024 * 1024


def rotate(
    path: Path,
    now: datetime,
    *,
    lock_timeout: float = 30.0,
    notify: Callable[[str], None] | None = None,
) -> Path:
    """Keeps the ledger at `path` as `<stem>-<utc>.jsonl` beside it and begins a new one; returns the old.

    The new file's first entry is a Rotation with the old one's size, digest and last hash ("" if its
    last line has none). The old file may be broken: it is kept as it is. Killed at any instant, a
    whole ledger is at `path`: the old name is first added as a second link, then the new file
    replaces the first. Appenders that wait for the old file's lock notice and open the new one. Both
    names are durable when it returns; `now` is the wall clock.

    Raises ProblemsError when there is nothing to rotate, LedgerError when the disk refuses.
    """
    if not path.exists():
        raise ProblemsError([Problem(str(path), 0, 0, "there is no ledger here to rotate")])
    file = DiskFile(path, lock_timeout=lock_timeout, notify=notify or (lambda text: None))
    try:
        if file.lock() == 0:
            raise ProblemsError([Problem(str(path), 0, 0, "this ledger is empty")])
        return _rotate(path, file.descriptor, now)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        file.close()


def files(path: Path) -> list[Path]:
    """The ledger at `path` and the rotated ones before it, oldest first; each file once."""
    found = {(item.stat().st_dev, item.stat().st_ino): item for item in _rotated(path)}
    if path.exists():
        found.pop((path.stat().st_dev, path.stat().st_ino), None)
        return [*found.values(), path]
    return list(found.values())


def history(path: Path, *, check: bool = False) -> Iterator[Entry | Problem]:
    """The entries of the rotated files, oldest first, and then of the ledger at `path`.

    A file that is rotated meanwhile is read once, and in its turn. Problems and errors as from
    `read_entries`; `check` follows each file's chain.
    """
    done: set[Path] = set()
    while waiting := [file for file in files(path) if file != path and file not in done]:
        for file in waiting:
            yield from read_entries(file, check=check)
        done.update(waiting)
    yield from read_entries(path, check=check)


def _rotate(path: Path, descriptor: int, now: datetime) -> Path:
    for stale in _rotated(path):
        # A rotation that was killed half-way left a second name for the file that is still current.
        if os.path.samestat(stale.stat(), os.fstat(descriptor)):
            stale.unlink()
    os.fdatasync(descriptor)
    old = _link(path, now)
    moment = now.astimezone(UTC)
    at = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
    size, digest, last_hash = _digest(descriptor)
    entry = Rotation(at=at, previous=old.name, size=size, sha256=digest, last_hash=last_hash)
    _, line = seal(GENESIS, encode(entry))
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    copy = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        if os.write(copy, line) != len(line):
            raise OSError(28, "No space left on device")
        os.fsync(copy)
    except OSError:
        draft.unlink()
        old.unlink()
        raise
    finally:
        os.close(copy)
    draft.replace(path)
    sync_folder(path.parent)
    return old


def _link(path: Path, now: datetime) -> Path:
    """Gives the ledger its second name, which nothing has had before."""
    moment = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    number = 1
    while True:
        suffix = f"-{number}" if number > 1 else ""
        old = path.with_name(f"{path.stem}-{moment}{suffix}{path.suffix}")
        try:
            os.link(path, old, follow_symlinks=False)
            return old
        except FileExistsError:
            number += 1


def _rotated(path: Path) -> list[Path]:
    pattern = re.compile(
        re.escape(path.stem) + r"-(\d{8}T\d{6}Z)(?:-(\d+))?" + re.escape(path.suffix), re.ASCII
    )
    found: list[tuple[str, int, Path]] = []
    if path.parent.is_dir():
        for item in path.parent.iterdir():
            match = pattern.fullmatch(item.name)
            if match and item.is_file() and not item.is_symlink():
                found.append((match[1], int(match[2] or 1), item))
    return [item for _, _, item in sorted(found)]


def _digest(descriptor: int) -> tuple[int, str, str]:
    """Size and SHA-256 of a file, and the hash that its last whole line states ("" if none)."""
    digest, size, end = hashlib.sha256(), 0, b""
    while block := os.pread(descriptor, _BLOCK, size):
        digest.update(block)
        size += len(block)
        end = (end + block)[-_BLOCK:]
    line = end[: end.rfind(b"\n") + 1]
    stated = stated_hash(line[line.rfind(b"\n", 0, -1) + 1 :])
    return size, digest.hexdigest(), stated.hex() if stated else ""
