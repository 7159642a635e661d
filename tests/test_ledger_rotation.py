from __future__ import annotations

import hashlib
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from ledger_entries import call, reserve

from meshclaw.errors import ExitCode, LedgerError, Problem, ProblemsError
from meshclaw.ledger.chain import verify
from meshclaw.ledger.entry import Rotation
from meshclaw.ledger.file import FileLedger, read_entries
from meshclaw.ledger.rotation import files, history, rotate

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 21, 9, 30, 15, 250_000, tzinfo=timezone(timedelta(hours=2)))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


async def test_a_new_file_names_the_old_ones_digest(path: Path) -> None:
    async with FileLedger(path) as ledger:
        await ledger.append(reserve(), call())
        before, last_hash = path.read_bytes(), verify(path).last_hash
        old = rotate(path, NOW)
        assert old.name == "ledger-20261121T073015Z.jsonl"
        assert old.read_bytes() == before
        await ledger.append(reserve("run-2/1.1.0"))
    first, second = read_entries(path)
    assert first == Rotation(
        at="2026-11-21T07:30:15.250Z",
        previous=old.name,
        size=len(before),
        sha256=hashlib.sha256(before).hexdigest(),
        last_hash=last_hash,
    )
    assert second == reserve("run-2/1.1.0")
    assert path.stat().st_mode & 0o777 == 0o600
    assert verify(path).ok
    assert verify(path).previous == "matches"
    assert sorted(file.name for file in path.parent.iterdir()) == [old.name, path.name]


async def test_twice_in_a_second_keeps_both_in_order(path: Path) -> None:
    async with FileLedger(path) as ledger:
        await ledger.append(reserve("a/1"))
        rotated = [rotate(path, NOW) for _ in range(11)]
        await ledger.append(call("a/1"))
    assert [file.name for file in rotated[1:3]] == [
        "ledger-20261121T073015Z-2.jsonl",
        "ledger-20261121T073015Z-3.jsonl",
    ]
    assert files(path) == [*rotated, path]
    assert all(verify(file).ok for file in files(path))


async def test_a_changed_or_missing_old_file_is_told(path: Path) -> None:
    async with FileLedger(path) as ledger:
        await ledger.append(reserve())
        old = rotate(path, NOW)
        await ledger.append(call())
    assert verify(path).ok
    old.write_bytes(old.read_bytes().replace(b"acme", b"acne"))
    assert verify(path).previous == "differs"
    assert not verify(path).ok
    old.unlink()
    assert verify(path).previous == "missing"
    assert verify(path).ok


async def test_a_call_whose_reserve_is_in_the_old_file_is_in_order(path: Path) -> None:
    async with FileLedger(path) as ledger:
        await ledger.append(reserve())
        rotate(path, NOW)
        await ledger.append(call(), call("run-9/1.1.0"))
    assert verify(path).unreserved_calls == ("run-9/1.1.0",)


@pytest.mark.parametrize("damage", ["torn", "changed", "not a ledger"])
async def test_a_broken_ledger_is_kept_as_it_is(path: Path, damage: str) -> None:
    async with FileLedger(path) as ledger:
        await ledger.append(reserve(), call())
    data = path.read_bytes()
    broken = {"torn": data[:-20], "changed": data.replace(b"acme", b"acne"), "not a ledger": b"hello\n"}[
        damage
    ]
    path.write_bytes(broken)
    assert not verify(path).ok
    old = rotate(path, NOW)
    async with FileLedger(path) as ledger:
        await ledger.append(reserve())
    assert old.read_bytes() == broken
    assert verify(path).ok
    assert verify(path).previous == "matches"


async def test_history_reads_every_file_once_and_in_order(path: Path) -> None:
    assert list(history(path)) == []
    async with FileLedger(path) as ledger:
        await ledger.append(reserve("a/1"))
        rotate(path, NOW)
        await ledger.append(reserve("b/1"))
        reading = history(path)
        assert next(reading) == reserve("a/1")
        rotate(path, NOW + timedelta(seconds=1))
        await ledger.append(reserve("c/1"))
        rest = [entry for entry in reading if not isinstance(entry, Rotation)]
    assert rest == [reserve("b/1"), reserve("c/1")]


def test_nothing_to_rotate_is_a_users_mistake(path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ProblemsError) as caught:
            rotate(path, NOW)
        assert caught.value.exit_code is ExitCode.USAGE
        path.touch(0o600)


def test_a_ledger_that_is_not_safe_is_not_rotated(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("x\n")
    path.symlink_to(target)
    with pytest.raises(LedgerError):
        rotate(path, NOW)
    assert path.is_symlink()


async def test_killed_between_the_two_names_nothing_is_counted_twice(path: Path) -> None:
    """The state after the first of the two renaming steps: one file with both names."""
    async with FileLedger(path) as ledger:
        await ledger.append(reserve())
        stale = path.with_name("ledger-20261120T000000Z.jsonl")
        os.link(path, stale)
        path.with_name(".ledger.jsonl.new").write_text("half a draft")
        await ledger.append(call())
        assert files(path) == [path]
        assert verify(path).ok
        old = rotate(path, NOW)
        await ledger.append(reserve("run-2/1.1.0"))
    assert files(path) == [old, path]
    assert not stale.exists()
    assert verify(old).entries == 2
    assert sorted(file.name for file in path.parent.iterdir()) == [old.name, path.name]


async def test_appenders_lose_nothing_while_the_file_is_rotated(path: Path) -> None:
    done = 0

    async def work(ledger: FileLedger, name: int) -> None:
        nonlocal done
        for number in range(60):
            await ledger.append(reserve(f"r{name}/{number}"), call(f"r{name}/{number}"))
            done += 1

    one, two = FileLedger(path), FileLedger(path)
    async with one, two, anyio.create_task_group() as group:
        for name in range(4):
            group.start_soon(work, one if name % 2 else two, name)
        for turn in range(6):
            while done < 30 * turn:
                await anyio.sleep(0.001)
            if path.exists():
                await to_thread.run_sync(rotate, path, NOW + timedelta(seconds=turn))
    assert len(files(path)) >= 6
    assert all(verify(file).ok for file in files(path))
    found = [entry for file in files(path) for entry in read_entries(file)]
    assert not any(isinstance(entry, Problem) for entry in found)
    assert sum(entry == reserve(entry.call) for entry in found if entry.kind == "reserve") == 240  # type: ignore[union-attr]


def test_other_files_are_no_rotated_ledgers(path: Path) -> None:
    names = ["ledger-2026.jsonl", "ledger.torn-20261120T000000Z-1", "other-20261120T000000Z.jsonl"]
    for name in [*names, "ledger-20261120T000000Z.jsonl"]:
        path.with_name(name).touch()
    path.with_name("ledger-20261121T000000Z.jsonl").symlink_to(path)
    assert files(path) == [path.with_name("ledger-20261120T000000Z.jsonl")]
    assert files(path.parent / "nowhere" / "ledger.jsonl") == []
