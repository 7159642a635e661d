"""Ctrl-C and kill during a run: once ends it cleanly, twice at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import anyio

from meshclaw.errors import ExitCode

T = TypeVar("T")

CODES = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.TERMINATED,
}


@contextmanager
def stopping(stop: Callable[[ExitCode], None], leave: Callable[[], None]) -> Iterator[None]:
    """While inside, the first signal calls `stop` in the event loop; the second calls `leave` and exits.

    The handlers are Python's, not the loop's: the second signal works even while something blocks the
    loop. A signal that whoever started us ignores (nohup, a background job) stays ignored.
    """
    loop = asyncio.get_running_loop()
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        code = CODES[signal.Signals(number)]
        if asked:
            leave()
            os._exit(int(code))
        asked = True
        loop.call_soon_threadsafe(stop, code)

    before: dict[signal.Signals, Any] = {}
    for number in CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def cancelled_by_signals(work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """`work` of these arguments. The first signal cancels it, so that all that it has started is ended, and
    SystemExit follows with the signal's code; the second leaves at once.

    Nothing is raised where the signal happens to strike: a command could be lost that was just being
    started.
    """
    codes: list[ExitCode] = []

    def stop(code: ExitCode) -> None:
        codes.append(code)
        scope.cancel()

    with anyio.CancelScope() as scope, stopping(stop, lambda: None):
        return await work(*arguments)
    raise SystemExit(int(codes[0]))


@contextmanager
def raising() -> Iterator[None]:
    """While inside, a signal raises SystemExit, and Ctrl-C KeyboardInterrupt, wherever it strikes.

    For what blocks the event loop and has started nothing: a question to a person.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        raise SystemExit(int(CODES[signal.Signals(number)]))

    before: dict[signal.Signals, Any] = {}
    for number in CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(
                number, signal.default_int_handler if number == signal.SIGINT else handle
            )
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
