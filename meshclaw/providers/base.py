"""The one door to a model: a Provider completes a Request, telling a Sink what arrives meanwhile."""

from __future__ import annotations

from typing import Protocol

from meshclaw.messages import Request, Response
from meshclaw.usage import Usage


class Sink(Protocol):
    """Receives facts while a call is under way, so that they survive a call that breaks off."""

    def text(self, delta: str) -> None:
        """A piece of the answer's text, as it arrives."""

    def response_id(self, value: str) -> None:
        """The provider's id of this response; from here on the call may be billed."""

    def usage(self, usage: Usage) -> None:
        """The newest usage seen on the wire; a later report replaces an earlier one."""


class NullSink:
    """A Sink for callers that need nothing before the call has ended."""

    def text(self, delta: str) -> None: ...

    def response_id(self, value: str) -> None: ...

    def usage(self, usage: Usage) -> None: ...


class Provider(Protocol):
    """An adapter makes exactly one request on the wire for each `complete`; it never retries.

    `name` is the first part of a model's name. `overhead_tokens` bounds what the provider adds to a
    prompt beyond the bytes sent (tool preambles, role markers). `free` means that calls cost nothing
    (loopback servers, the embedded model, replay). `nudge` means that its models are small and do better
    when every tool result is followed by a reminder of what comes next.
    """

    name: str
    overhead_tokens: int
    free: bool
    nudge: bool

    def window(self, model: str) -> int | None:
        """Context length of `model` in tokens, or None when unknown."""

    async def complete(self, request: Request, sink: Sink) -> Response:
        """One call. Raises ProviderError(kind, retry_after, billed); nothing else but cancellation.

        Guarantees: ends within `request.timeout`; a wait of more than `request.stall_timeout` for
        content raises kind `stalled`; the response is complete (a stream that ends early raises
        `truncated`).
        """
        ...

    async def aclose(self) -> None:
        """Gives back connections and memory; may be called twice."""
