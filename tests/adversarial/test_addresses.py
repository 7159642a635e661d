"""Addresses and hosts that lead inside, in every spelling; each refusal beside what is let through."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshclaw.addresses import (
    NOT_PUBLIC_4,
    NOT_PUBLIC_6,
    AddressError,
    LookupFailedError,
    connect,
    is_public,
    normal_host,
    resolve,
    system_lookup,
)

NOT_PUBLIC = {
    "this network": "0.0.0.0 0.1.2.3",
    "private": "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1",
    "shared by carriers": "100.64.0.1 100.127.255.255",
    "loopback": "127.0.0.1 127.1.2.3 ::1",
    "link-local": "169.254.0.1 fe80::1 febf::1 fe80::1%eth0 2606:4700::1%eth0",
    "metadata": "169.254.169.254 fd00:ec2::254 100.100.100.200 168.63.129.16 192.0.0.192 fd20:ce::254",
    "protocol assignments": "192.0.0.1 192.0.0.9 192.0.0.170 2001:1::1 2001:20::1 2001:3::1",
    "documentation": "192.0.2.1 198.51.100.1 203.0.113.1 2001:db8::1 3fff::1",
    "sinks and relays": "192.31.196.1 192.52.193.1 192.88.99.1 192.175.48.1 2620:4f:8000::1",
    "benchmarking": "198.18.0.1 198.19.255.255 2001:2::1",
    "multicast": "224.0.0.1 239.255.255.255 ff02::1 ff0e::1",
    "reserved": "240.0.0.1 254.255.255.255",
    "broadcast": "255.255.255.255",
    "unspecified": "0.0.0.0 ::",
    "IPv4-mapped": "::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1",
    "IPv4-compatible": "::127.0.0.1 ::8.8.8.8",
    "NAT64": "64:ff9b::127.0.0.1 64:ff9b::8.8.8.8 64:ff9b:1::a00:1",
    "6to4": "2002:7f00:1::1 2002:a9fe:a9fe:: 2002:808:808::1",
    "Teredo": "2001::1 2001:0:7f00:1::1",
    "ISATAP": "2606:4700::5efe:7f00:1 2606:4700::200:5efe:a00:1",
    "unique local": "fc00::1 fd12:3456::1",
    "site-local": "fec0::1",
    "discard-only": "100::1 100:0:0:1::1",
    "SRv6": "5f00::1",
    "unassigned": "200::1 4000::1 8000::1 c000::1 3ffe::1",
    "no address": "example.com 2130706433 127.1 0177.0.0.1 010.0.0.1 0x7f.0.0.1 1.2.3 １２７.0.0.1",
}
PUBLIC = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
    168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0
    192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255 2001:200::1 2001:4860:4860::8888 2003::1
    2606:4700::1111 2a00:1450:4001::8a 2606:4700::5eff:7f00:1 3ffd::1
"""
"""The neighbours of what is refused, and well-known hosts."""


@pytest.mark.parametrize(
    "address",
    [pytest.param(one, id=f"{why}-{one}") for why, all_ in NOT_PUBLIC.items() for one in all_.split()],
)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC.split())
async def test_public_control(address: str) -> None:
    """The control of everything above and of `resolve`: what is public passes both."""
    assert is_public(address)
    assert is_public(ip_address(address))
    assert await resolve("page.example", 443, answering(address)) == [str(ip_address(address))]


@pytest.mark.parametrize("network", [*NOT_PUBLIC_4, *NOT_PUBLIC_6], ids=str)
def test_every_network_is_refused_to_its_ends(network: object) -> None:
    ends = (network[0], network[-1])  # type: ignore[index]
    assert not any(is_public(address) for address in ends)


@given(st.ip_addresses(v=4))
def test_nothing_is_public_inside_a_wrapper(address: IPv4Address) -> None:
    inner = int(address)
    for wrapped in (
        0xFFFF << 32 | inner,
        inner,
        0x64_FF9B << 96 | inner,
        0x2002 << 112 | inner << 80 | 1,
        0x2001 << 112 | ~inner & 0xFFFF_FFFF,
        0x2606_4700 << 96 | 0x5EFE << 32 | inner,
    ):
        assert not is_public(IPv6Address(wrapped))


@given(st.ip_addresses())
def test_what_python_calls_private_is_never_public(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global or address.is_multicast:
        assert not is_public(address)


REFUSED_HOSTS = {
    "decimal": "2130706433",
    "octal": "0177.0.0.1",
    "leading zero": "127.0.0.01",
    "hex": "0x7f.1",
    "hex whole": "0x7f000001",
    "hex without digits": "0x",
    "upper-case hex": "0X7F.0.0.1",
    "short": "127.1",
    "shorter": "0",
    "five numbers": "1.2.3.4.5",
    "too large": "256.1.1.1",
    "name that ends in a number": "page.example.1",
    "fullwidth decimal": "２１３０７０６４３３",
    "octal with IDN dots": "0177。0。0。1",
    "brackets of IPv4": "[127.0.0.1]",
    "brackets unclosed": "[::1",
    "brackets and more": "[::1].example.com",
    "zone": "[fe80::1%25eth0]",
    "zone unescaped": "fe80::1%eth0",
    "credentials": "user:secret@page.example",
    "credentials without password": "page.example@127.0.0.1",
    "fullwidth at": "page.example＠127.0.0.1",
    "percent-encoded": "%31%32%37.0.0.1",
    "percent-encoded dot": "127%2e0%2e0%2e1",
    "localhost": "localhost",
    "localhost in capitals": "LOCALHOST",
    "localhost with dot": "localhost.",
    "beneath localhost": "page.localhost",
    "fullwidth localhost": "ｌｏｃａｌｈｏｓｔ",
    "circled localhost": "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "localdomain": "localhost.localdomain",
    "ip6-localhost": "ip6-localhost",
    "NUL": "page.example\0.evil.example",
    "line feed": "page.example\n",
    "carriage return": "page.example\r\nHost: evil",
    "tab": "page\t.example",
    "space": " page.example",
    "backslash": "page.example\\@127.0.0.1",
    "slash": "page.example/x",
    "fraction": "½page.example/",
    "question mark": "page.example?",
    "hash": "page.example#",
    "soft hyphen": "page\xad.example",
    "zero-width joiner": "pa\u200dge.example",
    "sharp s": "straße.example",
    "final sigma": "ς.example",
    "empty": "",
    "dot": ".",
    "two dots": "page.example..",
    "empty label": "page..example",
    "long label": "a" * 64 + ".example",
    "long name": "a." * 130 + "example",
    "very long name": "é" * 100_000,
    "leading hyphen": "-page.example",
    "wildcard": "*.example",
    "port": "page.example:80",
    "lone surrogate": "\ud800.example",
}

NORMAL_HOSTS = {
    "page.example": "page.example",
    "PAGE.Example": "page.example",
    "page.example.": "page.example",
    "p_a-g-e.example": "p_a-g-e.example",
    "1e100.example": "1e100.example",
    "ｐａｇｅ．ｅｘａｍｐｌｅ": "page.example",
    "page。example": "page.example",
    "bücher.example": "xn--bcher-kva.example",
    "BÜCHER.example": "xn--bcher-kva.example",
    "93.184.215.14": "93.184.215.14",
    "１２７.0.0.1": "127.0.0.1",
    "①②⑦。0。0。1": "127.0.0.1",
    "127.0.0.1.": "127.0.0.1",
    "[::ffff:127.0.0.1]": "::ffff:7f00:1",
    "[2606:4700:0:0::1111]": "2606:4700::1111",
    "0:0::1": "::1",
}


@pytest.mark.parametrize("host", REFUSED_HOSTS.values(), ids=REFUSED_HOSTS)
async def test_spellings_that_are_refused(host: str) -> None:
    """Even where the lookup would call them public: it is never asked."""
    lookup = answering("1.1.1.1")
    with pytest.raises(AddressError) as caught:
        await resolve(host, 443, lookup)
    assert not isinstance(caught.value, LookupFailedError)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert lookup.asked == []


@pytest.mark.parametrize(("host", "normal"), NORMAL_HOSTS.items(), ids=map(ascii, NORMAL_HOSTS))
async def test_spellings_that_are_normalised(host: str, normal: str) -> None:
    """Names are looked up as they are reviewed; an address is one however it was written."""
    lookup = answering("1.1.1.1")
    assert normal_host(host) == normal
    assert normal_host(normal) == normal
    if normal[-1].isdigit():
        if is_public(normal):
            assert await resolve(host, 443, lookup) == [normal]
        else:
            with pytest.raises(AddressError, match="is not public"):
                await resolve(host, 443, lookup)
        assert lookup.asked == []
    else:
        assert await resolve(host, 443, lookup) == ["1.1.1.1"]
        assert lookup.asked == [normal]


@given(st.text(max_size=40))
def test_a_normal_host_is_plain(host: str) -> None:
    try:
        normal = normal_host(host)
    except AddressError:
        return
    assert set(normal) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_:")
    assert normal_host(normal) == normal


@pytest.mark.parametrize(
    "answers",
    [
        ("1.1.1.1", "127.0.0.1"),
        ("127.0.0.1", "1.1.1.1"),
        ("1.1.1.1", "2606:4700::1111", "::1"),
        ("1.1.1.1",) * 40 + ("10.0.0.1",),
        ("1.1.1.1", "fe80::1%eth0"),
        ("1.1.1.1", "::ffff:1.1.1.1"),
        ("169.254.169.254",),
        ("page.example",),
        ("",),
    ],
    ids=lambda answers: f"{answers[-1]} among {len(answers)}",
)
async def test_one_bad_answer_spoils_the_name(answers: Sequence[str]) -> None:
    with pytest.raises(AddressError, match="only public addresses") as caught:
        await resolve("page.example", 443, answering(*answers))
    assert not isinstance(caught.value, LookupFailedError)
    good = [one for one in answers if is_public(one)]
    if good:
        assert await resolve("page.example", 443, answering(*good)) == list(dict.fromkeys(good))


async def test_names_without_an_address() -> None:
    with pytest.raises(LookupFailedError, match="no address"):
        await resolve("page.example", 443, answering())

    async def failing(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(LookupFailedError, match="Name or service not known"):
        await resolve("page.example", 443, failing)


@pytest.mark.parametrize("port", [0, -1, 65_536, 10**9])
async def test_ports_that_are_none(port: int) -> None:
    with pytest.raises(AddressError, match="is not a port"):
        await resolve("page.example", port, answering("1.1.1.1"))
    assert await resolve("page.example", 65_535, answering("1.1.1.1")) == ["1.1.1.1"]


async def test_what_connects_never_looks_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for name in ("localhost", "127.1", ""):
            with pytest.raises(ValueError, match="IPv4 or IPv6 address"):
                await connect([name], port)
        async with await connect(["127.0.0.1"], port) as stream:
            await stream.send(b"x")
            accepted, _ = server.accept()
            with accepted:
                assert accepted.recv(1) == b"x"


async def test_the_next_address_is_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        async with await connect(["127.0.0.2", "127.0.0.1"], port):
            pass
        with pytest.raises(OSError, match="Connection refused"):
            await connect(["127.0.0.2", "127.0.0.3"], port)
    with pytest.raises(OSError, match="no address"):
        await connect([], 80)


async def test_the_system_knows_this_machine() -> None:
    """The control of the refusal of `localhost`: it does lead inside."""
    assert not any(map(is_public, await system_lookup("localhost", 80)))


class answering:  # noqa: N801
    """A lookup that always answers the same, and tells what it was asked."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.addresses
