"""The one way out of a sandbox that may reach some hosts: an HTTP proxy that opens those and no others.

It runs in our process; commands connect to it inside of their own network namespace, which leads nowhere
else. It looks names up itself and connects to the address that it has looked at, so neither a name that
changes its answer nor a client that chooses an address gets further. What is said inside a tunnel (CONNECT)
it cannot see: an allowed host can pass on whatever it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import anyio
import h11
from anyio.abc import ByteStream, SocketListener, SocketStream

from meshclaw.addresses import (
    AddressError,
    Lookup,
    LookupFailedError,
    connect,
    is_public,
    normal_host,
    resolve,
    system_lookup,
)
from meshclaw.frozen import dataclass
from meshclaw.policies import matches_host
from meshclaw.sandbox.base import Refused
from meshclaw.sandbox.proxy_http import Client, ExchangeError, forward
from meshclaw.sandbox.proxy_streams import Busy, tunnel

MOST_REFUSED = 100
"""Different hosts that are told apart; further ones are refused all the same."""

_HTTP_URL = re.compile(r"http://([^/?#]*)([^#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^\[\]:@]*)(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Internet:
    """Where names lead (`lookup`), and which addresses may be reached (`public`)."""

    lookup: Lookup = system_lookup
    public: Callable[[str], bool] = is_public


@dataclass(frozen=True, slots=True)
class Bounds:
    """`connections` at once; more wait. Seconds: `head` for a request until its body, `reach` for looking a
    name up and connecting, `idle` without a byte in either direction.
    """

    connections: int = 128
    head: float = 15.0
    reach: float = 30.0
    idle: float = 120.0


class _RefusedError(Exception):
    """What is asked for may not be reached."""


class Proxy:
    """Opens `hosts` (patterns of `allow.network`), as far as they lead to public addresses."""

    def __init__(self, hosts: Sequence[str], internet: Internet, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._hosts = tuple(hosts)
        self._internet = internet
        self._refused: dict[str, Refused] = {}
        self._room = anyio.Semaphore(self._bounds.connections)

    @property
    def refused(self) -> tuple[Refused, ...]:
        """What commands asked for and did not get, each host and port once, in order."""
        return tuple(self._refused.values())

    async def serve(self, listener: SocketListener) -> None:
        """Answers until it is cancelled; whatever clients send, nothing else ends it."""
        async with listener, anyio.create_task_group() as group:
            while True:
                await self._room.acquire()
                try:
                    stream = await listener.accept()
                except OSError:
                    # No descriptor is left, perhaps, or the client has gone again.
                    self._room.release()
                    await anyio.sleep(0.05)
                else:
                    group.start_soon(self._attend, stream)

    async def _attend(self, stream: SocketStream) -> None:
        try:
            await self._answer(Client(stream))
        except* Exception:
            # One side has gone, or something here is wrong: either way nothing more passes.
            pass
        finally:
            self._room.release()
            await anyio.aclose_forcefully(stream)

    async def _answer(self, client: Client) -> None:
        """One request for each connection: the next one could be for somebody else."""
        try:
            with anyio.move_on_after(self._bounds.head) as scope:
                request = await client.request()
            if scope.cancelled_caught:
                return
            host, port, path = _target(request)
            host = self._allowed(host, port)
            upstream = await self._reach(host, port)
        except (ExchangeError, h11.RemoteProtocolError) as error:
            await client.refuse(400, str(error))
            return
        except _RefusedError as error:
            await client.refuse(403, str(error))
            return
        except (OSError, LookupFailedError) as error:
            await client.refuse(502, f"no connection ({str(error) or type(error).__name__})")
            return
        try:
            with anyio.move_on_after(self._bounds.idle) as scope:
                busy = Busy(scope, self._bounds.idle)
                if request.method == b"CONNECT":
                    first = await client.opened()
                    await tunnel(busy.watched(client.stream), busy.watched(upstream), first)
                else:
                    client.stream = busy.watched(client.stream)
                    name = _authority(host, port).removesuffix(":80")
                    await forward(client, request, name, path, busy.watched(upstream))
        finally:
            await anyio.aclose_forcefully(upstream)

    def _allowed(self, host: str, port: int) -> str:
        """The host's one spelling. Looks nothing up: a lookup tells its server something, too.

        Raises _RefusedError.
        """
        try:
            host = normal_host(host)
        except AddressError as error:
            raise self._refuse(error.host, port, error.reason) from error
        if not any(matches_host(_authority(host, port), pattern) for pattern in self._hosts):
            raise self._refuse(host, port, "it is not among the hosts that are allowed")
        return host

    async def _reach(self, host: str, port: int) -> ByteStream:
        """Raises _RefusedError, LookupFailedError or OSError."""
        try:
            with anyio.fail_after(self._bounds.reach):
                addresses = await resolve(host, port, self._internet.lookup, self._internet.public)
                return await connect(addresses, port)
        except LookupFailedError:
            raise
        except AddressError as error:
            raise self._refuse(error.host, port, error.reason) from error

    def _refuse(self, host: str, port: int, reason: str) -> _RefusedError:
        refused = Refused(_authority(ascii(host)[1:-1], port), reason)
        if len(self._refused) < MOST_REFUSED:
            self._refused.setdefault(refused.host, refused)
        return _RefusedError(f"{refused.host} may not be reached: {reason}")


def _target(request: h11.Request) -> tuple[str, int, str]:
    """Host, port and path of what is asked for. Raises ExchangeError."""
    text = request.target.decode("ascii", "replace")
    if request.method == b"CONNECT":
        authority, path, usual = text, "", None
    elif found := _HTTP_URL.fullmatch(text):
        authority, path, usual = found[1], found[2], 80
    else:
        raise ExchangeError("this is a proxy: ask it for http://host/path, or to CONNECT to host:port")
    parts = _AUTHORITY.fullmatch(authority)
    port = int(parts[2]) if parts and parts[2] else usual
    if parts is None or port is None or not 0 < port < 65_536:
        raise ExchangeError("the host and port cannot be read; write host:port")
    return parts[1], port, path if path.startswith("/") else f"/{path}"


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
