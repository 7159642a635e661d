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

from anyio import CancelScope, current_effective_deadline
from anyio.lowlevel import checkpoint_if_cancelled

IDLE = 1.0
"""Seconds after which a thread that has nothing to do ends."""
MOST = 40
"""Threads in which tools read and write; as many as anyio has."""

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Threads:
    """At most `most` threads: begun when they are needed, ended after `idle` seconds without a call.

    Threads whose call was abandoned come on top. All are daemons, so that none keeps the process. For the
    asyncio loop that `anyio.run` uses; of several loops each gets its own results.
    """

    def __init__(self, most: int, *, idle: float = IDLE) -> None:
        self._most = most
        self._idle = idle
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._guard = Lock()
        self._ended: dict[asyncio.AbstractEventLoop, list[_Call]] = {}
        """What each loop is about to be told."""
        self._count = 0
        self._free = 0
        """Threads that wait, less calls that wait for one."""

    async def run(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments, abandon: bool = False
    ) -> Result:
        """What `function` gives or raises.

        When who waits is cancelled, a call that has not begun is withdrawn. One that has begun is waited
        for, and its result comes back; with `abandon` it goes on unseen. Raises RuntimeError when not a
        single thread can be started.
        """
        await checkpoint_if_cancelled()
        loop = asyncio.get_running_loop()
        call = _Call(function, arguments, loop)
        self._hand_over(call)
        try:
            await call.done
        except asyncio.CancelledError:
            if self._leave(call, abandon=abandon):
                raise
            with CancelScope(shield=True):
                await call.told_anew()
            if current_effective_deadline() > float("-inf"):
                raise  # It was not a scope's, which would say so again.
        if call.error is not None:
            raise call.error
        result: Result = call.value
        return result

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

    def _leave(self, call: _Call, *, abandon: bool) -> bool:
        """Whether nobody needs to wait for a call any more: it will not begin, or is abandoned."""
        with self._guard:
            if not call.begun:
                call.withdrawn = True
                return True
            if abandon and not call.ended:
                call.withdrawn = True
                self._count -= 1
            return abandon

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
            with self._guard:
                if call.withdrawn:
                    self._free += 1
                    continue
                call.begun = True
            call.make()
            if not self._go_on(call):
                return
            del call

    def _go_on(self, call: _Call) -> bool:
        """Tells the loop that a call has ended. False when it was abandoned: its thread counts no more."""
        with self._guard:
            call.ended = True
            if call.withdrawn:
                return False
            self._free += 1
            if call.loop in self._ended:
                self._ended[call.loop].append(call)
                return True
            self._ended[call.loop] = [call]
        try:
            call.loop.call_soon_threadsafe(self._tell, call.loop)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            with self._guard:
                self._ended.pop(call.loop, None)
        return True

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._guard:
            ended = self._ended.pop(loop)
        for call in ended:
            call.told = True
            if not call.done.done():
                call.done.set_result(None)


class _Call:
    """One call, and who waits for it.

    `withdrawn`, `begun` and `ended` are read and set under the guard, all else by the thread that makes the
    call and after it by the loop.
    """

    __slots__ = (
        "arguments",
        "begun",
        "done",
        "ended",
        "error",
        "function",
        "loop",
        "told",
        "value",
        "withdrawn",
    )

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.loop = loop
        self.done: asyncio.Future[None] = loop.create_future()
        self.withdrawn = self.begun = self.ended = self.told = False
        self.value: Any = None
        self.error: BaseException | None = None

    def make(self) -> None:
        try:
            self.value = self.function(*self.arguments)
        except BaseException as error:
            self.error = error

    async def told_anew(self) -> None:
        """Waits for the end after all: whoever is cancelled takes the first future along."""
        if not self.told:
            self.done = self.loop.create_future()
            await self.done


_threads = Threads(MOST)
in_thread = _threads.run
"""As `Threads.run`, in the process' own threads."""
