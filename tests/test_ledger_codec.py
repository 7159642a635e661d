from __future__ import annotations

import hashlib
import json
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_entries import AT, call, reserve, run_end

from meshclaw.errors import ExitCode, LedgerError
from meshclaw.ledger.codec import GENESIS, MAX_LINE, decode, encode, follows, seal, stated_hash
from meshclaw.ledger.entry import Correction, Entry, Rotation, Verdict

ENTRIES: list[Entry] = [
    reserve(),
    call(),
    call(input=None, output=None, cost_nusd=None, cost_state="unknown", possibly_billed=True),
    run_end(checks=({"name": "pytest", "state": "passed"},)),
    Verdict(at=AT, run="run-1", verdict="accepted", by="ada", why="merged"),
    Correction(at=AT, entry="ab" * 32, fields={"cost_nusd": 7}, why="the invoice says so"),
    Rotation(at=AT, previous="ledger-20261101T000000Z.jsonl", size=9, sha256="0" * 64, last_hash=""),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.kind)
def test_a_line_holds_what_was_written(entry: Entry) -> None:
    digest, line = seal(GENESIS, encode(entry))
    found = decode(line)
    assert found is not None
    assert not isinstance(found, str)
    assert json.loads(line)["kind"] == entry.kind
    assert found.h == digest.hex()
    again, _ = seal(GENESIS, encode(found))
    assert again == digest


def test_the_format_of_a_line_is_the_documented_one() -> None:
    body = encode(reserve())
    digest, line = seal(b"\x07" * 32, body)
    assert line == (
        b'{"v":1,"kind":"reserve","at":"2026-11-20T10:00:00.000Z","call":"run-1/1.1.0","run":"run-1",'
        b'"attempt":1,"step":1,"model":"acme/large","tokens":9000,"cost_nusd":5000000,'
        b'"expires":"2026-11-20T10:10:00.000Z","h":"'
        + hashlib.sha256(b"\x07" * 32 + body).hexdigest().encode()
        + b'"}\n'
    )
    assert stated_hash(line) == digest
    assert follows(line, b"\x07" * 32) == digest
    assert follows(line, GENESIS) is None


@pytest.mark.parametrize(
    "changes",
    [{"cost_nusd": 1.0}, {"cost_nusd": float("nan")}, {"input": -1}, {"output": True}, {"status": "great"}],
    ids=str,
)
def test_a_count_that_is_no_whole_number_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(LedgerError) as caught:
        encode(call(**changes))
    assert caught.value.exit_code is ExitCode.LEDGER
    assert encode(call())


@pytest.mark.parametrize(
    ("wire_usage", "kept"),
    [
        ({"input_tokens": 3, "cost": 0.25}, {"input_tokens": 3, "cost": 0.25}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ({"a": "x" * 20_000}, {"omitted_bytes": 20_008}),
        ({"a": object()}, {"omitted": "not JSON"}),
        ({"h": '","h":"'}, {"h": '","h":"'}),
    ],
    ids=["floats", "mapping", "long", "no JSON", "looks like a frame"],
)
def test_no_verbatim_usage_loses_a_paid_call(wire_usage: Any, kept: Any) -> None:
    body = encode(call(wire_usage=wire_usage))
    assert len(body) < MAX_LINE
    assert json.loads(body + b"}")["wire_usage"] == kept
    assert decode(seal(GENESIS, body)[1]) == call(wire_usage=kept)


def test_long_and_broken_text_is_cut_and_cleaned() -> None:
    body = encode(run_end(reason="r" * 100_000, project="/caf\udce9"))
    found = json.loads(body + b"}")
    assert len(body) < MAX_LINE
    assert found["reason"] == "r" * 1000 + "..."
    assert found["project"] == "/caf?"


def test_an_entry_that_stays_too_long_is_refused() -> None:
    with pytest.raises(LedgerError, match="longer than a line may be"):
        encode(run_end(checks=tuple({"name": str(number)} for number in range(10_000))))


def test_what_a_newer_version_wrote_is_passed_over_or_named() -> None:
    assert decode(b'{"v":1,"kind":"checkpoint","at":"x","h":"00"}') is None
    known = encode(call()) + b',"mood":"good","h":"' + b"0" * 64 + b'"}\n'
    assert decode(known) == call()
    assert decode(b'{"v":2,"kind":"call","at":"x"}') == "written in format 2, by a newer MeshClaw"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[1]",
        b"nonsense",
        b"\xff\xfe",
        b'{"v":1,"kind":"call"}',
        b'{"v":0,"kind":"call"}',
        b"[" * 9999,
    ],
)
def test_what_is_no_entry_is_said_to_be_none(line: bytes) -> None:
    assert isinstance(decode(line), str)


@given(st.binary(max_size=300))
def test_decoding_never_raises(line: bytes) -> None:
    decode(line)
    stated_hash(line)


@given(st.text(), st.integers(0, 2**70), st.none() | st.integers(0, 2**63))
def test_any_text_and_count_survives(text: str, tokens: int, cost: int | None) -> None:
    entry = reserve(model=text[:1000], tokens=tokens, cost_nusd=cost)
    assert decode(seal(GENESIS, encode(entry))[1]) == entry
