from __future__ import annotations

import random
from pathlib import Path

import pytest
from ledger_entries import call, reserve, run_end

from meshclaw.ledger.chain import verify
from meshclaw.ledger.codec import GENESIS, encode, seal
from meshclaw.ledger.entry import Entry


def write(path: Path, *entries: Entry) -> list[bytes]:
    """A well-formed ledger, made without the code that appends; returns its lines."""
    digest, lines = GENESIS, []
    for entry in entries:
        digest, line = seal(digest, encode(entry))
        lines.append(line)
    path.write_bytes(b"".join(lines))
    path.chmod(0o600)
    return lines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def test_a_missing_and_an_empty_ledger_are_in_order(path: Path) -> None:
    for _ in range(2):
        found = verify(path)
        assert found.ok
        assert (found.entries, found.bytes, found.last_hash) == (0, 0, "0" * 64)
        path.touch()


def test_a_ledger_in_order(path: Path) -> None:
    lines = write(path, reserve(), call(), run_end())
    found = verify(path)
    assert found.ok
    assert (found.entries, found.bytes) == (3, sum(map(len, lines)))
    assert lines[-1].endswith(f'"h":"{found.last_hash}"}}\n'.encode())


def test_every_one_of_2000_flipped_bits_is_found(path: Path) -> None:
    lines = write(path, *(entry for n in range(4) for entry in (reserve(f"r{n}/1"), call(f"r{n}/1"))))
    data = b"".join(lines)
    assert verify(path).ok
    chosen = random.Random(7)
    for _ in range(2000):
        position, bit = chosen.randrange(len(data)), chosen.randrange(8)
        flipped = bytearray(data)
        flipped[position] ^= 1 << bit
        path.write_bytes(flipped)
        found = verify(path)
        assert found.bad is not None, f"bit {bit} of byte {position} was flipped unseen"
        assert found.bad.line <= 1 + data[:position].count(b"\n")


def test_upper_case_digits_and_spaces_in_the_frame_are_found(path: Path) -> None:
    (line,) = write(path, reserve())
    head, digits = line[:-67], line[-67:-3]
    for changed in (
        head + digits.upper() + b'"}\n',
        head[:-1] + b' "' + digits + b'"}\n',
        line[:-1] + b"\r\n",
    ):
        assert changed != line
        path.write_bytes(changed)
        assert not verify(path).ok


@pytest.mark.parametrize(
    ("change", "bad_line", "why"),
    [
        (lambda lines: lines[1:], 1, "does not match its hash"),
        (lambda lines: [lines[0], *lines[2:]], 2, "does not match its hash"),
        (lambda lines: [lines[1], lines[0], lines[2]], 1, "does not match its hash"),
        (lambda lines: [lines[0], *lines], 2, "does not match its hash"),
        (lambda lines: [*lines, b"{}\n"], 4, "does not end as a ledger's line does"),
        (lambda lines: [*lines, b'{"v":1'], 4, "not whole"),
        (lambda lines: [*lines[:2], lines[2][:-1]], 3, "not whole"),
        (lambda lines: [*lines, b"\n"], 4, "does not end as a ledger's line does"),
    ],
    ids=["first gone", "middle gone", "swapped", "repeated", "added", "torn", "no line feed", "empty line"],
)
def test_the_first_bad_line_is_named(path: Path, change: object, bad_line: int, why: str) -> None:
    lines = write(path, reserve(), call(), run_end())
    assert callable(change)
    path.write_bytes(b"".join(change(lines)))
    found = verify(path)
    assert not found.ok
    assert found.bad is not None
    assert found.bad.line == bad_line
    assert why in found.bad.message
    assert found.entries == bad_line - 1


def test_a_line_that_is_chained_but_is_no_entry_is_bad(path: Path) -> None:
    (line,) = write(path, reserve())
    path.write_bytes(line + seal(bytes.fromhex(line[-67:-3].decode()), b'{"v":1,"kind":"call"')[1])
    found = verify(path)
    assert found.bad is not None
    assert found.bad.line == 2
    assert "not an entry" in found.bad.message


def test_kinds_of_a_newer_version_are_in_order(path: Path) -> None:
    (line,) = write(path, reserve())
    path.write_bytes(line + seal(bytes.fromhex(line[-67:-3].decode()), b'{"v":1,"kind":"checkpoint"')[1])
    assert verify(path).ok
    assert verify(path).entries == 2


def test_calls_that_do_not_fit_their_reserves_are_named(path: Path) -> None:
    write(path, reserve("a/1"), call("a/1"), call("a/1"), reserve("b/1"), reserve("b/1"), call("c/1"))
    found = verify(path)
    assert not found.ok
    assert found.bad is None
    assert found.repeated_calls == ("a/1",)
    assert found.repeated_reserves == ("b/1",)
    assert found.unreserved_calls == ("c/1",)


def test_what_a_chain_cannot_see(path: Path) -> None:
    lines = write(path, reserve(), call(), run_end())
    path.write_bytes(b"".join(lines[:2]))
    assert verify(path).ok
    write(path, reserve(cost_nusd=1), call(cost_nusd=1))
    assert verify(path).ok
