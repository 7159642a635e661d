"""What the proxy says and hears in HTTP. Written on h11, which refuses what programs read differently."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import h11
from anyio.abc import ByteStream

from meshclaw.sandbox.proxy_streams import CHUNK

HEAD_BYTES = 64 * 2**10

_OF_THE_HOP = frozenset(
    {
        b"connection",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
    }
)
"""Headers for the next program only (RFC 9110, 7.6.1), and Host, which the URL decides."""

Headers = list[tuple[bytes, bytes]]


class ExchangeError(Exception):
    """What was said is not what can be passed on; the text says why."""


class Client:
    """A command that asks the proxy for something."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)

    async def request(self) -> h11.Request:
        """Raises ExchangeError, h11.RemoteProtocolError, and what the stream raises."""
        request = await self.event()
        if not isinstance(request, h11.Request):
            raise ExchangeError("the request was broken off")
        if request.method == b"CONNECT" and not isinstance(await self.event(), h11.EndOfMessage):
            raise ExchangeError("CONNECT has no body")
        return request

    async def event(self) -> object:
        """What comes next of the request."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await _receive(self.stream))
        return event

    async def send(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            await self.stream.send(data)

    async def opened(self) -> bytes:
        """Says that the tunnel is open; returns what the client has sent for it already."""
        await self.send(h11.Response(status_code=200, headers=[], reason=b"Connection established"))
        return self._http.trailing_data[0]

    async def refuse(self, status: int, reason: str) -> None:
        """Says why not, unless nothing can be said any more."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = f"meshclaw: {reason}\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        head = h11.Response(status_code=status, headers=[*headers, ("Connection", "close")])
        data = self._http.send(head) or b""
        data += self._http.send(h11.Data(data=body)) or b""
        with anyio.move_on_after(5):
            await self.stream.send(data)


async def forward(client: Client, request: h11.Request, host: str, path: str, upstream: ByteStream) -> None:
    """Asks the server in the client's place, once, and gives the client its answer.

    Raises what the streams raise. What of the answer is not proper HTTP is not passed on.
    """
    server = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    headers = [(b"Host", host.encode()), *_passed_on(request.headers), (b"Connection", b"close")]
    asked = h11.Request(method=request.method, target=path, headers=headers)
    await upstream.send(server.send(asked) or b"")
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_send_body, client, server, upstream)
            await _give_answer(client, server, upstream)
            group.cancel_scope.cancel()
    except* (h11.ProtocolError, ExchangeError) as errors:
        await client.refuse(502, f"the answer is not proper HTTP ({errors.exceptions[0]})")


async def _send_body(client: Client, server: h11.Connection, upstream: ByteStream) -> None:
    """The request's body. A client that breaks off ends it: the server will notice."""
    while isinstance(event := await client.event(), h11.Data | h11.EndOfMessage):
        if isinstance(event, h11.EndOfMessage):
            await upstream.send(server.send(h11.EndOfMessage()) or b"")
            return
        await upstream.send(server.send(event) or b"")
    raise ExchangeError("the request was broken off")


async def _give_answer(client: Client, server: h11.Connection, upstream: ByteStream) -> None:
    while True:
        event = server.next_event()
        if event is h11.NEED_DATA:
            server.receive_data(await _receive(upstream))
        elif isinstance(event, h11.Response):
            headers = [*_passed_on(event.headers), (b"Connection", b"close")]
            await client.send(
                h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
            )
        elif isinstance(event, h11.Data):
            await client.send(h11.Data(data=event.data))
        elif isinstance(event, h11.EndOfMessage):
            await client.send(h11.EndOfMessage())
            return
        elif not isinstance(event, h11.InformationalResponse):
            raise ExchangeError("it was broken off")


def _passed_on(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Without those for the hop, those that Connection names, and a length beside chunks."""
    found = list(headers)
    named = {
        name.strip().lower() for key, value in found if key == b"connection" for name in value.split(b",")
    }
    chunked = any(key == b"transfer-encoding" for key, _ in found)
    dropped = _OF_THE_HOP | named | ({b"content-length"} if chunked else set())
    return [(key, value) for key, value in found if key not in dropped]


async def _receive(stream: ByteStream) -> bytes:
    try:
        return await stream.receive(CHUNK)
    except anyio.EndOfStream:
        return b""
