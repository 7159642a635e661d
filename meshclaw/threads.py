"""Blocking calls in threads, for what every Step does: a file read, a transcript synced.

As `anyio.to_thread.run_sync`, which all else uses. But a call is handed over by one queue in C, and results
that come while the loop is busy are handed back together: with hundreds of runs in one process that takes a
fraction of the CPU (benchmarks/thread_calls.py).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar, TypeVarTuple

from anyio import CancelScope
from anyio.lowlevel import checkpoint_if_cancelled

from meshclaw.frozen import dataclass

IDLE = 1.0
"""Seconds after which a thread that has nothing to do ends."""
MOST = 40
"""Threads in which tools read and write; as many as anyio has."""

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Threads:
    """At most `most` threads: begun when they are needed, ended after `idle` seconds without a call.

    They are daemons, so that none keeps the process. For the asyncio loop that `anyio.run` uses; of several
    loops each gets its own results.
    """

    def __init__(self, most: int, *, idle: float = IDLE) -> None:
        self._most = most
        self._idle = idle
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._guard = Lock()
        self._results: dict[asyncio.AbstractEventLoop, list[_Result]] = {}
        """What each loop is about to be told."""
        self._count = 0
        self._free = 0
        """Threads that wait, less calls that wait for one."""

    async def run(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments, abandon: bool = False
    ) -> Result:
        """What `function` gives or raises. It must not raise StopIteration.

        Who is cancelled goes on when the function has ended; with `abandon` at once, and it runs on unseen.
        Raises RuntimeError when not a single thread can be started.
        """
        await checkpoint_if_cancelled()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        self._hand_over(_Call(function, arguments, loop, done))
        if not abandon:
            with CancelScope(shield=True):
                await done
        return await done

    def _hand_over(self, call: _Call) -> None:
        if self._process != os.getpid():
            self._begin()  # A forked process has none of the threads.
        with self._guard:
            if self._free <= 0 and self._count < self._most:
                self._add()
            self._free -= 1
        self._calls.put(call)

    def _add(self) -> None:
        try:
            Thread(target=self._work, name="meshclaw call", daemon=True).start()
        except RuntimeError:
            if self._count == 0:
                raise
            return  # There are too many already, but ours will come to it.
        self._count += 1
        self._free += 1

    def _work(self) -> None:
        while True:
            try:
                call = self._calls.get(timeout=self._idle)
            except Empty:
                with self._guard:
                    if self._free <= 0:
                        continue  # A call is on its way to this thread.
                    self._free -= 1
                    self._count -= 1
                    return
            self._tell(call.loop, call.made())
            del call

    def _tell(self, loop: asyncio.AbstractEventLoop, result: _Result) -> None:
        with self._guard:
            self._free += 1
            if loop in self._results:
                self._results[loop].append(result)
                return
            self._results[loop] = [result]
        try:
            loop.call_soon_threadsafe(self._settle, loop)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            with self._guard:
                self._results.pop(loop, None)

    def _settle(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._guard:
            results = self._results.pop(loop)
        for done, value, error in results:
            if done.done():
                continue
            if error is None:
                done.set_result(value)
            else:
                done.set_exception(error)


_Result = tuple["asyncio.Future[Any]", Any, BaseException | None]
"""Who waits for a call, what it gave, and what it raised."""


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """A call under way, and who waits for it where."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]

    def made(self) -> _Result:
        try:
            return self.done, self.function(*self.arguments), None
        except BaseException as error:
            return self.done, None, error


_threads = Threads(MOST)
in_thread = _threads.run
"""As `Threads.run`, in the process' own threads."""
