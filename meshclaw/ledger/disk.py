"""One ledger file on disk: opened with suspicion, locked, healed, and appended to all or nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep

from meshclaw.errors import LedgerError
from meshclaw.ledger.codec import GENESIS, seal
from meshclaw.ledger.tail import Tail, TailError, read_tail

_FIRST_WAIT, _LONGEST_WAIT = 0.0005, 0.016

_HINTS = {
    errno.ENOSPC: "free some space on that disk, or name another ledger",
    errno.EDQUOT: "the disk quota is used up: free some space, or name another ledger",
    errno.EFBIG: "files may not grow further (`ulimit -f`): raise that, or `meshclaw ledger rotate`",
    errno.EROFS: "the file system is read-only: name another ledger",
    errno.EIO: "the disk fails: copy the ledger away, then check the disk",
    errno.EACCES: "check who owns the folder and the file",
    errno.ELOOP: "a symlink is refused: name the file itself",
}


class DiskFile:
    """Appends groups of lines to one ledger file. Not for two threads at once.

    `lock_timeout` is in seconds. `notify` is told, in a sentence, when something was healed.
    """

    def __init__(self, path: Path, *, lock_timeout: float, notify: Callable[[str], None]) -> None:
        self.path = path
        self.descriptor = -1
        self._name = str(path)
        self._lock_timeout = lock_timeout
        self._notify = notify
        self._identity = (-1, -1)
        self._safe = (-1, -1)
        self._known: tuple[int, bytes] = (-1, GENESIS)

    def lock(self) -> int:
        """Takes the lock of the file that is at the path now; gives its size in bytes.

        The file and its folders are made if they are missing. Raises LedgerError: for a file that is
        not safe to write, and when another process holds the lock for longer than the time limit.
        """
        deadline = monotonic() + self._lock_timeout
        while True:
            try:
                if self.descriptor < 0:
                    self._open()
                _lock(self.descriptor, self.path, deadline)
                found = _lstat(self._name)
                if found is not None and (found.st_dev, found.st_ino) == self._identity:
                    if (found.st_mode, found.st_uid) != self._safe:
                        check_safe(found, self.path)
                    return found.st_size
            except OSError as error:
                self.close()
                raise disk_error(self.path, error) from error
            except LedgerError:
                self.close()
                raise
            # Rotated or removed while we waited: the lock that counts is that of the file at the path.
            self.close()

    def unlock(self) -> None:
        """Gives the lock back; the file stays open."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def append(self, size: int, bodies: Sequence[bytes]) -> None:
        """Appends the lines with these bodies as one write, synced; `size` is what `lock` gave.

        Heals the last line first if it needs that, also without bodies. Raises LedgerError; the file
        is then as long as before.
        """
        known_size, previous = self._known
        prefix = b""
        if size != known_size:
            tail = self._healed(size)
            size, previous = tail.size, tail.hash
            prefix = b"\n" if tail.lacks_newline else b""
        lines = [prefix]
        for body in bodies:
            previous, line = seal(previous, body)
            lines.append(line)
        payload = b"".join(lines)
        if payload:
            self._write(payload, size)
        self._known = (size + len(payload), previous)

    def close(self) -> None:
        """Lets go of the file; a later append opens it again."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor, self._known = -1, (-1, GENESIS)

    def _open(self) -> None:
        make_folder(self.path.parent)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self.path, flags, 0o600)
        try:
            found = os.fstat(descriptor)
            check_safe(found, self.path)
            # Once for every open, not only by whoever made the file: the maker may have died before.
            sync_folder(self.path.parent)
        except BaseException:
            os.close(descriptor)
            raise
        self.descriptor = descriptor
        self._identity, self._safe = (found.st_dev, found.st_ino), (found.st_mode, found.st_uid)
        self._known = (-1, GENESIS)

    def _healed(self, size: int) -> Tail:
        try:
            tail = read_tail(self.descriptor, size)
        except TailError as error:
            raise LedgerError(
                f"cannot append to {self.path}: {error}",
                hint="`meshclaw ledger verify` says more; `meshclaw ledger rotate` begins a new file",
            ) from None
        if tail.lacks_newline:
            self._notify(f"{self.path}: the last line lacked its line feed; it was added")
        elif tail.torn:
            try:
                aside = _set_aside(self.path, self.descriptor, tail.torn)
                os.ftruncate(self.descriptor, tail.size)
                os.fdatasync(self.descriptor)
            except OSError as error:
                raise disk_error(self.path, error) from error
            self._notify(f"{self.path}: a torn last line of {len(tail.torn)} bytes was moved to {aside}")
        return tail

    def _write(self, payload: bytes, size: int) -> None:
        try:
            written = os.write(self.descriptor, payload)
            if written != len(payload):
                raise OSError(errno.ENOSPC, f"only {written} of {len(payload)} bytes could be written")
            os.fdatasync(self.descriptor)
        except OSError as error:
            self._known = (-1, GENESIS)
            try:
                os.ftruncate(self.descriptor, size)
                os.fdatasync(self.descriptor)
            except OSError:
                # What is left is a torn line, which the next append moves aside.
                pass
            raise disk_error(self.path, error) from error


def make_folder(folder: Path) -> None:
    """Makes a folder and its parents, private (0700) and durable. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_safe(found: os.stat_result, path: Path) -> None:
    """Raises LedgerError unless this is a regular file of ours that nobody else may write.

    A second hard link is allowed: `rotate` makes one for an instant, and whoever can make links in
    the folder could as well replace the file.
    """
    if not stat.S_ISREG(found.st_mode):
        raise LedgerError(f"{path} is not a regular file", hint="name a file as the ledger")
    if found.st_uid != os.geteuid():
        raise LedgerError(
            f"{path} belongs to user {found.st_uid}, not to you ({os.geteuid()})",
            hint=f"name another ledger, or `chown {os.geteuid()} '{path}'`",
        )
    if found.st_mode & 0o022:
        raise LedgerError(
            f"others may write {path} (mode {stat.S_IMODE(found.st_mode):04o})",
            hint=f"check it with `meshclaw ledger verify`, then `chmod 600 '{path}'`",
        )


def disk_error(path: Path, error: OSError, verb: str = "write") -> LedgerError:
    """What the system refused, as an error that says what to do."""
    hint = _HINTS.get(error.errno or 0, "check the disk and the folder's owner")
    return LedgerError(f"cannot {verb} the ledger {path}: {error.strerror or error}", hint=hint)


def _lstat(name: str) -> os.stat_result | None:
    try:
        return os.lstat(name)
    except FileNotFoundError:
        return None


def _lock(descriptor: int, path: Path, deadline: float) -> None:
    wait = _FIRST_WAIT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            left = deadline - monotonic()
            if left <= 0:
                raise LedgerError(
                    f"another process holds the lock of {path} and did not give it back in time",
                    hint=f"`fuser -v '{path}'` shows which",
                ) from None
        sleep(min(wait, left))
        wait = min(wait * 2, _LONGEST_WAIT)


def _set_aside(path: Path, descriptor: int, torn: bytes) -> Path:
    """Keeps a torn line in a file of its own, durable; named by when the ledger was last written."""
    written = datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC)
    number = 1
    while True:
        aside = path.with_name(f"{path.stem}.torn-{written:%Y%m%dT%H%M%SZ}-{number}")
        try:
            copy = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            number += 1
            continue
        try:
            if os.write(copy, torn) != len(torn):
                raise OSError(errno.ENOSPC, "the torn last line cannot be set aside")
            os.fsync(copy)
        except OSError:
            aside.unlink()
            raise
        finally:
            os.close(copy)
        sync_folder(path.parent)
        return aside
