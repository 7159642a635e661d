"""Server-sent events out of bytes, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshclaw.providers.sse import EventDecoder

STREAM = (
    ": a comment\n\n"
    'event: x\nid: 7\nretry: 10\ndata: {"a": 1}\n\n'
    "data:no space\n\n"
    "data: two\ndata:  lines\n\n"
    "event: nothing\n\n"
    "data: U+2028 \u2028 and ünï\n\n"
    "data\n\n"
    "data: unfinished\n"
)
EVENTS = ['{"a": 1}', "no space", "two\n lines", "U+2028 \u2028 and ünï", ""]


@given(st.lists(st.integers(0, len(STREAM.encode())), max_size=12), st.booleans())
def test_any_cut_gives_the_same_events(cuts: list[int], crlf: bool) -> None:
    raw = (STREAM.replace("\n", "\r\n") if crlf else STREAM).encode()
    edges = [0, *sorted(cuts), len(raw)]
    decoder = EventDecoder()
    chunks = [raw[start:end] for start, end in pairwise(edges)]
    assert [event for chunk in chunks for event in decoder.feed(chunk)] == EVENTS
    assert decoder.strays == 0


def test_other_lines_are_counted_as_strays() -> None:
    decoder = EventDecoder()
    assert list(decoder.feed(b"<html>\nhello: you\n\ndata: x\n\n")) == ["x"]
    assert decoder.strays == 2


@pytest.mark.parametrize("raw", [b"data: \xff\xfe\n\n"])
def test_bytes_that_are_no_text_do_not_raise(raw: bytes) -> None:
    assert list(EventDecoder().feed(raw)) == ["��"]
