"""What `tail:` and `max:` leave of an input, and how that is said."""

from __future__ import annotations

from typing import Literal

from meshclaw.frozen import dataclass
from meshclaw.tasks import Input

CutEnd = Literal["", "beginning", "end"]


@dataclass(frozen=True, slots=True)
class Data:
    """What a source gave. `cut` says which end of it is missing, empty for none.

    `short` says what is there of it, when it is less than the task asked for: `the first 400 of 500 bytes`.
    `errors` is what a command wrote beside its data.
    """

    data: bytes
    cut: CutEnd = ""
    short: str = ""
    errors: str = ""


def bounded(data: bytes, one: Input, whole: int | None = None) -> Data:
    """What `tail:` and `max:` leave of `data`, cut at whole lines where there are any.

    `whole` is how many bytes the source has when they are more than `data`: None when nobody knows.
    """
    size = len(data) if whole is None else whole
    from_end = one.tail_lines is not None or one.tail_bytes is not None
    if one.tail_lines is not None:
        data = b"".join(data.splitlines(keepends=True)[-one.tail_lines :])
    wanted = len(data)
    if one.tail_bytes is not None:
        data = last_lines(data, one.tail_bytes)
        wanted = min(wanted, one.tail_bytes)
    if len(data) > one.max_bytes:
        data = last_lines(data, one.max_bytes) if from_end else first_lines(data, one.max_bytes)
    if len(data) >= size:
        return Data(data)
    short = "" if wanted <= one.max_bytes else said(len(data), from_end=from_end, whole=whole)
    return Data(data, "beginning" if from_end else "end", short)


def first_lines(data: bytes, most: int) -> bytes:
    """At most `most` bytes from the beginning, whole lines where there are any."""
    if len(data) <= most:
        return data
    data = data[:most]
    return data[: data.rfind(b"\n") + 1] if b"\n" in data else data


def last_lines(data: bytes, most: int) -> bytes:
    """At most `most` bytes from the end, whole lines where there are any."""
    if len(data) <= most:
        return data
    data = data[-most:]
    return data[data.find(b"\n") + 1 :] if b"\n" in data[:-1] else data


def said(size: int, *, from_end: bool, whole: int | None = None) -> str:
    """`the first 400 of 500 bytes`; without the whole when nobody knows it."""
    of = "" if whole is None else f" of {whole:,}"
    return f"the {'last' if from_end else 'first'} {size:,}{of} bytes"
