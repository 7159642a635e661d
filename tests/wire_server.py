"""A real HTTP server on loopback that plays a model provider, in three wire formats, and misbehaves.

It speaks Anthropic's Messages (`POST .../messages`), OpenAI's Responses (`POST .../responses`) and Chat
Completions (`POST .../chat/completions`), streamed or not as the request asks, and `GET .../models`.
It runs in a thread of its own, so it serves tests of any kind, whole command lines included::

    with WireServer() as server:
        server.script(
            Turn(tool_calls=[("read", {"path": "a.txt"})]),      # the first call gets this
            Failure(429, headers={"retry-after": "0"}),          # the second this, and so on
            Fault.RESET_DURING,
            Turn(text="done", usage={"input": 900, "cache_read": 800, "output": 20}),
        )
        environment = {"ANTHROPIC_BASE_URL": server.url, "OPENAI_BASE_URL": server.openai_url}
        ...
        assert server.requests[0].body["model"] == "claude-opus-5-5"

`usage` is in MeshClaw's own buckets (`input` is what was neither read from nor written to a cache) and is
put on each wire as that wire has it; None leaves it out, and `wire_usage` is sent as it is. A call beyond
the script's end is answered with HTTP 400. For benchmarks, give a function instead of a script:
`WireServer(responder=lambda recorded: Turn(text="hi", latency=0.5))`.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any

from wire_anthropic import Messages
from wire_http import Recorded, begin_stream, chunk, read_request, reset, send, stream
from wire_openai import Chat, Responses
from wire_turns import Format

__all__ = ["Failure", "Fault", "Recorded", "Reply", "Scripted", "Turn", "WireServer"]

FORMATS: dict[str, Format] = {
    "/messages": Messages(),
    "/responses": Responses(),
    "/chat/completions": Chat(),
}
DEFAULT_USAGE: Mapping[str, Any] = {"input": 100, "output": 10}


class Fault(StrEnum):
    """Ways to misbehave that are not a plain HTTP status."""

    RESET_BEFORE = "the connection is reset before any answer"
    RESET_DURING = "the connection is reset in mid-stream"
    CLOSE_BEFORE = "the connection is closed in good order before any answer"
    TRUNCATED = "the stream ends in good order, in the middle of the answer"
    PING_ONLY = "pings for ever, never any content"
    SILENT = "headers, then nothing"
    HANG = "no answer at all"
    HTML = "a web page, with status 200"
    GARBAGE = "events whose data is no JSON"
    NOT_AN_OBJECT = "events whose data is JSON of another shape"
    OVERLOADED_EVENT = "an error event in mid-stream: overloaded"
    EMPTY = "an empty body, with status 200"


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer. `tool_calls` are (name, arguments) pairs; arguments given as text are sent verbatim.

    `stop` is the wire's own word, chosen fittingly when None. `latency` is in seconds before the first
    byte, `pace` between chunks. `together` holds the answer back until so many turns wait at once.
    """

    text: str = ""
    tool_calls: Sequence[tuple[str, Mapping[str, Any] | str]] = ()
    thinking: str = ""
    refusal: str = ""
    usage: Mapping[str, Any] | None = field(default_factory=lambda: dict(DEFAULT_USAGE))
    wire_usage: Mapping[str, Any] | None = None
    stop: str | None = None
    latency: float = 0.0
    pace: float = 0.0
    together: int = 0
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An HTTP status other than success. `body` None gives a plain error in the wire's format."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    error_type: str = "error"
    message: str = "the scripted failure"


Reply = Turn | Failure | Fault
Scripted = Reply | Callable[[Recorded], Reply]


class WireServer:
    """See the module's docstring. `models` are the ids that `GET .../models` lists.

    `requests` holds what arrived, `connections` how many were opened, `most_at_once` how many turns were
    in the making at the same time. `ignore_stream` answers in one piece whatever is asked.
    """

    def __init__(
        self,
        responder: Callable[[Recorded], Reply] | None = None,
        *,
        models: Sequence[str] = ("toy-model",),
        host: str = "127.0.0.1",
    ) -> None:
        self.requests: list[Recorded] = []
        self.connections = 0
        self.most_at_once = 0
        self.ignore_stream = False
        self._at_once = 0
        self._script: deque[Scripted] = deque()
        self._responder = responder
        self._models = models
        self._answered = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="wire-server", daemon=True)
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = socket.create_server((host, 0), backlog=512)
        self.host = host
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    def script(self, *turns: Scripted) -> None:
        """Appends answers for the calls to come."""
        self._script.extend(turns)

    def __enter__(self) -> WireServer:
        self._thread.start()
        self._ready.wait()
        return self

    def close(self) -> None:
        """Frees the port of a server that was never started: nobody listens there any more."""
        self._listener.close()
        self._loop.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, sock=self._listener))
        self._loop.call_soon(self._ready.set)
        try:
            self._loop.run_forever()
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while (request := await read_request(reader)) is not None:
                self.requests.append(request)
                if not await self._answer(request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the peer has gone, or the server stops
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, request: Recorded, writer: asyncio.StreamWriter) -> bool:
        """True when the connection can be used again."""
        if request.method == "GET":
            return await send(writer, 200, {"object": "list", "data": [{"id": id} for id in self._models]})
        wire = next((wire for suffix, wire in FORMATS.items() if request.path.endswith(suffix)), None)
        if wire is None:
            return await send(writer, 404, {"error": {"message": f"no such path: {request.path}"}})
        reply = self._next(request)
        if isinstance(reply, Failure):
            body = reply.body or wire.error(reply.error_type, reply.message)
            return await send(writer, reply.status, body, reply.headers)
        if isinstance(reply, Fault):
            return await _misbehave(reply, wire, writer)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(reply.latency)
        while self.most_at_once < reply.together:
            await asyncio.sleep(0.01)
        self._at_once -= 1
        self._answered += 1
        events = wire.events(reply, self._answered, request.body)
        if self.ignore_stream or not request.body.get("stream"):
            return await send(writer, 200, wire.whole(events))
        return await stream(writer, [*map(wire.encode, events), wire.last], reply.pace)

    def _next(self, request: Recorded) -> Reply:
        if self._responder is not None:
            return self._responder(request)
        if not self._script:
            return Failure(400, message=f"the script has {self._answered} answers, no more")
        scripted = self._script.popleft()
        return scripted(request) if callable(scripted) else scripted


async def _misbehave(fault: Fault, wire: Format, writer: asyncio.StreamWriter) -> bool:
    beginning = [wire.encode(event) for event in wire.events(Turn(text="half an ans"), 0, {})][: wire.half]
    match fault:
        case Fault.RESET_BEFORE:
            reset(writer)
        case Fault.CLOSE_BEFORE:
            pass
        case Fault.HANG:
            await asyncio.sleep(3600)
        case Fault.HTML:
            page = "<html><body>Please log in</body></html>\n"
            return await send(writer, 200, page, {"content-type": "text/html"})
        case Fault.EMPTY:
            return await send(writer, 200, "", {"content-type": "text/event-stream"})
        case Fault.TRUNCATED:
            return await stream(writer, beginning)
        case Fault.GARBAGE:
            return await stream(writer, [*beginning, b"data: {not json\n\n"])
        case Fault.NOT_AN_OBJECT:
            return await stream(writer, [*beginning, b"data: [1, 2]\n\n"])
        case Fault.OVERLOADED_EVENT:
            return await stream(writer, [*beginning, wire.encode(wire.overloaded())])
        case Fault.RESET_DURING | Fault.SILENT | Fault.PING_ONLY:
            begin_stream(writer)
            if fault is Fault.RESET_DURING:
                writer.writelines(chunk(event) for event in beginning)
                await writer.drain()
                await asyncio.sleep(0.05)
                reset(writer)
            while not writer.is_closing():
                if fault is Fault.PING_ONLY:
                    writer.write(chunk(wire.ping()))
                await writer.drain()
                await asyncio.sleep(0.02)
    return False
