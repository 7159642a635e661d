"""The ledger on disk, as the rest of the program uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from anyio import CancelScope, to_thread

from meshclaw.errors import LedgerError, Problem
from meshclaw.frozen import dataclass
from meshclaw.ledger.codec import GENESIS, broken_chain, decode, encode, follows, problem_of
from meshclaw.ledger.disk import DiskFile, disk_error
from meshclaw.ledger.entry import Entry
from meshclaw.ledger.free_text import redacted
from meshclaw.ledger.tail import read_lines

IDLE = 0.1
"""Seconds after which a writer thread that has nothing to do ends."""
MAX_GROUP = 1024 * 1024
"""The most bytes of bodies that one write groups, but for a larger single append."""

UNFINISHED = "the last line is not whole: it is being written, or was torn (the next append moves it aside)"


class FileLedger:
    """A Ledger in one file, safe for many processes and many tasks at once.

    One thread writes: what waits becomes one write and one sync (group commit). It is started by
    the first append and ends when idle; no daemon, so that what was handed over is written even if
    the process ends. Use one FileLedger for a path in a process. For the asyncio loop that
    `anyio.run` uses. `lock_timeout` is in seconds; `notify` is told from the thread, in a sentence,
    when a torn last line was healed. `redact` takes secrets out of plain data, before it is kept.
    """

    def __init__(
        self,
        path: Path,
        *,
        lock_timeout: float = 30.0,
        notify: Callable[[str], None] | None = None,
        redact: Callable[[Any], Any] | None = None,
    ) -> None:
        self.path = path
        self._redact = redact
        self._file = DiskFile(path, lock_timeout=lock_timeout, notify=notify or (lambda text: None))
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._guard = Lock()
        self._thread: Thread | None = None

    async def append(self, *entries: Entry) -> None:
        """Durable, in order and together when it returns. Raises LedgerError; then nothing was kept.

        Cancelling the wait does not take back the write.
        """
        loop = asyncio.get_running_loop()
        if self._redact is not None:
            entries = tuple(redacted(entry, self._redact) for entry in entries)
        waiting = _Waiting([encode(entry) for entry in entries], loop, loop.create_future())
        with self._guard:
            if self._thread is None:
                self._thread = self._started()
            self._queue.put(waiting)
        await waiting.done

    async def check_tail(self) -> None:
        """Raises LedgerError unless an append would work now: the file safe, its last line in order.

        Makes the file if there is none and heals a torn last line, as an append would.
        """
        await self.append()

    def read(self, since: int = 0) -> Iterator[Entry | Problem]:
        """The entries of this file (not of rotated ones) from byte offset `since` on.

        Checks no hashes: `chain.verify` does. Takes no lock. A line that cannot be understood comes
        as a Problem, and so does a last line that is not whole. Raises LedgerError when the file is
        there and cannot be read.
        """
        return read_entries(self.path, since)

    async def aclose(self) -> None:
        """Waits for what was handed over, ends the thread and lets go of the file."""
        with self._guard:
            thread = self._thread
            self._queue.put(None)
        with CancelScope(shield=True):
            if thread is not None:
                await to_thread.run_sync(thread.join)
        self._file.close()

    async def __aenter__(self) -> FileLedger:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _started(self) -> Thread:
        thread = Thread(target=self._work, name=f"ledger {self.path}")
        try:
            thread.start()
        except RuntimeError as error:
            raise LedgerError(f"cannot write the ledger {self.path}: {error}") from error
        return thread

    def _work(self) -> None:
        while True:
            try:
                first = self._queue.get(timeout=IDLE)
            except Empty:
                first = None
            if first is not None:
                self._commit(first)
                continue
            with self._guard:
                if self._queue.empty():
                    self._thread = None
                    return

    def _commit(self, first: _Waiting) -> None:
        group, error = [first], None
        try:
            size = self._file.lock()
            try:
                group += self._others(len(first))
                self._file.append(size, [body for waiting in group for body in waiting.bodies])
            finally:
                self._file.unlock()
        except LedgerError as failure:
            error = failure
        except Exception as failure:
            # Whatever it was, nobody may be left waiting for this thread.
            error = LedgerError(f"cannot write the ledger {self.path}: {failure!r}")
        if error is not None:
            group += self._others(len(first))
        _deliver(group, error)

    def _others(self, size: int) -> list[_Waiting]:
        others: list[_Waiting] = []
        while size < MAX_GROUP and not self._queue.empty():
            # Only this thread takes from the queue, so what is there stays there.
            waiting = self._queue.get_nowait()
            if waiting is not None:
                others.append(waiting)
                size += len(waiting)
        return others


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """One append under way: the lines' bodies, and where to say that they are on disk."""

    bodies: Sequence[bytes]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]

    def __len__(self) -> int:
        return sum(map(len, self.bodies))


def read_entries(path: Path, since: int = 0, *, check: bool = False) -> Iterator[Entry | Problem]:
    """What `FileLedger.read` gives, for any ledger file.

    With `check`, which begins at the first line, the chain is followed up to its first break, which comes
    as a BrokenChain before that line's entry.
    """
    number = 0
    digest = GENESIS if check and since == 0 else None
    try:
        for offset, line in read_lines(path, since):
            number = number + 1 if number else _line_number(path, offset)
            if not line.endswith(b"\n"):
                yield Problem(str(path), number, 1, UNFINISHED)
                return
            if digest is not None:
                digest = follows(line, digest)
                if digest is None:
                    yield broken_chain(line, str(path), number)
            entry = decode(line)
            if isinstance(entry, str):
                yield problem_of(entry, str(path), number)
            elif entry is not None:
                yield entry
    except OSError as error:
        raise disk_error(path, error, "read") from error


def _line_number(path: Path, offset: int) -> int:
    if offset == 0:
        return 1
    with path.open("rb") as file:
        return 1 + file.read(offset).count(b"\n")


def _deliver(group: Sequence[_Waiting], error: LedgerError | None) -> None:
    for loop, members in groupby(group, key=lambda waiting: waiting.loop):
        futures = [waiting.done for waiting in members]
        try:
            loop.call_soon_threadsafe(_settle, futures, error)
        except RuntimeError:
            # The loop is closed: nobody waits any more, and the lines are written all the same.
            continue


def _settle(futures: Sequence[asyncio.Future[None]], error: LedgerError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(LedgerError(error.message, hint=error.hint))
