"""The embedded models' files in the user's cache; only a file whose digest was verified counts."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec

from meshclaw.errors import LockedError
from meshclaw.frozen import dataclass
from meshclaw.models.catalogue import CATALOGUE, LocalModel, find

CHUNK = 4 * 1024 * 1024
"""Bytes read, hashed or copied at a time; work can be cancelled between two chunks."""

State = Literal["ready", "partial", "damaged", "absent"]


class _Verified(msgspec.Struct, frozen=True):
    """The sidecar: which digest was computed for which state of the file."""

    sha256: str
    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class StoredModel:
    """`have` is how many bytes lie in the cache; `path` is set only when the file is `ready`."""

    model: LocalModel
    state: State
    have: int
    path: Path | None


def digest_of(path: Path, advance: Callable[[int], None] | None = None) -> str:
    """SHA-256 in hex of a file's bytes; `advance` is told of every chunk and may raise to stop."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            if advance is not None:
                advance(len(chunk))
    return digest.hexdigest()


class ModelStore:
    """Model files beneath one directory, which is created when something is first written to it.

    A digest is computed once and kept in a sidecar together with the file's size, modification time and
    inode; a file that has changed since is hashed again.
    """

    def __init__(self, directory: Path, catalogue: Sequence[LocalModel] = CATALOGUE) -> None:
        self.directory = directory
        self.catalogue = tuple(catalogue)

    @property
    def where(self) -> Path:
        return self.directory

    def find(self, name: str) -> LocalModel:
        """Raises ProblemsError for a name that is not in the catalogue."""
        return find(name, self.catalogue)

    def target(self, model: LocalModel) -> Path:
        """Where the complete file belongs."""
        return self.directory / model.file

    def partial(self, model: LocalModel) -> Path:
        """Where a download grows; whatever the source, it holds the first bytes of the same file."""
        return self.directory / f"{model.file}.partial"

    def path(self, name: str) -> Path | None:
        """The verified file, or None when it is absent or is not what the catalogue pins.

        Hashes the file (some seconds a gigabyte) only when it has no valid sidecar.
        """
        model = self.find(name)
        target = self.target(model)
        try:
            if target.stat().st_size != model.size:
                return None
            return target if self._digest(target) == model.sha256 else None
        except OSError:
            return None

    def list(self) -> tuple[StoredModel, ...]:
        """Every model of the catalogue and its state here."""
        found = []
        for model in self.catalogue:
            path = self.path(model.name)
            done, growing = _size(self.target(model)), _size(self.partial(model))
            state: State = "absent"
            if path is not None:
                state = "ready"
            elif done is not None:
                state = "damaged"
            elif growing is not None:
                state = "partial"
            found.append(StoredModel(model, state, done or growing or 0, path))
        return tuple(found)

    def remove(self, name: str) -> bool:
        """Deletes a model's file, its sidecar and any partial download; False when none was there.

        Raises LockedError while it is being pulled.
        """
        model = self.find(name)
        if not self.directory.is_dir():
            return False
        with self.lock(model):
            there = [p for p in (self.target(model), self.partial(model)) if p.exists()]
            for path in (*there, self._sidecar(self.target(model))):
                path.unlink(missing_ok=True)
        return bool(there)

    def admit(self, model: LocalModel, path: Path, digest: str) -> Path:
        """Moves a file whose digest was just computed to its place; it must be the pinned one."""
        if digest != model.sha256:
            raise ValueError(f"{path.name} has sha256 {digest}, not the pinned {model.sha256}")
        target = self.target(model)
        path.replace(target)
        self._remember(target, digest)
        return target

    @contextmanager
    def lock(self, model: LocalModel) -> Iterator[None]:
        """Only one process at a time writes to the cache. Raises LockedError at once when another does.

        The lock is on the directory itself, so that no lock file can be left behind.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedError(
                    f"another process is writing to {self.directory}; {model.name} was left alone",
                    hint="wait for it to end, then try again",
                ) from None
            yield
        finally:
            os.close(descriptor)

    def _sidecar(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.verified.json")

    def _digest(self, path: Path) -> str:
        stat = path.stat()
        with suppress(OSError, msgspec.DecodeError):
            known = msgspec.json.decode(self._sidecar(path).read_bytes(), type=_Verified)
            if (known.size, known.mtime_ns, known.inode) == (stat.st_size, stat.st_mtime_ns, stat.st_ino):
                return known.sha256
        digest = digest_of(path)
        self._remember(path, digest)
        return digest

    def _remember(self, path: Path, digest: str) -> None:
        """Writes the sidecar; a cache that cannot be written costs a hash at each start, nothing else."""
        stat = path.stat()
        record = _Verified(digest, stat.st_size, stat.st_mtime_ns, stat.st_ino)
        sidecar = self._sidecar(path)
        fresh = sidecar.with_name(f"{sidecar.name}.{os.getpid()}.new")
        with suppress(OSError):
            fresh.write_bytes(msgspec.json.encode(record))
            fresh.replace(sidecar)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
