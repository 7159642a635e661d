"""What must hold when many processes append, when they are killed, and when the disk is full."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import ledger_child
import pytest

from meshclaw.errors import Problem
from meshclaw.ledger.chain import verify
from meshclaw.ledger.entry import Reserve
from meshclaw.ledger.file import FileLedger, read_entries

HERE = Path(__file__).parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def _calls(path: Path) -> list[str]:
    entries = list(read_entries(path))
    assert not any(isinstance(entry, Problem) for entry in entries)
    return [entry.call for entry in entries if isinstance(entry, Reserve)]


@pytest.mark.slow
def test_fifty_processes_append_a_thousand_entries_each(path: Path) -> None:
    """Ten append one after the other, forty from ten tasks each, all at once."""
    script = str(HERE / "ledger_child.py")
    children = [
        subprocess.Popen(
            [sys.executable, script, str(path), f"p{number}", "1000", "1" if number < 10 else "10"],
            stdout=subprocess.PIPE,
        )
        for number in range(50)
    ]
    acknowledged: set[str] = set()
    for number, child in enumerate(children):
        output, _ = child.communicate(timeout=300)
        assert child.returncode == 0
        acknowledged.update(f"p{number}/{line.decode()}" for line in output.split())
    calls = _calls(path)
    assert len(acknowledged) == 50_000
    assert set(calls) == acknowledged
    found = verify(path)
    assert found.ok
    assert found.entries == len(calls) == 50_000


def _fork(path: Path, name: str, tasks: int) -> tuple[int, int]:
    """A child that appends until it is killed; returns its id and where it says what is durable."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.dup2(writing, 1)
            asyncio.run(ledger_child.main(path, name, 100_000, tasks))
        finally:
            os._exit(1)
    os.close(writing)
    return child, reading


def _driver(path: Path, kills: int) -> None:
    """Runs alone in a process without threads, so that it may fork. Prints what was acknowledged."""
    chosen = random.Random(11)
    for turn in range(kills):
        children = [_fork(path, f"k{turn}.{number}", tasks) for number, tasks in enumerate((1, 8))]
        heard = os.read(children[0][1], 1 << 16)
        time.sleep(chosen.uniform(0, 0.02))
        for child, _ in children:
            os.kill(child, signal.SIGKILL)
        for number, (child, reading) in enumerate(children):
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status)
            with open(reading, "rb") as pipe:
                said = pipe.read()
            said = (heard if number == 0 else b"") + said
            for line in said.split(b"\n")[:-1]:
                sys.stdout.write(f"k{turn}.{number}/{line.decode()}\n")


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing_that_was_acknowledged(path: Path) -> None:
    """A hundred times, two processes that append to one ledger are killed in the midst of it."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__)), str(path), "100"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    acknowledged = done.stdout.split()
    assert len(acknowledged) > 1000
    asyncio.run(_healed(path))
    calls = _calls(path)
    assert set(acknowledged) <= set(calls)
    assert len(calls) == len(set(calls))
    assert verify(path).ok


async def _healed(path: Path) -> None:
    """As the next append would: what was being written when the last child died is moved aside."""
    async with FileLedger(path) as ledger:
        await ledger.check_tail()


FILL = """
import asyncio, os, sys
from pathlib import Path
import ledger_child
from meshclaw.errors import LedgerError
from meshclaw.ledger.chain import verify
from meshclaw.ledger.file import FileLedger

async def main(path, ballast):
    kept = 0
    async with FileLedger(path) as ledger:
        try:
            while True:
                before = kept
                await ledger.append(*(ledger_child.entry("run", kept + n) for n in range(7)))
                kept += 7
        except LedgerError as error:
            print(int(error.exit_code), error, sep="\\t")
        found = verify(path)
        print(found.ok, found.entries == kept, kept > 20, sep="\\t")
        ballast.unlink()
        await ledger.append(ledger_child.entry("run", kept))
        print(verify(path).ok, verify(path).entries == kept + 1, sep="\\t")

asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def _own_mounts() -> Sequence[str] | None:
    """The command that gives a process a mount table of its own, if this machine allows it."""
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None:
        return None
    probe = [*command, "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/mnt"]
    return command if subprocess.run(probe, capture_output=True, check=False).returncode == 0 else None


def test_a_disk_that_fills_up_in_mid_write_keeps_whole_lines_only(tmp_path: Path) -> None:
    own_mounts = _own_mounts()
    if own_mounts is None:
        pytest.skip("no user namespaces here, so no small disk to fill")
    script = (
        'mount -t tmpfs -o size=64k,mode=0700 tmpfs "$0" && head -c 16384 /dev/zero > "$0/ballast"'
        ' && exec "$1" -c "$2" "$0/ledger.jsonl" "$0/ballast"'
    )
    done = subprocess.run(
        [*own_mounts, "sh", "-c", script, str(tmp_path), sys.executable, FILL],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )
    assert done.returncode == 0, done.stderr
    refused, full, freed = done.stdout.splitlines()
    assert refused.startswith("9\tcannot write the ledger ")
    assert "free some space" in refused
    assert "bytes could be written" in refused
    assert full == "True\tTrue\tTrue"
    assert freed == "True\tTrue"


if __name__ == "__main__":
    _driver(Path(sys.argv[1]), int(sys.argv[2]))
