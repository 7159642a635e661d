"""Server-sent events out of bytes, as the HTML standard defines them (section 9.2.6)."""

from __future__ import annotations

from collections.abc import Iterator

_FIELDS = frozenset({b"", b"event", b"id", b"retry"})


class EventDecoder:
    """Feed it bytes as they arrive; it gives the data of every whole event, in linear time.

    Comments (`: ping`), event names and ids are left out: all three wires repeat the type inside the
    data. An event that lacks its closing blank line is never given out. Lines end in LF or CRLF. Bytes
    that are not UTF-8 become replacement characters. `strays` counts lines that are no field of an
    event, as when a server answers with something else.
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self.strays = 0

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The data of every event that this chunk completes."""
        first, *others = chunk.split(b"\n")
        self._line.append(first)
        for piece in others:
            line = b"".join(self._line).removesuffix(b"\r")
            self._line = [piece]
            if line:
                self._field(line)
            elif self._data:
                data = b"\n".join(self._data)
                self._data = []
                yield data.decode("utf-8", "replace")

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif name not in _FIELDS:
            self.strays += 1
