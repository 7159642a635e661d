"""What a call leaves behind: the Sink that remembers, and the redaction of its response."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from meshclaw.messages import Part, Response, Text, ToolCall
from meshclaw.providers.base import Sink
from meshclaw.usage import UNKNOWN, Usage, UsageSource


class Watcher:
    """The Sink of one call: passes text on, redacted, and remembers what a broken call leaves."""

    def __init__(
        self,
        sink: Sink,
        notify: Callable[..., None],
        stream: RedactingStream,
        redact: Callable[[Any], Any] = lambda data: data,
    ) -> None:
        self._sink = sink
        self._notify = notify
        self._stream = stream
        self._redact = redact
        self.id: str | None = None
        self.last_usage = UNKNOWN
        self.source = UsageSource.ABSENT

    @property
    def answering(self) -> bool:
        """The provider has begun to answer: from here on the call may be billed."""
        return self.id is not None or self.source is UsageSource.PARTIAL

    def text(self, delta: str) -> None:
        self._tell(self._stream.feed(delta))

    def response_id(self, value: str) -> None:
        self.id = self._redact(value)
        self._sink.response_id(value)

    def usage(self, usage: Usage) -> None:
        self.last_usage = usage
        self.source = UsageSource.PARTIAL
        self._sink.usage(usage)

    def finish(self) -> None:
        self._tell(self._stream.close())

    def _tell(self, text: str) -> None:
        if text:
            self._notify("text", delta=text)
            self._sink.text(text)


class RedactingStream(Protocol):
    """Redacts text that arrives in pieces, holding back what could be the start of a secret."""

    def feed(self, delta: str) -> str: ...

    def close(self) -> str: ...


_FROM_THE_WIRE = ("wire_usage", "response_id", "served_model", "tier", "geo", "wire_stop")


def redacted(response: Response, redact: Callable[[Any], Any]) -> Response:
    """The response as it may be remembered. A provider's opaque items stay as they are: they are signed."""
    parts: list[Part] = []
    for number, part in enumerate(response.message.parts):
        match part:
            case Text(text):
                parts.append(Text(redact(text)))
            case ToolCall(id, name, arguments):
                # Providers take letters, digits, - and _ in ids and names, nothing else.
                id = id if redact(id) == id else f"redacted_{number}"
                name = name if redact(name) == name else "redacted"
                parts.append(ToolCall(id, name, _arguments(arguments, redact)))
            case _:
                parts.append(part)
    found = {name: getattr(response, name) for name in _FROM_THE_WIRE}
    clean = {name: redact(value) for name, value in found.items()}
    if clean == found and tuple(parts) == response.message.parts:
        return response
    return replace(response, message=replace(response.message, parts=tuple(parts)), **clean)


def _arguments(text: str, redact: Callable[[Any], Any]) -> str:
    """JSON can write every letter as an escape: what it says is looked at as well."""
    text = redact(text)
    if "\\" not in text:
        return text
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return text
    allowed = redact(said)
    return text if allowed == said else json.dumps(allowed)
