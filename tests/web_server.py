"""A loopback HTTP server of raw bytes for `fetch`: it can answer anything, and tells what it was asked."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

Answer = bytes | Callable[[], AsyncIterator[bytes]]
"""All at once, or piece by piece for as long as the client listens."""


def answer(
    body: bytes = b"hello",
    content_type: str = "text/plain",
    status: str = "200 OK",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A well-formed answer."""
    given = {"Content-Type": content_type, "Content-Length": str(len(body)), **(headers or {})}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in given.items() if value)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(b"", status=status, headers={"Location": location, "Set-Cookie": "id=secret; Path=/"})


class WebServer:
    """`routes` maps request paths to answers; `asked` holds the requests' heads in order."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.routes: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.connections = 0
        self._host, self.port, self._tls = host, port, tls

    def url(self, path: str = "/", host: str = "page.example") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self._serving: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.asked.append(head)
            route = self.routes.get(head.split(" ")[1], answer(b"", status="404 Not Found"))
            if isinstance(route, bytes):
                writer.write(route)
                await writer.drain()
            else:
                async for piece in route():
                    writer.write(piece)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The client has left, or the test is over.
        finally:
            writer.transport.abort() if task.cancelled() else writer.close()
            self._serving.discard(task)


class Certificate:
    """A certificate for `name` that its own context trusts, made with the openssl program."""

    def __init__(self, folder: Path, name: str) -> None:
        key, self._path = folder / f"{name}.key", folder / f"{name}.pem"
        made = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}"
        files = ["-keyout", str(key), "-out", str(self._path), "-addext", f"subjectAltName=DNS:{name}"]
        subprocess.run(["openssl", *made.split(), *files], check=True, capture_output=True)
        self.names: list[str | None] = []
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(self._path, key)
        self.server.sni_callback = lambda connection, name, context: self.names.append(name)

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._path))
