"""Keeps this process's secrets to itself: from other processes of the account, and from the screen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from meshclaw.redaction import Redactor

_PR_SET_DUMPABLE = 4


def close_to_others() -> None:
    """Other processes of this account can read neither our environment nor our memory; no core is dumped.

    Linux only. Root reads both all the same; only a sandbox's own view of processes holds it off. What we
    start is as open as ever: `execve` resets it.
    """
    if sys.platform != "linux":
        return
    import ctypes
    import resource

    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _no_secrets() -> Redactor:
    from meshclaw.redaction import Redactor

    return Redactor()


_make: Callable[[], Redactor] = _no_secrets


def redactor_of(environment: Mapping[str, str]) -> Redactor:
    """What can be known to be secret before any settings are read."""
    from meshclaw.redaction import Redactor, secrets_in

    return Redactor(secrets_in(environment))


def protect(redactor: Callable[[], Redactor]) -> None:
    """From now on what is shown goes through this; it is asked for anew each time, and only then."""
    global _make
    _make = redactor


def redactor() -> Redactor:
    """What holds now."""
    return _make()


class GuardedStream:
    """A text stream that no known secret gets into, whoever writes: warnings, threads and SDKs do too."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redactor().known(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_errors() -> None:
    """Standard error becomes a GuardedStream."""
    if sys.stderr is not None:
        sys.stderr = cast(TextIO, GuardedStream(sys.stderr))
