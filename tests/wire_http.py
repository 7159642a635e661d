"""As much of HTTP/1.1 as `wire_server` needs, on raw streams."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request as it arrived; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    raw: bytes


async def read_request(reader: asyncio.StreamReader) -> Recorded | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return Recorded(method, path.split("?")[0], headers, json.loads(raw) if raw else None, raw)


async def send(
    writer: asyncio.StreamWriter, status: int, body: Any, headers: Mapping[str, str] | None = None
) -> bool:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    given = {"content-type": "application/json", **(headers or {})}
    lines = [f"HTTP/1.1 {status} Scripted", f"content-length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in given.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
    await writer.drain()
    return True


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def begin_stream(writer: asyncio.StreamWriter, content_type: str = "text/event-stream") -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head.encode())


async def stream(writer: asyncio.StreamWriter, events: Iterable[bytes], pace: float = 0.0) -> bool:
    begin_stream(writer)
    for event in events:
        if event:
            writer.write(chunk(event))
        if pace:
            await writer.drain()
            await asyncio.sleep(pace)
    writer.write(chunk(b""))
    await writer.drain()
    return True


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes with RST instead of FIN: the peer sees "connection reset"."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
