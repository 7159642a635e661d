"""What `wire_server` asks of a wire format, and what it gives to one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Event = dict[str, Any]
PIECES = 3
"""Into how many deltas a text is cut."""


class Answer(Protocol):
    """What a Turn offers; see `wire_server.Turn`."""

    @property
    def text(self) -> str: ...
    @property
    def tool_calls(self) -> Sequence[tuple[str, Mapping[str, Any] | str]]: ...
    @property
    def thinking(self) -> str: ...
    @property
    def refusal(self) -> str: ...
    @property
    def usage(self) -> Mapping[str, Any] | None: ...
    @property
    def wire_usage(self) -> Mapping[str, Any] | None: ...
    @property
    def stop(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...


class Format(Protocol):
    """One wire. `half` is how many events of a text answer come before its end; `last` ends a stream."""

    half: int
    last: bytes

    def events(self, turn: Answer, number: int, request: Mapping[str, Any]) -> list[Event]: ...

    def whole(self, events: list[Event]) -> Event: ...

    def encode(self, event: Event) -> bytes: ...

    def error(self, kind: str, message: str) -> Event: ...

    def overloaded(self) -> Event: ...

    def ping(self) -> bytes: ...


def pieces(text: str) -> list[str]:
    size = max(1, -(-len(text) // PIECES))
    return [text[start : start + size] for start in range(0, len(text), size)]


def written(arguments: Mapping[str, Any] | str) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(dict(arguments))
