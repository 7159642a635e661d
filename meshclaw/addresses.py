"""Which hosts may be reached: names as they are looked up, and addresses of the public internet.

A name is looked up once, every answer must be public, and what connects is handed the answers, never the
name again: it could lead elsewhere by then.
"""

from __future__ import annotations

import os
import re
import socket
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import anyio
import anyio.abc

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port -> the host's addresses. Raises OSError when there are none."""

CONNECT_SECONDS = 5.0
"""For one address: the next one may answer where the first is silent."""
ANSWERS = 16
"""More addresses of one name are not tried."""

NOT_PUBLIC_4 = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # Shared by carriers; Alibaba's metadata at 100.100.100.200.
            "127.0.0.0/8",
            "169.254.0.0/16",  # Link-local; most clouds' metadata at 169.254.169.254.
            "172.16.0.0/12",
            "192.0.0.0/24",  # Protocol assignments; Oracle's metadata at 192.0.0.192.
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "168.63.129.16/32",  # Azure's metadata and agents, in public space.
        ),
    )
)
"""All of IANA's IPv4 Special-Purpose Address Registry (RFC 6890), whatever it says about reachability,
and multicast (RFC 5771)."""

GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
"""The only part of IPv6 that is assigned to the internet (IANA, RFC 4291). Outside of it lie loopback,
IPv4-mapped and -compatible, NAT64, unique local, site-local, link-local, multicast, discard-only, SRv6."""

NOT_PUBLIC_6 = tuple(
    map(
        ip_network,
        (
            "2001::/23",  # Protocol assignments: Teredo, benchmarking, ORCHID, DRIP and others.
            "2001:db8::/32",
            "2002::/16",  # 6to4: the relay delivers to the IPv4 address within.
            "2620:4f:8000::/48",
            "3ffe::/16",  # The 6bone, given back (RFC 3701).
            "3fff::/20",
        ),
    )
)
"""What IANA's IPv6 Special-Purpose Address Registry takes out of 2000::/3."""

_ISATAP = 0x0000_5EFE
"""The interface identifier's first half (RFC 5214); a relay delivers to the IPv4 address in the second."""
_UNIVERSAL_BIT = 0x0200_0000

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_NAMES = frozenset({"localhost", "localdomain", "ip6-localhost", "ip6-loopback"})


class AddressError(Exception):
    """`host` is not to be reached; `reason` says why, without naming it again."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"{ascii(host)[1:-1]}: {reason}")
        self.host = host
        self.reason = reason


class LookupFailedError(AddressError):
    """Nobody says where the host is: nothing was refused."""


def is_public(address: str | IPv4Address | IPv6Address) -> bool:
    """Whether this is a host's address on the public internet. False for text that is no address."""
    try:
        parsed = ip_address(address) if isinstance(address, str) else address
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in NOT_PUBLIC_4)
    if parsed.scope_id is not None or parsed not in GLOBAL_UNICAST_6:
        return False
    if (int(parsed) >> 32 & 0xFFFF_FFFF) & ~_UNIVERSAL_BIT == _ISATAP:
        return False
    return not any(parsed in network for network in NOT_PUBLIC_6)


def normal_host(host: str) -> str:
    """The one spelling of a host: a lower-case ASCII name, or an address without brackets.

    Raises AddressError for what programs read in different ways (numbers that stand for an address,
    escapes, zones, credentials, control characters) and for the names of this machine.
    """
    if len(host) > 255:
        raise AddressError(f"{host[:40]}...", "is longer than a host's name can be")
    if host.startswith("[") and host.endswith("]"):
        return _literal_6(host, host[1:-1])
    if ":" in host:
        return _literal_6(host, host)
    name = _ascii_name(host).removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise AddressError(host, "is not a host's name; write it as in https://example.com/")
    if _NUMBER.fullmatch(labels[-1]):
        return _literal_4(host, name)
    if labels[-1] in _LOCAL_NAMES:
        raise AddressError(host, "is this machine; only public hosts can be reached")
    return name


async def system_lookup(host: str, port: int) -> list[str]:
    """What the operating system answers, in its order of preference."""
    found = await anyio.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def resolve(
    host: str,
    port: int,
    lookup: Lookup = system_lookup,
    public: Callable[[str], bool] = is_public,
) -> list[str]:
    """The addresses of a host, best first; connect to these, not to the name.

    Raises AddressError unless there are some (LookupFailedError) and EVERY one is public: a name that also
    leads inside is not to be trusted with its other answers.
    """
    name = normal_host(host)
    if not 0 < port < 65_536:
        raise AddressError(host, f"{port} is not a port; ports are 1 to 65535")
    answers: Sequence[str] = [name]
    if not _is_address(name):
        try:
            answers = await lookup(name, port)
        except OSError as error:
            reason = f"the name cannot be looked up ({error.strerror or error}); check its spelling"
            raise LookupFailedError(host, reason) from error
    if not answers:
        raise LookupFailedError(host, "the name has no address; check its spelling")
    for answer in answers:
        if not _is_address(answer) or not public(answer):
            leads = "is not public" if answer == name else f"leads to {answer}, which is not public"
            raise AddressError(host, f"{leads}; only public addresses can be reached")
    return list(dict.fromkeys(str(ip_address(answer)) for answer in answers))[:ANSWERS]


async def connect(addresses: Iterable[str], port: int) -> anyio.abc.SocketStream:
    """A connection to the first address that answers. Never looks up: raises ValueError for a name.

    Raises OSError when none of them answers.
    """
    last: OSError = ConnectionError("there is no address to connect to")
    for address in addresses:
        ip_address(address)
        try:
            with anyio.fail_after(CONNECT_SECONDS):
                return await anyio.connect_tcp(address, port)
        except TimeoutError:
            last = TimeoutError(f"silent for {CONNECT_SECONDS:g} s")
        except OSError as error:
            number = getattr(error.__cause__, "errno", None)  # anyio tells the reason only there.
            last = OSError(number, os.strerror(number)) if number else error
    raise last


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _literal_6(host: str, text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise AddressError(host, "is neither a host's name nor an IPv6 address") from None
    if address.scope_id is not None:
        raise AddressError(host, "an address with a zone is on the local network; leave it out")
    return str(address)


def _literal_4(host: str, name: str) -> str:
    """Strict, since programs disagree: 010.0.0.1 is 8.0.0.1 to some and 10.0.0.1 to others."""
    try:
        return str(IPv4Address(name))
    except ValueError:
        reason = "is an ambiguous address; write four decimal numbers, as in 192.0.2.1"
        raise AddressError(host, reason) from None


def _ascii_name(host: str) -> str:
    """The name that is looked up. What international names' two standards encode differently is refused."""
    if host.isascii():
        return host.lower()
    wide = unicodedata.normalize("NFKC", host).replace("\u3002", ".").lower()
    try:
        encoded = wide.encode("idna").decode("ascii")
        same = encoded.encode().decode("idna") == wide
    except UnicodeError:
        same = False
    if not same:
        raise AddressError(host, "the name is not one that can be looked up; write its xn-- form")
    return encoded.lower()
