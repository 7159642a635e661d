"""`fetch`: answers without end or sense, surroundings that would divert it; each beside what it reads."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from fetch_calls import PUBLIC, Names, anywhere, context, error, fetch, fetch_tool, text
from web_server import Answer, Certificate, WebServer, answer, redirect

from meshclaw.tools.web_http import BODY_BYTES, HEADER_BYTES, WIRE_BYTES


@pytest.fixture
async def server() -> AsyncIterator[WebServer]:
    async with WebServer(PUBLIC) as running:
        running.routes["/"] = answer(b"hello")
        yield running


async def endless(*pieces: bytes) -> AsyncIterator[bytes]:
    """The first ones once, the last one for ever."""
    for piece in pieces[:-1]:
        yield piece
    while True:
        yield pieces[-1]
        await anyio.lowlevel.checkpoint()


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
BLOCK = b"x" * 16_384
CHUNKED = PLAIN + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = zlib.compress(b"\0" * (BODY_BYTES + 1), 9)


def packed(body: bytes, encoding: str) -> bytes:
    return answer(body, headers={"Content-Encoding": encoding})


BREAKING: dict[str, tuple[Answer, str]] = {
    "gzip bomb": (packed(gzip.compress(b"a" * 50_000_000), "gzip"), f"more than {BODY_BYTES}"),
    "gzip one byte too long": (packed(gzip.compress(b"a" * (BODY_BYTES + 1)), "gzip"), "unpacks to more"),
    "deflate bomb": (packed(BOMB, "deflate"), "unpacks to more"),
    "raw deflate bomb": (packed(BOMB[2:-4], "deflate"), "unpacks to more"),
    "bomb in a bomb": (packed(gzip.compress(gzip.compress(b"a" * 10**6)), "gzip, gzip"), "not asked for"),
    "second gzip member": (packed(gzip.compress(b"a") + gzip.compress(b"b"), "gzip"), "something follows"),
    "broken gzip": (packed(b"not gzip at all", "gzip"), "broken"),
    "cut gzip": (packed(gzip.compress(b"a" * 1_000)[:-5], "gzip"), "ends too early"),
    "brotli": (packed(b"x", "br"), "not asked for"),
    "endless body": (lambda: endless(PLAIN + b"\r\n", BLOCK), f"larger than {WIRE_BYTES}"),
    "endless chunks": (
        lambda: endless(CHUNKED, b"4000\r\n" + BLOCK + b"\r\n"),
        f"larger than {WIRE_BYTES}",
    ),
    "endless chunk extension": (lambda: endless(CHUNKED, b"1;", BLOCK), "not proper HTTP"),
    "endless trailers": (lambda: endless(CHUNKED, b"0\r\n", b"a: b\r\n"), "not proper HTTP"),
    "huge body": (answer(b"x" * (WIRE_BYTES + 1)), f"larger than {WIRE_BYTES}"),
    "endless headers": (lambda: endless(PLAIN, b"x-a: b\r\n" * 100), "headers"),
    "one endless header": (lambda: endless(PLAIN, b"x-a: ", BLOCK), "headers"),
    "endless status line": (lambda: endless(b"HTTP/1.1 200 ", BLOCK), "headers"),
    "endless answers in between": (
        lambda: endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        f"headers are larger than {HEADER_BYTES}",
    ),
    "switched protocols": (
        b"HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        "proper|broke off",
    ),
    "nothing": (b"", "not proper HTTP|broke off"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "not proper HTTP"),
    "HTTP/0.9": (b"hello", "not proper HTTP"),
    "cut body": (PLAIN + b"Content-Length: 100\r\n\r\nhello", "not proper HTTP"),
    "cut chunks": (CHUNKED + b"5\r\nhello\r\n", "not proper HTTP"),
    "negative length": (PLAIN + b"Content-Length: -1\r\n\r\nhello", "not proper HTTP"),
    "two lengths": (PLAIN + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "not proper HTTP"),
    "NUL in a header": (PLAIN + b"x-a: \0\r\n\r\nhello", "not proper HTTP"),
    "image": (answer(b"\x89PNG", "image/png"), "is image/png; only text"),
    "archive": (answer(b"PK", "application/zip"), "only text"),
    "no type": (answer(b"hello", ""), "of no stated type; only text"),
    "text in name only": (answer(b"\x7fELF\0\0\0", "text/plain"), "binary"),
    "not there": (answer(b"", status="404 Not Found"), "answers 404 Not Found; check the URL"),
    "part": (answer(b"hello", status="206 Partial Content"), "answers 206"),
    "nothing changed": (answer(b"", status="304 Not Modified"), "answers 304"),
}


@pytest.mark.parametrize(("route", "says"), BREAKING.values(), ids=BREAKING)
async def test_answers_that_are_refused(
    server: WebServer, tmp_path: Path, route: Answer, says: str
) -> None:
    server.routes["/bad"] = route
    told = error(await fetch(server.url("/bad"), tmp_path))
    assert any(part in told for part in says.split("|")), told
    assert len(told) < 500
    assert text(await fetch(server.url(), tmp_path)).endswith("\nhello")


GOOD: dict[str, tuple[Answer, str]] = {
    "gzip": (packed(gzip.compress(b"hello"), "gzip"), "hello"),
    "x-gzip": (packed(gzip.compress(b"hello"), "X-Gzip"), "hello"),
    "deflate": (packed(zlib.compress(b"hello"), "deflate"), "hello"),
    "raw deflate": (packed(zlib.compress(b"hello")[2:-4], "deflate"), "hello"),
    "identity": (packed(b"hello", "identity"), "hello"),
    "chunks": (CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"),
    "until the end": (PLAIN + b"\r\nhello", "hello"),
    "answer in between": (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(b"hello"), "hello"),
    "empty": (answer(b""), "[empty]"),
    "json": (answer(b'{"a": 1}', "application/json; charset=utf-8"), '{"a": 1}'),
    "feed": (answer(b"<feed/>", "application/atom+xml"), "<feed/>"),
    "latin-1": (answer(b"b\xfccher", "text/plain; charset=ISO-8859-1"), "bücher"),
    "utf-16": (answer("bücher".encode("utf-16"), "text/plain"), "bücher"),
    "wrong utf-8": (answer(b"b\xfccher", "text/plain"), "b\ufffdcher"),
    "unknown charset": (answer("ü".encode(), "text/plain; charset=klingon"), "ü"),
    "charset that is none": (answer(b"a-1", "text/plain; charset=punycode"), "a-1"),
    "charset of escapes": (answer(rb"\x41", "text/plain; charset=unicode_escape"), r"\x41"),
    "charset in the page": (answer(b'<meta charset="iso-8859-1">b\xfccher', "text/html"), "bücher\n"),
    "page": (answer(b"<title>T</title><p>a<script>x()</script><p>b", "text/html"), "Title: T\n\na\n\nb\n"),
    "controls": (answer("a\x1b]0;x\x07b\U000e0041\r\nc".encode(), "text/plain"), "a]0;xb\nc"),
}


@pytest.mark.parametrize(("route", "shown"), GOOD.values(), ids=GOOD)
async def test_answers_that_are_shown(server: WebServer, tmp_path: Path, route: Answer, shown: str) -> None:
    """The control of those that are refused."""
    server.routes["/good"] = route
    assert text(await fetch(server.url("/good"), tmp_path)).partition("\n")[2] == shown


@pytest.mark.parametrize(("packing", "size"), [("identity", WIRE_BYTES - 1_000), ("gzip", BODY_BYTES)])
async def test_answers_just_within_the_bounds(
    server: WebServer, tmp_path: Path, packing: str, size: int
) -> None:
    body = b"x" * size
    server.routes["/"] = packed(gzip.compress(body) if packing == "gzip" else body, packing)
    shown = await fetch_tool().call({"url": server.url()}, context(tmp_path))
    assert shown.content.partition("\n")[2] == body.decode()


async def test_a_bomb_is_never_unpacked_whole(server: WebServer, tmp_path: Path) -> None:
    bomb = gzip.compress(b"a" * 50_000_000)
    server.routes["/"] = packed(bomb, "gzip")
    tracemalloc.start()
    try:
        assert "unpacks to more" in error(await fetch(server.url(), tmp_path))
        assert tracemalloc.get_traced_memory()[1] < 4 * BODY_BYTES
        tracemalloc.reset_peak()
        assert len(gzip.decompress(bomb)) < tracemalloc.get_traced_memory()[1], "the probe sees a bomb"
    finally:
        tracemalloc.stop()


async def dripping(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces[:-1]:
        yield piece
    while True:
        yield pieces[-1]
        await anyio.sleep(0.02)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((PLAIN + b"\r\n", b"x"), id="body"),
        pytest.param((CHUNKED, b"1\r\nx\r\n"), id="chunks"),
        pytest.param((PLAIN, b"x"), id="headers"),
        pytest.param((b"H", b""), id="silence"),
        pytest.param((b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="answers in between"),
    ],
)
async def test_a_slow_drip_ends_at_the_deadline(
    server: WebServer, tmp_path: Path, pieces: tuple[bytes, ...]
) -> None:
    server.routes["/slow"] = lambda: dripping(*pieces)
    assert "longer than 0.3 s" in error(await fetch(server.url("/slow"), tmp_path, seconds=0.3))
    assert text(await fetch(server.url(), tmp_path, seconds=30))


async def test_the_deadline_is_for_all_redirects_and_lookups(server: WebServer, tmp_path: Path) -> None:
    async def slow(location: str) -> AsyncIterator[bytes]:
        await anyio.sleep(0.15)
        yield redirect(location)

    server.routes["/a"] = lambda: slow("/b")
    server.routes["/b"] = lambda: slow("/a")
    assert "longer than 0.4 s" in error(await fetch(server.url("/a"), tmp_path, seconds=0.4))

    class Silent(Names):
        async def __call__(self, host: str, port: int) -> Sequence[str]:
            await anyio.sleep_forever()
            return []

    assert "longer than 0.1 s" in error(await fetch(server.url(), tmp_path, Silent(), seconds=0.1))


async def test_nobody_there(tmp_path: Path) -> None:
    async with WebServer(PUBLIC) as gone:
        url = gone.url()
    assert "Connection refused" in error(await fetch(url, tmp_path))


# What surrounds it.


async def test_proxy_variables_are_ignored(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with WebServer(PUBLIC) as trap:
        trap.routes["http://page.example/"] = answer(b"trapped")
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://{PUBLIC}:{trap.port}")
            monkeypatch.setenv(name.upper(), f"http://{PUBLIC}:{trap.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert text(await fetch(server.url(), tmp_path)).endswith("\nhello")
        assert (server.connections, trap.connections) == (1, 0)

        import httpx2

        async with httpx2.AsyncClient() as client:
            assert (await client.get("http://page.example/")).text == "trapped", "the trap does catch"
        assert trap.connections == 1


async def test_netrc_is_ignored(server: WebServer, tmp_path: Path, home: Path) -> None:
    (home / ".netrc").write_text("machine page.example login me password secret\n")
    (home / ".netrc").chmod(0o600)
    assert text(await fetch(server.url(), tmp_path))
    assert "authorization" not in server.asked[0].lower()


async def test_the_certificate_is_the_names(tmp_path: Path) -> None:
    """The address is dialled, but SNI and verification go by the name."""
    certificate = Certificate(tmp_path, "page.example")
    async with WebServer(PUBLIC, tls=certificate.server) as server:
        server.routes["/"] = answer(b"hello")
        trusting = certificate.trusting
        assert text(await fetch(server.url(), tmp_path, tls=trusting)).endswith("\nhello")
        assert certificate.names == ["page.example"]
        for host, tls in (("other.example", trusting), (PUBLIC, trusting), ("page.example", None)):
            told = error(await fetch(server.url("/", host), tmp_path, tls=tls))
            assert "cannot prove that it is that host" in told
        assert len(server.asked) == 1


async def test_no_way_back_from_https(server: WebServer, tmp_path: Path) -> None:
    certificate = Certificate(tmp_path, "page.example")
    async with WebServer(PUBLIC, tls=certificate.server) as secure:
        secure.routes["/moved"] = redirect(server.url())
        done = await fetch(secure.url("/moved"), tmp_path, review=anywhere, tls=certificate.trusting)
        assert "from https to http" in error(done)
        assert done.denied
        assert server.connections == 0
        secure.routes["/"] = answer(b"secure")
        for start in (secure, server):
            start.routes["/moved"] = redirect(secure.url())
            done = await fetch(start.url("/moved"), tmp_path, review=anywhere, tls=certificate.trusting)
            assert text(done).endswith("\nsecure")
