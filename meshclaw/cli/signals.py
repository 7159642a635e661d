"""Ctrl-C and kill during a run: once ends it cleanly, twice at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from meshclaw.errors import ExitCode

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
