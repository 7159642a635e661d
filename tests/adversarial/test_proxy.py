"""What a command can ask of the proxy: only what is allowed is reached, however it is asked for.

Every attack goes to a server that would answer, and the same way reaches what is allowed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from fetch_calls import PRIVATE, PUBLIC, Names
from proxy_calls import Door, door, internet
from web_server import WebServer, answer, redirect

from meshclaw.addresses import is_public
from meshclaw.sandbox.proxy import Bounds, Internet

SOME = "page.example"


@pytest.fixture
async def server() -> AsyncIterator[WebServer]:
    async with WebServer() as running:
        running.routes["/"] = answer(b"reached")
        yield running


async def reaches(opened: Door, server: WebServer, host: str = SOME) -> None:
    """The control: what is allowed is reached both ways."""
    assert (await opened.get(server.url("/", host))).said.endswith(b"reached")
    assert (await opened.tunnel(f"{host}:{server.port}")).said.endswith(b"reached")


# Hosts and ports.

OTHERS = {
    "another host": "other.example:PORT",
    "a part of the name": "example:PORT",
    "beneath it": "a.page.example:PORT",
    "the name as a beginning": "page.example.evil.example:PORT",
    "the name as an end": "evilpage.example:PORT",
    "another port": "page.example:443",
    "the server's address": "127.0.0.1:PORT",
    "its IPv6 address": "[::1]:PORT",
    "an IPv4 address in IPv6": "[::ffff:127.0.0.1]:PORT",
    "an address as a number": "2130706433:PORT",
    "an octal address": "0177.0.0.1:PORT",
    "a hexadecimal address": "0x7f000001:PORT",
    "a short address": "127.1:PORT",
    "this machine": "localhost:PORT",
    "a name of this machine": "page.localhost:PORT",
    "a wildcard": "*:PORT",
    "an escape": "page%2eexample:PORT",
    "nothing": ":PORT",
}
UNREADABLE = {
    "credentials": "page.example@evil.example:PORT",
    "credentials with a port": "page.example:80@evil.example:PORT",
    "two ports": "page.example:PORT:22",
    "a port that is none": "page.example:0",
    "a port beyond the last": "page.example:65536",
    "a port with a sign": "page.example:+80",
    "two brackets": "[::1]]:PORT",
    "a bracket": "[::1:PORT",
}


@pytest.mark.parametrize("name", OTHERS | UNREADABLE)
@pytest.mark.parametrize("way", ["plain", "tunnel"])
async def test_only_the_named_host_and_port_are_reached(server: WebServer, name: str, way: str) -> None:
    authority = (OTHERS | UNREADABLE)[name].replace("PORT", str(server.port))
    names = Names()
    async with door(f"{SOME}:{server.port}", internet=internet(names)) as opened:
        asked = await (opened.get(f"http://{authority}/") if way == "plain" else opened.tunnel(authority))
        assert asked.status == (403 if name in OTHERS else 400)
        assert len(opened.refused) == (name in OTHERS)
        # Not even the lookup is made: it could carry something out.
        assert (server.connections, names.asked) == (0, [])
        await reaches(opened, server)
        await reaches(opened, server, "PAGE.example.")


async def test_a_host_without_a_port_is_the_webs_ports(server: WebServer) -> None:
    async with door(SOME) as opened:
        for way in (opened.get(server.url("/")), opened.tunnel(f"{SOME}:{server.port}")):
            assert (await way).status == 403
        # Nobody listens there, but that is found out: it was let through.
        for authority in (f"{SOME}:80", f"{SOME}:443"):
            assert (await opened.tunnel(authority)).status == 502
        assert opened.refused == [f"{SOME}:{server.port}"]
    assert server.connections == 0


async def test_a_pattern_opens_what_is_beneath(server: WebServer) -> None:
    async with door("*.page.example:*") as opened:
        await reaches(opened, server, "a.page.example")
        await reaches(opened, server, "a.b.page.example")
        for host in (SOME, "page.example.evil.example", "apage.example"):
            assert (await opened.get(server.url("/", host))).status == 403


# Addresses.

INSIDE = [
    "127.0.0.1",
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:169.254.169.254]",
    "[fd00::1]",
    "[fe80::1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[ff02::1]",
    "017700000001",
    "0x7f.1",
    "2130706433",
    "localhost",
    "metadata.localhost",
]


@pytest.mark.parametrize("host", INSIDE)
async def test_no_pattern_opens_what_is_not_public(server: WebServer, host: str) -> None:
    async with door("*:*", internet=Internet(Names(), is_public)) as opened:
        for way in (opened.get(server.url("/", host)), opened.tunnel(f"{host}:{server.port}")):
            assert (await way).status == 403
        assert len(opened.refused) == 1
    assert server.connections == 0
    async with door("*:*") as opened:
        await reaches(opened, server)


async def test_a_name_that_leads_inside_is_refused(server: WebServer) -> None:
    names = Names(page_example=[[PRIVATE]], both_example=[[PUBLIC, PRIVATE]], none_example=[[]])
    async with door("*:*", internet=internet(names)) as opened:
        for host, status in ((SOME, 403), ("both.example", 403), ("none.example", 502)):
            assert (await opened.get(server.url("/", host))).status == status
        assert opened.refused == [f"{SOME}:{server.port}", f"both.example:{server.port}"]
        await reaches(opened, server, "other.example")


async def test_a_name_that_changes_its_answer_gains_nothing(server: WebServer) -> None:
    async with WebServer(PRIVATE, server.port) as inside:
        names = Names(page_example=[[PUBLIC], [PRIVATE], [PRIVATE]])
        async with door("*:*", internet=internet(names)) as opened:
            assert (await opened.get(server.url("/"))).said.endswith(b"reached")
            assert (await opened.get(server.url("/"))).status == 403
            assert (await opened.tunnel(f"{SOME}:{server.port}")).status == 403
        # One lookup for each request: what was looked at is what is connected to.
        assert names.asked == [SOME] * 3
        assert (server.connections, inside.connections) == (1, 0)


async def test_a_redirect_is_one_more_request(server: WebServer) -> None:
    server.routes["/moved"] = redirect("http://169.254.169.254/latest/meta-data/")
    async with door(f"{SOME}:*") as opened:
        moved = await opened.get(server.url("/moved"))
        assert moved.status == 302
        assert (await opened.get("http://169.254.169.254/latest/meta-data/")).status == 403


# HTTP.


async def test_the_url_decides_whom_the_server_takes_it_for(server: WebServer) -> None:
    secret = ("Proxy-Authorization: Basic c2VjcmV0", "X-Hop: secret", "Connection: X-Hop", "X-Kept: yes")
    async with door(f"{SOME}:*") as opened:
        asked = await opened.ask(
            f"GET {server.url('/')} HTTP/1.1\r\nHost: admin.internal\r\n" + "\r\n".join(secret) + "\r\n\r\n"
        )
    assert asked.said.endswith(b"reached")
    head = server.asked[0].lower()
    assert f"host: {SOME}:{server.port}\r\n" in head
    assert "x-kept: yes" in head
    assert not any(word in head for word in ("admin.internal", "secret", "c2vjcmv0"))


async def test_a_second_request_on_the_connection_is_not_answered(server: WebServer) -> None:
    async with door(f"{SOME}:{server.port}") as opened:
        one = f"GET {server.url('/')} HTTP/1.1\r\nHost: x\r\n\r\n"
        asked = await opened.ask(one + one.replace(SOME, "evil.example"))
    assert asked.said.count(b"HTTP/1.1") == 1
    assert len(server.asked) == 1


HIDDEN = {
    "two lengths": "Content-Length: 4\r\nContent-Length: 60\r\n\r\n",
    "a length and chunks": "Content-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in disguise": "Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n",
    "chunks twice": "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "a folded header": "X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "a bare line feed": "X: a\nContent-Length: 0\r\n\r\n",
    "a space before the colon": "Content-Length : 0\r\n\r\n",
    "a length with a sign": "Content-Length: +0\r\n\r\n",
}


@pytest.mark.parametrize("name", HIDDEN)
async def test_no_request_hides_in_another(server: WebServer, name: str) -> None:
    """What follows is never taken by the server for a request of its own."""
    hidden = "GET /hidden HTTP/1.1\r\nHost: admin.internal\r\n\r\n"
    async with door(f"{SOME}:*") as opened:
        await opened.ask(f"POST {server.url('/')} HTTP/1.1\r\nHost: x\r\n{HIDDEN[name]}{hidden}")
        assert not any("/hidden" in head.split("\r\n")[0] for head in server.asked)
        for head in server.asked:
            lengths = [
                line for line in head.lower().split("\r\n") if line.startswith(("content-l", "transfer"))
            ]
            assert len(lengths) <= 1
        await reaches(opened, server)


NOT_HTTP = {
    "a path alone": "GET / HTTP/1.1\r\nHost: page.example\r\n\r\n",
    "another scheme": "GET https://page.example/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a file": "GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "gopher": "GET gopher://page.example:25/_HELO HTTP/1.1\r\nHost: x\r\n\r\n",
    "a name without a port": "CONNECT page.example HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel with a body": "CONNECT page.example:80 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "no words": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "SOCKS": "\x05\x01\x00\r\n\r\n",
    "an endless header": "GET http://page.example/ HTTP/1.1\r\nX: " + "a" * 100_000,
    "a line feed in the URL": "GET http://page.example/\n HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", NOT_HTTP)
async def test_what_is_no_request_is_told_so(server: WebServer, name: str) -> None:
    async with door("*:*") as opened:
        assert (await opened.ask(NOT_HTTP[name])).status in (400, 0)
        await reaches(opened, server)
    assert server.connections == 2


async def test_ordinary_requests_work(server: WebServer) -> None:
    big = b"x" * 3_000_000
    server.routes["/big"] = answer(big)
    server.routes["/none"] = answer(b"", status="204 No Content", headers={"Content-Length": ""})
    async with door(f"{SOME}:*") as opened:
        assert (await opened.get(server.url("/big"))).said.endswith(big)
        assert (await opened.get(server.url("/none"))).status == 204
        alone = await opened.ask(f"HEAD {server.url('/big')} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"content-length: 3000000" in alone.said.lower()
        assert alone.said.endswith(b"\r\n\r\n")
        old = await opened.ask(f"GET {server.url('/')} HTTP/1.0\r\n\r\n")
        assert old.said.endswith(b"reached")
        async with await anyio.connect_tcp("127.0.0.1", opened.port) as stream:
            head = (
                f"POST {server.url('/')} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5"
            )
            await stream.send(f"{head}\r\nContent-Length: 5\r\n\r\n".encode())
            assert (await stream.receive()).startswith(b"HTTP/1.1 100")
            await stream.send(b"12345")
            assert b"".join([data async for data in stream]).endswith(b"reached")


ANSWERS = {
    "no HTTP": b"hello\r\n\r\n",
    "nothing": b"",
    "a head without an end": b"HTTP/1.1 200 OK\r\nX: y\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nab",
    "an endless head": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000,
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_improper_answer_is_not_passed_on(server: WebServer, name: str) -> None:
    server.routes["/bad"] = ANSWERS[name]
    async with door(f"{SOME}:*") as opened:
        assert (await opened.get(server.url("/bad"))).status == 502
        await reaches(opened, server)
        assert opened.refused == []


async def test_a_server_that_is_not_there_is_no_denial() -> None:
    async with WebServer() as gone:
        pass
    async with door("*:*") as opened:
        assert (await opened.tunnel(f"{SOME}:{gone.port}")).status == 502
        assert opened.refused == []


# Bounds.


async def test_who_says_nothing_is_let_go(server: WebServer) -> None:
    async with door(f"{SOME}:*", bounds=Bounds(head=1.5, idle=1.5)) as opened:
        assert (await opened.ask()).said == b""
        assert (await opened.ask(f"GET {server.url('/')} HTTP/1.1\r\n")).said == b""
        silent = await opened.ask(f"CONNECT {SOME}:{server.port} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert silent.said == b"HTTP/1.1 200 Connection established\r\n\r\n"
        await reaches(opened, server)


async def test_connections_are_counted(server: WebServer) -> None:
    async with door(f"{SOME}:*", bounds=Bounds(connections=2)) as opened:
        silent = [await anyio.connect_tcp("127.0.0.1", opened.port) for _ in range(2)]
        with anyio.move_on_after(0.3) as scope:
            await opened.get(server.url("/"))
        assert scope.cancelled_caught
        assert server.connections == 0
        await silent.pop().aclose()
        await reaches(opened, server)
        await silent.pop().aclose()


async def test_what_was_refused_is_told_once_and_not_without_end(server: WebServer) -> None:
    async with door(f"{SOME}:*") as opened:
        for number in (*range(110), *range(5)):
            assert (await opened.tunnel(f"h{number}.example:443")).status == 403
        assert len(opened.refused) == 100
        assert opened.refused[:2] == ["h0.example:443", "h1.example:443"]
        await reaches(opened, server)
