"""Which projects the user trusts, and with what: the digests of what each could make happen.

One JSON file of the user's: `{"version": 1, "projects": {PATH: {NAME: {"sha256", "powers", "at"}}}}`.
PATH is the project's real path, so that a copy or a moved folder is another project. The digest decides;
the powers are kept to show what has changed since.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from meshclaw.errors import LockedError, PolicyError
from meshclaw.frozen import dataclass
from meshclaw.trust.powers import Untrusted, canonical, digest, visible

VERSION = 1
MAX_BYTES = 64 * 1024 * 1024
_WAIT = 0.02


@dataclass(frozen=True, slots=True)
class Trusted:
    """One line of the store. `at` is an ISO 8601 time."""

    project: Path
    name: str
    sha256: str
    at: str


class StoreError(PolicyError):
    """The store cannot be believed or written: it is not safely the user's, or not what it should be."""


class UntrustedError(PolicyError):
    """A project's files would have to be trusted first: `items` says which, and with what.

    `unusable` says why the store itself cannot be believed; nobody needs to be asked then.
    """

    def __init__(self, items: Sequence[Untrusted], unusable: StoreError | None = None) -> None:
        named = ", ".join(
            f"{visible(one.name)} (changed since)" if one.before is not None else visible(one.name)
            for one in items
        )
        if unusable is not None:
            super().__init__(f"not trusted: {named}: {unusable.message}", hint=unusable.hint)
        else:
            super().__init__(
                f"not trusted: {named}", hint="`meshclaw trust` shows what that could do, and trusts it"
            )
        self.items = tuple(items)
        self.unusable = unusable


class TrustStore:
    """The store at `path`. `lock_timeout`: seconds to wait for another process that writes it.

    `redact` takes secrets out of the powers that are kept to be shown; digests are of what was trusted.
    """

    def __init__(
        self,
        path: Path,
        *,
        lock_timeout: float = 10.0,
        redact: Callable[[Any], Any] = lambda powers: powers,
    ) -> None:
        self.path = path
        self._redact = redact
        self._lock_timeout = lock_timeout

    def missing(self, project: Path, powers: Mapping[str, Any]) -> list[Untrusted]:
        """Which of `powers` (by name, each JSON-able) are not trusted as they are.

        Raises UntrustedError for all of them when the store cannot be believed.
        """
        plain = {name: json.loads(canonical(value)) for name, value in powers.items()}
        if not plain:
            return []
        try:
            known = self._read().get(_key(project), {})
        except StoreError as error:
            raise UntrustedError([Untrusted(*item) for item in plain.items()], error) from None
        return [
            Untrusted(name, value, known[name]["powers"] if name in known else None)
            for name, value in plain.items()
            if name not in known or known[name]["sha256"] != digest(value)
        ]

    def trust(self, project: Path, powers: Mapping[str, Any], now: datetime) -> None:
        """Trusts these powers from now on; what else is trusted in the project stays so.

        Raises StoreError, and LockedError when another process keeps the lock.
        """
        at = now.isoformat(timespec="seconds")
        with self._locked():
            projects = self._read()
            items = projects.setdefault(_key(project), {})
            for name, value in powers.items():
                items[name] = {"sha256": digest(value), "powers": self._redact(value), "at": at}
            self._write(projects)

    def revoke(self, project: Path) -> list[str]:
        """Trusts nothing of this project any more: returns the names that were. Raises as `trust` does."""
        with self._locked():
            projects = self._read()
            gone = projects.pop(_key(project), {})
            if gone:
                self._write(projects)
        return sorted(gone)

    def entries(self) -> list[Trusted]:
        """All that is trusted, by project and name. Raises StoreError."""
        return [
            Trusted(Path(project), name, item["sha256"], item["at"])
            for project, items in sorted(self._read().items())
            for name, item in sorted(items.items())
        ]

    def _read(self) -> dict[str, dict[str, Any]]:
        descriptor = -1
        try:
            self._check_folder()
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            self._check(os.fstat(descriptor), self.path)
            with open(descriptor, "rb", closefd=False) as file:
                return self._decoded(file.read(MAX_BYTES + 1))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise self._failed("read", error) from None
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _decoded(self, data: bytes) -> dict[str, dict[str, Any]]:
        try:
            found: Any = json.loads(data) if len(data) <= MAX_BYTES else None
        except (ValueError, RecursionError):
            found = None
        if not _is_store(found):
            raise StoreError(
                f"{self.path} is no trust store of this version",
                hint=f"move it away (`mv '{self.path}' '{self.path}.old'`); then trust what you need again",
            )
        projects: dict[str, dict[str, Any]] = found["projects"]
        return projects

    def _write(self, projects: Mapping[str, Any]) -> None:
        text = json.dumps({"version": VERSION, "projects": projects}, indent=1, sort_keys=True) + "\n"
        draft = self.path.with_name(f".{self.path.name}.new")
        try:
            draft.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(draft, flags, 0o600), "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise self._failed("written", error) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """A file of its own is locked: the store itself is replaced, and a lock on it would go with it."""
        path = self.path.with_name(f"{self.path.name}.lock")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_folder()
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise self._failed("written", error) from None
        try:
            self._check(os.fstat(descriptor), path)
            self._wait_for(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _wait_for(self, descriptor: int) -> None:
        deadline = monotonic() + self._lock_timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                left = deadline - monotonic()
            if left <= 0:
                hint = f"`fuser -v '{self.path}.lock'` shows which"
                raise LockedError(f"another process holds the lock of {self.path}", hint=hint)
            sleep(min(_WAIT, left))

    def _check_folder(self) -> None:
        """In a folder that everybody may write, everybody can put another file in the store's place."""
        mode = self.path.parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise StoreError(
                f"everybody may write the folder {self.path.parent}",
                hint=f"check what is in it, then `chmod o-w '{self.path.parent}'`",
            )

    def _check(self, found: os.stat_result, path: Path) -> None:
        """Raises StoreError unless this is a regular file of ours that nobody else may write."""
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"{path} is not a regular file", hint="move it away")
        if found.st_uid != os.geteuid():
            raise StoreError(
                f"{path} belongs to user {found.st_uid}, not to you ({os.geteuid()})",
                hint="move it away; then trust what you need again",
            )
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise StoreError(
                f"others may write {path} (mode {stat.S_IMODE(found.st_mode):04o})",
                hint=f"`chmod 600 '{path}'`, then look at what `meshclaw trust --list` says",
            )

    def _failed(self, what: str, error: OSError) -> StoreError:
        if error.errno == errno.ELOOP:
            return StoreError(
                f"{self.path} is a symlink, which is refused", hint="put the file itself there"
            )
        return StoreError(
            f"{self.path} cannot be {what}: {error.strerror}", hint="check the folder's owner and the disk"
        )


def _key(project: Path) -> str:
    return os.path.realpath(project)


def _is_store(found: Any) -> bool:
    if not isinstance(found, dict) or found.get("version") != VERSION:
        return False
    projects = found.get("projects")
    return isinstance(projects, dict) and all(
        isinstance(items, dict) and all(map(_is_item, items.values())) for items in projects.values()
    )


def _is_item(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and isinstance(item.get("sha256"), str)
        and isinstance(item.get("at"), str)
        and "powers" in item
    )
