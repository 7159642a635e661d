"""One call over HTTP: sends it through an SDK, reads the raw events, keeps the deadlines.

The adapters say how a request looks on their wire and fold its events into a Response; what can go
wrong in between is the same for all of them, and is here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import anyio

from meshclaw.errors import FailureKind, ProviderError
from meshclaw.frozen import dataclass
from meshclaw.messages import Request, Response
from meshclaw.providers.failures import Origin, http_failure, stream_failure
from meshclaw.providers.sse import EventDecoder

if TYPE_CHECKING:
    import httpx2

CONNECT_TIMEOUT = 15.0
"""Seconds to reach a server. All other waiting is bounded by the request's own deadlines."""
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
"""A longer answer than this is not read to its end."""
LINGER = 5.0
"""Seconds to wait, once an answer is complete, for what may still follow it: usage, the stream's end."""
DRAIN_TIME = 0.5
"""Seconds to wait for the stream's end after its last event, so that its connection can be reused."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_MISSHAPEN = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What a fold raises when an answer does not look as its wire's description says."""

_OWN_HEADERS = frozenset(
    {
        "host",
        "accept",
        "accept-encoding",
        "connection",
        "content-type",
        "content-length",
        "user-agent",
        "anthropic-version",
        "anthropic-beta",
    }
)


class SdkClient(Protocol):
    """What both SDKs' clients offer for calls of one's own making."""

    @property
    def post(self) -> Callable[..., Awaitable[Any]]: ...


class Fold(Protocol):
    """Puts one answer together. `done` is set once the answer is complete, whatever may still follow."""

    done: bool

    def event(self, data: dict[str, Any]) -> bool:
        """Takes one event; true when it carried content (a ping does not).

        Raises ProviderError for an error event; LookupError, TypeError, AttributeError or ValueError when
        the event does not look as the wire's description says.
        """

    def whole(self, data: dict[str, Any]) -> None:
        """Takes the answer of a server that does not stream. Raises as `event` does."""

    def response(self) -> Response:
        """The answer; called once, when `done`. Raises as `event` does."""


@dataclass(frozen=True, slots=True)
class SdkErrors:
    """The SDK's exception classes: an HTTP status other than success, no connection, and their root."""

    status: type[Exception]
    connection: type[Exception]
    root: type[Exception]


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent. The SDK adds address, key and headers, and sends the body as it is.

    The SDKs' own methods for each endpoint would check every value of the body against their types: three
    milliseconds of CPU for one message, and for a long history many times that.
    """

    client: SdkClient
    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    async def send(self) -> httpx2.Response:
        """The response, its body not yet read. Raises the SDK's exceptions."""
        import httpx2

        response: httpx2.Response = await self.client.post(
            self.path,
            body={**self.body, "stream": True},
            cast_to=httpx2.Response,
            options={"headers": self.headers},
            stream=True,
        )
        return response


async def exchange(
    request: Request, call: Call, fold: Fold, origin: Origin, errors: SdkErrors, now: float
) -> Response:
    """Makes the call. Raises ProviderError and nothing else; ends within `request.timeout`."""
    with anyio.move_on_after(request.timeout) as whole, anyio.move_on_after(request.stall_timeout) as stall:
        try:
            async with aclosing(await call.send()) as response:
                await _read(response, fold, origin, stall, request.stall_timeout)
        except ProviderError as error:
            if not fold.done:
                raise error from None
        except Exception as error:
            if not fold.done:
                raise _failure(error, origin, errors, now) from error
    if fold.done:
        return _answer(fold, origin)
    if whole.cancelled_caught:
        raise origin.error(FailureKind.TIMEOUT, f"no complete answer in {request.timeout:g} s", billed=True)
    if stall.cancelled_caught:
        raise origin.error(FailureKind.STALLED, f"no content for {request.stall_timeout:g} s", billed=True)
    raise origin.error(FailureKind.TRUNCATED, "the stream ended before the answer did", billed=True)


def is_loopback(base_url: str) -> bool:
    """Whether an address is this machine's own. Servers there need no key, and no proxy leads to them."""
    try:
        return urlsplit(base_url).hostname in LOOPBACK
    except ValueError:
        return False


def check_settings(base_url: str, key: str | None, origin: Origin, *, needs_key: bool) -> None:
    """Refuses, before anything is sent, a missing or impossible key and an impossible address."""
    if needs_key and not key:
        raise origin.error(FailureKind.AUTHENTICATION, "there is no key")
    if key and not re.fullmatch(r"[!-~]+", key):
        raise origin.error(FailureKind.AUTHENTICATION, "the key holds spaces or characters that no key has")
    try:
        url = urlsplit(base_url)
        possible = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        possible = False
    if not possible:
        hint = "set the provider's base URL to one like http://127.0.0.1:8080/v1"
        raise origin.error(FailureKind.INVALID_REQUEST, f"not an address: {base_url}", hint=hint)


def http_client(base_url: str, key: str | None, *, trusted: bool) -> httpx2.AsyncClient:
    """The connections of one provider.

    Redirects are never followed, so a key stays with the host it was meant for. Proxies from the
    environment are used, except for loopback servers. An untrusted server gets none of the headers that
    the SDKs add from the environment: only what a call needs, and `key` if there is one.
    """
    import httpx2

    async def own_headers_only(outgoing: httpx2.Request) -> None:
        for name in list(outgoing.headers):
            if name not in _OWN_HEADERS and not name.startswith("x-stainless-"):
                del outgoing.headers[name]
        if key:
            outgoing.headers["authorization"] = f"Bearer {key}"

    local = is_loopback(base_url)
    unencrypted = local and base_url.startswith("http:")  # spares loading certificates never used
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT),
        # Local servers drop idle connections in the midst of the next request; new ones cost nothing.
        limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=0 if local else 256),
        follow_redirects=False,
        trust_env=not local,
        verify=not unencrypted,
        event_hooks={} if trusted else {"request": [own_headers_only]},
    )


async def _read(
    response: httpx2.Response, fold: Fold, origin: Origin, stall: anyio.CancelScope, patience: float
) -> None:
    content_type = response.headers.get("content-type", "").lower()
    if "json" in content_type:
        await _read_whole(response, fold, origin)
        return
    decoder = EventDecoder()
    received = events = 0
    async for chunk in response.aiter_bytes():
        received += len(chunk)
        if received > MAX_RESPONSE_BYTES:
            raise _malformed(origin, f"more than {MAX_RESPONSE_BYTES} bytes")
        for text in decoder.feed(chunk):
            events += 1
            if text == "[DONE]":
                patience = DRAIN_TIME
            elif _take(fold.event, text, origin):
                stall.deadline = anyio.current_time() + patience
        if fold.done:
            stall.deadline = min(stall.deadline, anyio.current_time() + min(patience, LINGER))
    if not events and decoder.strays:
        raise _malformed(origin, f"it sent {content_type or 'something else'} instead of events")


async def _read_whole(response: httpx2.Response, fold: Fold, origin: Origin) -> None:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            raise _malformed(origin, f"more than {MAX_RESPONSE_BYTES} bytes")
    _take(fold.whole, body.decode("utf-8", "replace"), origin)


def _take(take: Callable[[dict[str, Any]], bool | None], text: str, origin: Origin) -> bool:
    """Decodes one event and hands it over; true when it carried content."""
    try:
        data = json.loads(text)
        if isinstance(data, dict) and data.get("error") and "type" not in data:
            raise stream_failure(origin, data)
        return bool(take(data))
    except _MISSHAPEN as error:
        raise _malformed(origin, text) from error


def _answer(fold: Fold, origin: Origin) -> Response:
    try:
        return fold.response()
    except _MISSHAPEN as error:
        raise _malformed(origin, f"{type(error).__name__}: {error}") from error


def _malformed(origin: Origin, detail: str) -> ProviderError:
    hint = "check that the provider's base URL is that of its API"
    return origin.error(FailureKind.MALFORMED, detail, hint=hint, billed=True)


def _failure(error: Exception, origin: Origin, errors: SdkErrors, now: float) -> ProviderError:
    """What an SDK's or the HTTP library's exception means."""
    import httpx2

    if isinstance(error, errors.status):
        response = getattr(error, "response")  # noqa: B009 - common to both SDKs, whose types we don't import
        headers = {name.lower(): value for name, value in response.headers.items()}
        return http_failure(origin, response.status_code, headers, getattr(error, "body", None), now)
    cause = error.__cause__ if isinstance(error, errors.connection) else error
    detail = str(cause) or type(cause).__name__
    if isinstance(cause, httpx2.LocalProtocolError):
        # Its own words may quote the header, which may be a secret.
        return origin.error(FailureKind.INVALID_REQUEST, "a header holds what HTTP cannot send")
    unsent = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
    if isinstance(cause, unsent):
        hint = "check the network, and that the server runs at the provider's base URL"
        return origin.error(FailureKind.CONNECTION, detail, hint=hint)
    if isinstance(cause, httpx2.TransportError | httpx2.StreamError):
        return origin.error(FailureKind.CONNECTION, f"the connection broke: {detail}", billed=True)
    if isinstance(cause, httpx2.DecodingError):
        return _malformed(origin, detail)
    kind = FailureKind.INVALID_REQUEST if isinstance(error, errors.root) else FailureKind.MALFORMED
    return origin.error(kind, f"{type(error).__name__}: {error}", billed=kind is FailureKind.MALFORMED)
