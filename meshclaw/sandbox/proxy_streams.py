"""Passes bytes on in both directions for as long as any move."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import anyio
from anyio.abc import ByteStream

CHUNK = 64 * 2**10


class Busy:
    """Puts off the deadline of `scope` whenever a watched stream moves."""

    def __init__(self, scope: anyio.CancelScope, seconds: float) -> None:
        self._scope = scope
        self._seconds = seconds

    def note(self) -> None:
        self._scope.deadline = anyio.current_time() + self._seconds

    def watched(self, stream: ByteStream) -> ByteStream:
        return _Watched(stream, self)


class _Watched(ByteStream):
    """A stream that says when it moves."""

    def __init__(self, stream: ByteStream, busy: Busy) -> None:
        self._stream = stream
        self._busy = busy

    async def receive(self, max_bytes: int = CHUNK) -> bytes:
        data = await self._stream.receive(max_bytes)
        self._busy.note()
        return data

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)
        self._busy.note()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Any]:
        return self._stream.extra_attributes


async def tunnel(inside: ByteStream, outside: ByteStream, first: bytes) -> None:
    """Passes `first` and then everything on, until both sides have ended or one breaks off."""
    async with anyio.create_task_group() as group:

        async def pass_on(source: ByteStream, sink: ByteStream, data: bytes = b"") -> None:
            try:
                if data:
                    await sink.send(data)
                async for data in source:
                    await sink.send(data)
                with contextlib.suppress(OSError):
                    await sink.send_eof()
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                group.cancel_scope.cancel()

        group.start_soon(pass_on, inside, outside, first)
        group.start_soon(pass_on, outside, inside)
