"""A download that grows in a file, never past its size, and can be taken up again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from meshclaw.errors import WorkError


class PullError(WorkError):
    """A model's file could not be fetched; what was received is kept unless the message says otherwise."""


class Partial:
    """The first `have` bytes of a file of `size` bytes. `watch` is told of `have` and may raise to stop."""

    def __init__(self, path: Path, size: int, watch: Callable[[int], None]) -> None:
        self.path = path
        self.size = size
        self._watch = watch

    def __enter__(self) -> Self:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        self.have = self._file.seek(0, os.SEEK_END)
        if self.have > self.size:
            self.rewind(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not self.have:
            # Nothing to go on from: it would only be listed as a download that was begun.
            self.path.unlink(missing_ok=True)

    @property
    def complete(self) -> bool:
        return self.have == self.size

    def write(self, chunk: bytes) -> None:
        """Appends. Raises PullError, and deletes the file, when there is more than there can be."""
        if self.have + len(chunk) > self.size:
            self.path.unlink(missing_ok=True)
            raise PullError(
                f"the source sent more than the {self.size} bytes expected; what was received was deleted",
                hint="pull from another source (--from FILE, --mirror, the hub)",
            )
        view = memoryview(chunk)
        while view:
            written = self._file.write(view)
            self.have += written
            view = view[written:]
        self._watch(self.have)

    def alive(self) -> None:
        """Gives `watch` its chance to stop a wait in which no bytes arrive."""
        self._watch(self.have)

    def rewind(self, to: int) -> None:
        """Forgets everything after the first `to` bytes."""
        self._file.truncate(to)
        self.have = self._file.seek(to)

    def sync(self) -> None:
        """Makes what was written durable."""
        os.fsync(self._file.fileno())
