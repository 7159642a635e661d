"""Entries as lines, and lines as entries.

A line is one JSON object: the *body* (its bytes before `,"h":"`), then `,"h":"`, 64 lowercase hex
digits, `"}` and LF. The hash of a line is SHA-256(previous hash as 32 bytes, or GENESIS, followed by
the body). No canonical form of JSON is involved: the bytes as written are what is hashed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, get_args

import msgspec

from meshclaw.errors import LedgerError, Problem
from meshclaw.frozen import dataclass
from meshclaw.ledger.entry import Call, Entry, Reserve, RunEnd

FORMAT = 1
GENESIS = bytes(32)
MAX_LINE = 64 * 1024
"""The most bytes of a line that is written, LF included."""
MAX_READ = 1024 * 1024
"""The most bytes of a line that is read: a newer version may write longer ones."""
MAX_WIRE_USAGE = 16 * 1024
"""A provider's verbatim usage above this many bytes is replaced by a note of its size."""

_HASH_KEY = b',"h":"'
_FRAME = len(_HASH_KEY) + 64 + len(b'"}\n')
_MAX_TEXT = 1000

KINDS: Mapping[str, type[Entry]] = {kind.kind: kind for kind in get_args(Entry)}
"""Every kind of entry by the name that it has in a line."""

_DECODERS = {name.encode(): msgspec.json.Decoder(kind) for name, kind in KINDS.items()}
_HEADS = {kind: f'{{"v":{FORMAT},"kind":"{name}",'.encode() for name, kind in KINDS.items()}
_COUNTS = {
    # With `h` twice, so that there are always several, and a tuple comes back.
    kind: attrgetter("h", "h", *(item.name for item in fields(kind) if "Count" in str(item.type)))
    for kind in KINDS.values()
}
_HEAD_START = f'{{"v":{FORMAT},"kind":"'.encode()


Correctable = Reserve | Call | RunEnd
_IDENTITY = frozenset({"h", "call", "run"})


class _Head(msgspec.Struct):
    v: int
    kind: str


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} has no place in the ledger")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)


def encode(entry: Entry) -> bytes:
    """The body of the line that will hold `entry`.

    A provider's verbatim usage that is too long or is no JSON becomes a note, text that is no UTF-8
    loses what is not, and long text is cut when the line would pass MAX_LINE: a paid call must never
    be missing for what came with it. What is written can be read: raises LedgerError for an entry
    whose counts are no whole numbers >= 0, or that stays too long.
    """
    try:
        body = _encode(entry)
    except (TypeError, ValueError, RecursionError):
        body = _encode_shortened(entry)
    if len(body) + _FRAME > MAX_LINE or _long_wire_usage(entry, body):
        body = _encode_shortened(entry)
    if len(body) + _FRAME > MAX_LINE:
        raise LedgerError(f"a {entry.kind} entry of {len(body)} bytes is longer than a line may be")
    return body


def decode(line: bytes) -> Entry | str | None:
    """The entry in a line (LF may be missing), or a text that says why it cannot be understood.

    None for a kind that this version does not know: a newer one wrote it, and it is no mistake. Keys
    that this version does not know are passed over.
    """
    start = len(_HEAD_START)
    kind = line[start : line.find(b'"', start)] if line.startswith(_HEAD_START) else b""
    decoder = _DECODERS.get(kind)
    try:
        if decoder is not None:
            return decoder.decode(line)
        head = msgspec.json.decode(line, type=_Head)
        if head.v > FORMAT:
            return f"written in format {head.v}, by a newer MeshClaw"
        if head.v < FORMAT:
            return f"there is no format {head.v}"
        known = KINDS.get(head.kind)
        return None if known is None else msgspec.json.decode(line, type=known)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return f"not an entry: {error}"


def corrected(entry: Correctable, changes: Mapping[str, Any]) -> Correctable | str:
    """The entry with a correction's fields in place, or a text that says why that cannot be."""
    values = {item.name: getattr(entry, item.name) for item in fields(entry)}
    for name in changes:
        if name not in values or name in _IDENTITY:
            return f"a {entry.kind} entry has no field {name!r} that can be corrected"
    try:
        return msgspec.convert({**values, **changes}, type=type(entry))
    except msgspec.ValidationError as error:
        return f"not a correction: {error}"


def problem_of(result: str, source: str, line: int) -> Problem:
    """A text from `decode` as a Problem at its place."""
    return Problem(source, line, 1, result, "`meshclaw ledger verify` checks the whole file")


@dataclass(frozen=True, slots=True, order=True)
class BrokenChain(Problem):
    """The first line of a file that is not what was written there."""


def broken_chain(line: bytes, source: str, number: int) -> BrokenChain:
    """Says why a line does not follow the one before it."""
    return BrokenChain(source, number, 1, _why(line), "`meshclaw ledger verify` checks the whole ledger")


def _why(line: bytes) -> str:
    if not line.endswith(b"\n"):
        return "the last line is not whole: torn, cut, or being written now"
    if stated_hash(line) is None:
        return "this line does not end as a ledger's line does"
    return "this line does not match its hash: it, or the lines before it, were changed"


def seal(previous: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The hash of the line with this body after the line with hash `previous`, and the line."""
    digest = hashlib.sha256(previous + body)
    return digest.digest(), b'%b,"h":"%b"}\n' % (body, digest.hexdigest().encode())


def stated_hash(line: bytes) -> bytes | None:
    """The hash that a line (LF included) says it has, or None when its framing bytes are wrong."""
    if len(line) <= _FRAME or line[-_FRAME:-67] != _HASH_KEY or line[-3:] != b'"}\n':
        return None
    digits = line[-67:-3]
    try:
        value = bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return None
    return value if value.hex().encode() == digits else None


def follows(line: bytes, previous: bytes) -> bytes | None:
    """The hash of a line (LF included) if it is whole and follows `previous`, else None."""
    digest, expected = seal(previous, line[:-_FRAME])
    return digest if expected == line else None


def _encode(entry: Entry) -> bytes:
    kind = type(entry)
    if float in map(type, _COUNTS[kind](entry)):
        # JSON has no NaN: msgspec would write null, and a mistake would look like an honest unknown.
        raise LedgerError(f"a {kind.kind} entry cannot be written: its counts must be whole numbers")
    encoded = _ENCODER.encode(entry)
    body = _HEADS[kind] + encoded[1 : encoded.rindex(_HASH_KEY)]
    try:
        _DECODERS[kind.kind.encode()].decode(body + b"}")
    except msgspec.ValidationError as error:
        raise LedgerError(f"a {kind.kind} entry cannot be written: {error}") from error
    return body


def _long_wire_usage(entry: Entry, body: bytes) -> bool:
    return (
        len(body) > MAX_WIRE_USAGE
        and isinstance(entry, Call)
        and len(_ENCODER.encode(entry.wire_usage)) > MAX_WIRE_USAGE
    )


def _encode_shortened(entry: Entry) -> bytes:
    """As `_encode`, with verbatim usage that fits and text that is UTF-8 and no longer than need be."""
    if isinstance(entry, Call) and entry.wire_usage is not None:
        try:
            size = len(_ENCODER.encode(entry.wire_usage))
        except (TypeError, ValueError, RecursionError):
            entry = replace(entry, wire_usage={"omitted": "not JSON"})
        else:
            if size > MAX_WIRE_USAGE:
                entry = replace(entry, wire_usage={"omitted_bytes": size})
    values = {item.name: _short(getattr(entry, item.name)) for item in fields(entry)}
    return _encode(replace(entry, **values))


def _short(value: Any) -> Any:
    if isinstance(value, str):
        text = value.encode(errors="replace").decode()
        return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."
    if isinstance(value, Mapping):
        return {_short(key): _short(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return tuple(_short(item) for item in value)
    return value
