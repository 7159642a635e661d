"""A sandbox's proxy without the sandbox: its listener is on the machine's own loopback."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio.abc import SocketListener
from fetch_calls import PUBLIC, Names

from meshclaw.sandbox.proxy import Bounds, Internet, Proxy


def internet(names: Names | None = None) -> Internet:
    """Names that lead to loopback addresses, of which one stands for the public ones."""
    return Internet(names or Names(), lambda address: address == PUBLIC)


@dataclass
class Asked:
    """What came back. `said` is all of it, `status` the first line's number (0: nothing came)."""

    said: bytes

    @property
    def status(self) -> int:
        return int(self.said.split(b" ", 2)[1]) if self.said else 0


@dataclass
class Door:
    """A running proxy; `ask` says something to it on a connection of its own, and hears it to the end."""

    proxy: Proxy
    port: int

    @property
    def refused(self) -> list[str]:
        return [one.host for one in self.proxy.refused]

    async def ask(self, *said: str | bytes) -> Asked:
        heard = bytearray()
        with anyio.fail_after(30):
            async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
                try:
                    for one in said:
                        await stream.send(one.encode("latin-1") if isinstance(one, str) else one)
                    async for data in stream:
                        heard += data
                except anyio.BrokenResourceError:
                    pass  # It was closed while something was still under way.
        return Asked(bytes(heard))

    async def get(self, url: str, *headers: str) -> Asked:
        lines = "".join(f"{header}\r\n" for header in headers)
        return await self.ask(f"GET {url} HTTP/1.1\r\nHost: whatever\r\n{lines}\r\n")

    async def tunnel(self, authority: str, path: str = "/") -> Asked:
        """GET through a tunnel. The request goes along at once, as impatient clients do it."""
        head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"
        return await self.ask(head, f"GET {path} HTTP/1.1\r\nHost: in-the-tunnel\r\n\r\n")


@asynccontextmanager
async def door(
    *hosts: str, internet: Internet | None = None, bounds: Bounds | None = None
) -> AsyncIterator[Door]:
    proxy = Proxy(hosts, internet or Internet(Names(), lambda address: address == PUBLIC), bounds)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    async with anyio.create_task_group() as group:
        group.start_soon(proxy.serve, await SocketListener.from_socket(listening))
        yield Door(proxy, port)
        group.cancel_scope.cancel()
