"""One GET to addresses that were validated. Host, SNI and certificate are the name's, all of it is bounded.

Written on h11 alone: nothing here reads proxy variables, keeps cookies, follows redirects or looks up a
name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import h11
from anyio import EndOfStream, aclose_forcefully, to_thread
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from meshclaw import __version__
from meshclaw.addresses import connect
from meshclaw.frozen import dataclass

if TYPE_CHECKING:
    import ssl

HEADER_BYTES = 64 * 2**10
"""Of an answer before its body, answers in between (1xx) included."""
WIRE_BYTES = 2**20
"""Of an answer as it arrives."""
BODY_BYTES = 2 * 2**20
"""Of a body when it is unpacked."""
CHUNK = 16 * 2**10

ACCEPT = "text/html, application/xhtml+xml, text/*;q=0.9, application/json;q=0.9, application/xml;q=0.8"


class AnswerError(Exception):
    """The server's answer cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for. `host` as `normal_host` spells it; `path` is what stands in the request line."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """`host:port`, always with the port, as policies match it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        default = {"http": 80, "https": 443}[self.scheme]
        authority = self.authority.removesuffix(f":{default}") if self.port == default else self.authority
        return f"{self.scheme}://{authority}{self.path}"


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` in lower case, the first of each name. `body` is unpacked; empty unless `status` is 200."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes = b""


async def get(
    target: Target,
    addresses: Sequence[str],
    tls: Callable[[], ssl.SSLContext] | None = None,
    accepts: Callable[[str], bool] = lambda content_type: True,
) -> Answer:
    """Asks the first of `addresses` that can be connected to.

    The body is read only of a 200 whose content type `accepts` takes. `tls` makes the context that
    certificates are verified with (default: the system's authorities). Raises AnswerError for what breaks a
    bound or the protocol, OSError (`ssl.SSLError` among them) when there is no connection.
    """
    stream: ByteStream = await connect(addresses, target.port)
    try:
        if target.scheme == "https":
            context = await to_thread.run_sync(tls or _system_tls)
            stream = await TLSStream.wrap(
                stream, hostname=target.host, ssl_context=context, standard_compatible=False
            )
        exchange = _Exchange(stream)
        await exchange.ask(target)
        answer = await exchange.head()
        if answer.status != 200 or not accepts(answer.headers.get("content-type", "")):
            return answer
        body = await exchange.body(answer.headers.get("content-encoding", ""))
        return Answer(answer.status, answer.reason, answer.headers, body)
    finally:
        await aclose_forcefully(stream)


def _system_tls() -> ssl.SSLContext:
    import ssl

    return ssl.create_default_context()


class _Exchange:
    """A request and its answer, counting what arrives."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_BYTES)
        self._received = 0
        self._most = HEADER_BYTES

    async def ask(self, target: Target) -> None:
        host = target.url.partition("://")[2].removesuffix(target.path)
        headers = [
            ("Host", host),
            ("User-Agent", f"meshclaw/{__version__}"),
            ("Accept", ACCEPT),
            ("Accept-Encoding", "gzip, deflate"),
            ("Connection", "close"),
        ]
        request = h11.Request(method="GET", target=target.path, headers=headers)
        data = (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")
        await self._stream.send(data)

    async def head(self) -> Answer:
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                break
            if not isinstance(event, h11.InformationalResponse) or event.status_code == 101:
                raise AnswerError("the server broke off the answer")
        headers: dict[str, str] = {}
        for name, value in event.headers:
            headers.setdefault(name.decode("ascii"), value.decode("utf-8", "replace"))
        self._most = WIRE_BYTES
        return Answer(event.status_code, event.reason[:80].decode("utf-8", "replace"), headers)

    async def body(self, encoding: str) -> bytes:
        unpack = _unpacker(encoding)
        body = bytearray()
        while isinstance(event := await self._next(), h11.Data):
            body += unpack(bytes(event.data), BODY_BYTES + 1 - len(body))
            if len(body) > BODY_BYTES:
                raise AnswerError(f"the answer unpacks to more than {BODY_BYTES} bytes")
        unpack(b"", 0)
        return bytes(body)

    async def _next(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            try:
                event = self._http.next_event()
                if event is not h11.NEED_DATA:
                    return event  # type: ignore[return-value]
                self._http.receive_data(await self._receive())
            except h11.RemoteProtocolError as error:
                raise AnswerError(f"the answer is not proper HTTP ({error})") from error

    async def _receive(self) -> bytes:
        try:
            data = await self._stream.receive(CHUNK)
        except EndOfStream:
            return b""
        self._received += len(data)
        if self._received > self._most:
            what = "headers are" if self._most == HEADER_BYTES else "answer is"
            raise AnswerError(f"the {what} larger than {self._most} bytes")
        return data


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """Unpacks a body piece by piece, never more than it is told; b"" says that it has ended.

    Raises AnswerError.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return lambda data, most: data
        case "gzip" | "x-gzip":
            return _Inflate(zlib.MAX_WBITS | 16)
        case "deflate":
            return _Inflate(None)
        case other:
            raise AnswerError(f"the answer is packed as {other[:40]!r}, which was not asked for")


class _Inflate:
    """`bits` as zlib takes them; None for `deflate`, which servers send with and without zlib's header."""

    def __init__(self, bits: int | None) -> None:
        self._bits = bits
        self._inner: Any = None

    def __call__(self, data: bytes, most: int) -> bytes:
        if self._inner is None and data:
            bits = self._bits
            if bits is None:
                bits = zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS
            self._inner = zlib.decompressobj(bits)
        if self._inner is None:
            return b""
        if not data:
            if not self._inner.eof:
                raise AnswerError("the packed answer ends too early")
            return b""
        try:
            unpacked: bytes = self._inner.decompress(data, most)
        except zlib.error as error:
            raise AnswerError("the packed answer is broken") from error
        if self._inner.unused_data:
            raise AnswerError("something follows the packed answer")
        return unpacked
