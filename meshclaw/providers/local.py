"""The embedded model, in this process, through llama.cpp (`xllamacpp`)."""

from __future__ import annotations

import os
import platform
import secrets
import threading
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread

from meshclaw.errors import FailureKind, ProviderError
from meshclaw.frozen import dataclass
from meshclaw.messages import Message, Request, Response, StopReason, Text, ToolCall
from meshclaw.providers.base import Sink
from meshclaw.providers.local_template import read_turn, render
from meshclaw.providers.local_turn import turn_schema
from meshclaw.usage import UNKNOWN, Usage, UsageSource

BATCH = 128
"""Prompt tokens decoded at a time: between two batches a call can be cancelled (about two seconds)."""

MOST_THREADS = 16
"""More threads than this do not make so small a model faster."""


class LocalProvider:
    """One model, loaded on first use (or by `preload`), one completion at a time.

    Keep one instance per file and process: each holds the weights in memory. Decoding is greedy, with a
    fixed seed: the same request without tools gives the same bytes. With tools, a prefix that is the same
    as in the call before is taken from the runtime's cache, which saves most of an agent's time; how much
    of a prompt was cached can tip a close choice, so there the bytes may differ. Every decoded batch
    counts as progress, so that `stall_timeout` never fires while the machine works.
    """

    overhead_tokens = 64
    free = True
    nudge = True

    def __init__(
        self, weights: Path, *, name: str = "local", window: int = 16_384, threads: int | None = None
    ) -> None:
        self.name = name
        self._weights = weights
        self._window = window
        self._threads = threads
        self._engine: Any = None
        self._loading = threading.Lock()
        self._turn = anyio.Lock()

    def window(self, model: str) -> int | None:
        return self._window

    async def preload(self) -> None:
        """Loads the weights (two seconds a gigabyte from a warm disk). Raises ProviderError."""
        await anyio.to_thread.run_sync(self._load)

    async def complete(self, request: Request, sink: Sink) -> Response:
        try:
            with anyio.fail_after(request.timeout):
                async with self._turn:
                    return await anyio.to_thread.run_sync(self._answer, request, sink)
        except TimeoutError:
            raise ProviderError(
                FailureKind.TIMEOUT,
                f"the embedded model did not finish within {request.timeout:g} s",
                hint="give the task more time, a smaller input, or a faster model",
            ) from None

    async def aclose(self) -> None:
        async with self._turn:
            engine, self._engine = self._engine, None
            await anyio.to_thread.run_sync(_drop, [engine])
            del engine

    def _load(self) -> Any:
        with self._loading:
            if self._engine is None:
                self._engine = _start(self._weights, self._window, self._threads)
            return self._engine

    def _answer(self, request: Request, sink: Sink) -> Response:
        """One completion, in a worker thread."""
        stream = _Stream(sink, streams_text=not request.tools)
        engine = self._load()
        anyio.from_thread.check_cancelled()
        try:
            engine.handle_chat_completions(_body(request), stream.receive)
        except (ValueError, RuntimeError) as error:
            raise ProviderError(
                FailureKind.INVALID_REQUEST, f"the embedded model cannot be asked this: {error}"
            ) from error
        if stream.failure is not None:
            raise stream.failure
        return stream.response(request, self._weights.stem)


def _start(weights: Path, window: int, threads: int | None) -> Any:
    if not weights.is_file():
        raise ProviderError(
            FailureKind.NOT_FOUND,
            f"the embedded model's weights are not at {weights}",
            hint="fetch them with: meshclaw models pull",
        )
    _demand_avx2()
    # Read by the OpenMP runtime when it is loaded: its idle threads must not burn the cores of others.
    os.putenv("GOMP_SPINCOUNT", "1000")
    try:
        import xllamacpp
    except ModuleNotFoundError as error:
        raise ProviderError(
            FailureKind.NOT_FOUND,
            f"the embedded model's runtime is not installed ({error})",
            hint="install it with: pip install 'meshclaw[local]'",
        ) from error
    except ImportError as error:
        raise ProviderError(
            FailureKind.NOT_FOUND,
            f"the embedded model's runtime cannot be loaded ({error})",
            hint="it needs GCC's OpenMP library; on Debian: apt-get install libgomp1",
        ) from error
    count = threads or min(len(os.sched_getaffinity(0)), MOST_THREADS)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.n_ctx = window
    parameters.n_parallel = 1
    parameters.n_batch = parameters.n_ubatch = BATCH
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = count
    parameters.cache_ram_mib = 0
    parameters.warmup = False
    parameters.verbosity = -1
    # The runtime always opens a listener on loopback; a key that nobody knows closes it.
    parameters.api_keys = [secrets.token_urlsafe(32)]
    parameters.ui = parameters.endpoint_slots = False
    try:
        return xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise ProviderError(
            FailureKind.SERVER,
            f"the embedded model could not be loaded from {weights}: {error}",
            hint="about 2.5 GB of memory must be free for the 1.5B model, 1 GB for the 0.5B",
        ) from error


def _demand_avx2() -> None:
    """The prebuilt runtime would kill the process with an illegal instruction."""
    flags = Path("/proc/cpuinfo")
    if platform.machine() == "x86_64" and flags.exists() and " avx2" not in flags.read_text():
        raise ProviderError(
            FailureKind.NOT_FOUND,
            "the embedded model's runtime needs a processor with AVX2",
            hint="use a provider with a key, or a server on another machine",
        )


def _drop(holder: list[Any]) -> None:
    """Ends the runtime's threads; in a worker thread, since that waits for them."""
    holder.clear()


def _body(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = {
        "messages": render(request.system, request.messages, request.tools),
        "max_tokens": request.max_output,
        "temperature": 0,
        "seed": 0,
        "cache_prompt": bool(request.tools),
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
    }
    schema = turn_schema(request) if request.tools else request.schema
    if schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"schema": dict(schema)}}
    return body


@dataclass(slots=True)
class _Stream:
    """Collects what the runtime hands to its callback, which must never raise: it would be swallowed."""

    sink: Sink
    streams_text: bool
    pieces: list[str] = field(default_factory=list)
    usage: Mapping[str, Any] | None = None
    finish: str | None = None
    response_id: str | None = None
    failure: BaseException | None = None

    def receive(self, chunk: dict[str, Any]) -> bool:
        """True stops the generation."""
        try:
            anyio.from_thread.check_cancelled()
            self._take(chunk)
        except BaseException as error:
            self.failure = error
        return self.failure is not None

    def _take(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            raise _classified(chunk["error"])
        if self.response_id is None:
            self.response_id = str(chunk["id"])
            anyio.from_thread.run_sync(self.sink.response_id, self.response_id)
        for choice in chunk["choices"]:
            self.finish = choice["finish_reason"] or self.finish
            delta = choice["delta"].get("content")
            if delta:
                self.pieces.append(delta)
                if self.streams_text:
                    anyio.from_thread.run_sync(self.sink.text, delta)
        if chunk.get("usage"):
            self.usage = chunk["usage"]
            anyio.from_thread.run_sync(self.sink.usage, _usage(self.usage))

    def response(self, request: Request, served: str) -> Response:
        if self.finish is None:
            raise ProviderError(FailureKind.TRUNCATED, "the embedded model stopped in mid-answer")
        text = "".join(self.pieces)
        parts: tuple[Text | ToolCall, ...] | None = (Text(text),)
        if request.tools:
            parts = read_turn(text, f"call_{request.step}")
            if parts is None and self.finish != "length":
                raise ProviderError(
                    FailureKind.MALFORMED, "the embedded model's turn is not one JSON object"
                )
        stop = StopReason.ANSWER
        if self.finish == "length":
            stop = StopReason.MAX_OUTPUT
        elif any(isinstance(part, ToolCall) for part in parts or ()):
            stop = StopReason.TOOL_CALLS
        if request.tools and parts and isinstance(parts[0], Text):
            anyio.from_thread.run_sync(self.sink.text, parts[0].text)
        return Response(
            message=Message("assistant", parts or (Text(text),)),
            stop=stop,
            usage=_usage(self.usage),
            usage_source=UsageSource.FINAL if self.usage else UsageSource.ABSENT,
            wire_usage=self.usage,
            response_id=self.response_id,
            served_model=served,
            wire_stop=self.finish,
        )


def _usage(wire: Mapping[str, Any] | None) -> Usage:
    """The wire's prompt tokens include those taken from the cache."""
    if wire is None:
        return UNKNOWN
    cached = int((wire.get("prompt_tokens_details") or {}).get("cached_tokens", 0))
    return Usage(
        input=int(wire["prompt_tokens"]) - cached, cache_read=cached, output=int(wire["completion_tokens"])
    )


def _classified(error: Mapping[str, Any]) -> ProviderError:
    message = str(error.get("message", error))
    if error.get("type") == "exceed_context_size_error":
        return ProviderError(
            FailureKind.CONTEXT_TOO_LONG,
            f"{error.get('n_prompt_tokens')} tokens do not fit into the embedded model's window of"
            f" {error.get('n_ctx')}",
            hint="shorten the inputs (tail:, fewer files), or use a model with a larger window",
        )
    kind = FailureKind.INVALID_REQUEST if error.get("code") == 400 else FailureKind.SERVER
    return ProviderError(kind, f"the embedded model failed: {message}")
