from __future__ import annotations

import fcntl
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import enumerate as living_threads

import anyio
import pytest
from ledger_entries import call, reserve

from meshclaw.errors import ExitCode, LedgerError, Problem
from meshclaw.ledger.chain import verify
from meshclaw.ledger.entry import Entry
from meshclaw.ledger.file import FileLedger

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger.jsonl"


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in living_threads() if thread.name.startswith("ledger ")] == []


def _entries(ledger: FileLedger, since: int = 0) -> list[Entry | Problem]:
    return list(ledger.read(since))


async def test_what_was_appended_is_read_back_in_order(path: Path) -> None:
    async with FileLedger(path) as ledger:
        assert _entries(ledger) == []
        await ledger.append(reserve(), call())
        size = path.stat().st_size
        await ledger.append(reserve("run-1/1.2.0"))
        assert _entries(ledger) == [reserve(), call(), reserve("run-1/1.2.0")]
        assert _entries(ledger, since=size) == [reserve("run-1/1.2.0")]
        with pytest.raises(ValueError, match="no line begins"):
            _entries(ledger, since=size - 5)
    assert verify(path).ok


async def test_the_file_and_its_folders_are_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deeper" / "ledger.jsonl"
    before = os.umask(0)
    try:
        async with FileLedger(path) as ledger:
            await ledger.append(reserve())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


async def test_many_tasks_share_one_chain(path: Path) -> None:
    async with FileLedger(path) as ledger, anyio.create_task_group() as group:
        for number in range(300):
            group.start_soon(ledger.append, reserve(f"run-{number}/1.1.0"), call(f"run-{number}/1.1.0"))
    found = verify(path)
    assert found.ok
    assert found.entries == 600


async def test_an_append_is_kept_together(path: Path) -> None:
    async with FileLedger(path) as ledger, anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(ledger.append, reserve(f"run-{number}/1.1.0"), call(f"run-{number}/1.1.0"))
    entries = [entry for entry in FileLedger(path).read() if not isinstance(entry, Problem)]
    assert all(a.run == b.run for a, b in zip(entries[::2], entries[1::2], strict=True))  # type: ignore[union-attr]


async def test_the_thread_ends_by_itself_and_starts_again(path: Path) -> None:
    ledger = FileLedger(path)
    await ledger.append(reserve())
    with anyio.fail_after(10):
        while any(thread.name.startswith("ledger ") for thread in living_threads()):
            await anyio.sleep(0.02)
    await ledger.append(call())
    await ledger.aclose()
    await ledger.aclose()
    assert verify(path).entries == 2


async def test_a_cancelled_wait_loses_no_write(path: Path) -> None:
    ledger = FileLedger(path)
    await ledger.append(reserve())
    with path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with anyio.move_on_after(0.05) as scope:
            await ledger.append(call())
        assert scope.cancelled_caught
        assert _entries(ledger) == [reserve()]
    await ledger.append(reserve("run-2/1.1.0"))
    await ledger.aclose()
    assert _entries(ledger) == [reserve(), call(), reserve("run-2/1.1.0")]


async def test_a_lock_that_is_not_given_back_ends_the_wait(path: Path) -> None:
    path.parent.mkdir()
    path.touch(0o600)
    script = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        async with FileLedger(path, lock_timeout=0.1) as ledger:
            with pytest.raises(LedgerError, match="another process holds the lock") as caught:
                await ledger.append(reserve())
            assert caught.value.exit_code is ExitCode.LEDGER
            holder.stdin.close()
            holder.wait(30)
            await ledger.append(reserve())
    assert verify(path).entries == 1


async def test_a_last_line_without_its_line_feed_gets_it(path: Path) -> None:
    said: list[str] = []
    async with FileLedger(path) as ledger:
        await ledger.append(reserve(), call())
    os.truncate(path, path.stat().st_size - 1)
    assert not verify(path).ok
    async with FileLedger(path, notify=said.append) as ledger:
        await ledger.append(reserve("run-2/1.1.0"))
        assert _entries(ledger) == [reserve(), call(), reserve("run-2/1.1.0")]
    assert verify(path).ok
    assert said == [f"{path}: the last line lacked its line feed; it was added"]


@pytest.mark.parametrize("keep", [1, 40, 200])
async def test_a_torn_last_line_is_moved_aside(path: Path, keep: int) -> None:
    said: list[str] = []
    async with FileLedger(path) as ledger:
        await ledger.append(reserve())
        size = path.stat().st_size
        await ledger.append(call())
    os.truncate(path, size + keep)
    torn = path.read_bytes()[size:]
    entry, problem = FileLedger(path).read()
    assert entry == reserve()
    assert isinstance(problem, Problem)
    assert problem.line == 2
    async with FileLedger(path, notify=said.append) as ledger:
        await ledger.check_tail()
        assert path.stat().st_size == size
        await ledger.append(call())
    assert verify(path).entries == 2
    (aside,) = path.parent.glob("ledger.torn-*Z-1")
    assert aside.read_bytes() == torn
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert len(said) == 1
    assert str(aside) in said[0]


async def test_a_first_line_that_is_torn_is_moved_aside_each_time_to_a_new_file(path: Path) -> None:
    path.parent.mkdir()
    for text in ("one", "two"):
        path.write_text(text)
        path.chmod(0o600)
        os.utime(path, (0, 0))
        async with FileLedger(path) as ledger:
            await ledger.check_tail()
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "ledger.jsonl",
        "ledger.torn-19700101T000000Z-1",
        "ledger.torn-19700101T000000Z-2",
    ]


@pytest.mark.parametrize("damage", ["last", "before last", "no ledger"])
async def test_nothing_is_appended_after_a_last_line_that_is_not_in_order(path: Path, damage: str) -> None:
    async with FileLedger(path) as ledger:
        await ledger.append(reserve(), call(), reserve("run-2/1.1.0"))
    data = bytearray(path.read_bytes())
    if damage == "last":
        data[-90] ^= 1
    elif damage == "before last":
        data[data.index(b"\n", data.index(b"\n") + 1) - 5] ^= 1
    else:
        data[:] = b"export PATH=/bin\nalias ls=ls\n"
    path.write_bytes(data)
    async with FileLedger(path) as ledger:
        with pytest.raises(LedgerError, match="cannot append") as caught:
            await ledger.check_tail()
    assert "ledger rotate" in caught.value.hint
    assert path.read_bytes() == data


async def test_damage_further_up_does_not_stop_a_run(path: Path) -> None:
    async with FileLedger(path) as ledger:
        for number in range(5):
            await ledger.append(reserve(f"run-{number}/1.1.0"))
        data = bytearray(path.read_bytes())
        data[30] ^= 1
        path.write_bytes(data)
    async with FileLedger(path) as ledger:
        await ledger.check_tail()
    assert not verify(path).ok


async def test_a_symlink_is_refused(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch(0o600)
    path.parent.mkdir()
    path.symlink_to(target)
    async with FileLedger(path) as ledger:
        with pytest.raises(LedgerError, match="symbolic links"):
            await ledger.append(reserve())
        with pytest.raises(LedgerError, match="name the file itself"):
            _entries(ledger)
        path.unlink()
        await ledger.append(reserve())
    assert target.read_bytes() == b""


@pytest.mark.parametrize(("mode", "safe"), [(0o620, False), (0o602, False), (0o600, True), (0o644, True)])
async def test_a_file_that_others_may_write_is_refused(path: Path, mode: int, safe: bool) -> None:
    path.parent.mkdir()
    path.touch()
    path.chmod(mode)
    async with FileLedger(path) as ledger:
        if safe:
            await ledger.append(reserve())
        else:
            with pytest.raises(LedgerError, match="others may write") as caught:
                await ledger.append(reserve())
            assert f"chmod 600 '{path}'" in caught.value.hint
    assert bool(path.stat().st_size) is safe


async def test_a_file_made_writable_for_others_while_it_is_open_is_refused(path: Path) -> None:
    async with FileLedger(path) as ledger:
        await ledger.append(reserve())
        path.chmod(0o666)
        with pytest.raises(LedgerError, match="others may write"):
            await ledger.append(call())
    assert verify(path).entries == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_a_file_of_another_user_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.touch(0o600)
    os.chown(path, 1234, -1)
    async with FileLedger(path) as ledger:
        with pytest.raises(LedgerError, match="belongs to user 1234") as caught:
            await ledger.append(reserve())
    assert "chown" in caught.value.hint


@pytest.mark.parametrize("kind", ["folder", "fifo", "device"])
async def test_what_is_not_a_regular_file_is_refused(path: Path, kind: str) -> None:
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path, 0o600)
    else:
        path = Path("/dev/null")
    async with FileLedger(path) as ledger:
        with anyio.fail_after(20), pytest.raises(LedgerError):
            await ledger.append(reserve())


@pytest.mark.parametrize("kind", ["file", "dangling symlink"])
async def test_a_folder_that_cannot_be_made_is_told(path: Path, kind: str) -> None:
    if kind == "file":
        path.parent.touch()
    else:
        path.parent.symlink_to(path.parent.parent / "nowhere")
    async with FileLedger(path) as ledger:
        with anyio.fail_after(20), pytest.raises(LedgerError, match="cannot write the ledger"):
            await ledger.append(reserve())


async def test_a_ledger_that_was_removed_begins_anew(path: Path) -> None:
    async with FileLedger(path) as ledger:
        await ledger.append(reserve())
        path.unlink()
        await ledger.append(call())
        assert _entries(ledger) == [call()]


async def test_a_write_that_does_not_fit_is_taken_back(path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with FileLedger(path) as ledger:
        await ledger.append(reserve())
        kept = path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) + 100, before[1]))
        try:
            for _ in range(2):
                with pytest.raises(LedgerError, match="only 100 of") as caught:
                    await ledger.append(call())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert caught.value.exit_code is ExitCode.LEDGER
        assert caught.value.hint
        assert path.read_bytes() == kept
        await ledger.append(call())
    assert verify(path).entries == 2


async def test_an_entry_that_cannot_be_written_reaches_its_own_caller_only(path: Path) -> None:
    async with FileLedger(path) as ledger:
        with pytest.raises(LedgerError, match="call entry"):
            await ledger.append(call(input=-1))
        await ledger.append(call())
    assert verify(path).entries == 1


async def test_lines_that_cannot_be_understood_come_as_problems(path: Path) -> None:
    async with FileLedger(path) as ledger:
        await ledger.append(reserve())
        line = path.read_bytes()
        path.write_bytes(line + b"nonsense\n" + b'{"v":1,"kind":"later"}\n' + line)
        first, problem, last = _entries(ledger)
    assert first == last == reserve()
    assert isinstance(problem, Problem)
    assert (problem.source, problem.line) == (str(path), 2)


async def test_a_line_without_end_is_read_within_bounds(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"x" * 6_000_000)
    path.chmod(0o600)
    (problem,) = FileLedger(path).read()
    assert isinstance(problem, Problem)
    async with FileLedger(path) as ledger:
        with pytest.raises(LedgerError, match="longer than any line"):
            await ledger.check_tail()
    assert path.stat().st_size == 6_000_000
