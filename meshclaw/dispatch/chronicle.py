"""What is told of a run while it lives: to whoever listens, and to its transcript."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshclaw.dispatch.delegation import House
from meshclaw.runs import HELD_EVENTS, TRANSCRIPT_EVENTS, UNSYNCED_EVENTS, Event, RunDirectory


class Chronicle:
    """Nothing is written or told with a secret in it, whoever made it."""

    def __init__(self, house: House, directory: RunDirectory) -> None:
        self._house = house
        self._directory = directory

    async def record(self, kind: str, /, *, durable: bool = True, **data: Any) -> None:
        """Writes an event into the transcript, if it is one of its kinds, and tells it.

        A durable one is on the disk then, with all before it. Raises LedgerError when the disk refuses.
        """
        event = self._event(kind, data)
        if kind in TRANSCRIPT_EVENTS:
            synced = durable and kind not in UNSYNCED_EVENTS
            # A write may wait for the disk as long as a sync does: better not in the event loop.
            self._directory.append(event, with_next=synced or kind in HELD_EVENTS)
            if synced:
                await self._house.disk.run(self._directory.sync)
        self._house.listen(event)

    def notify(self, kind: str, /, **data: Any) -> None:
        """Only tells it."""
        self._house.listen(self._event(kind, data))

    def _event(self, kind: str, data: Mapping[str, Any]) -> Event:
        """A response was redacted when it came; what looks like a key in a signed item is mere chance."""
        redactor = self._house.redactor
        return Event(kind, (redactor.known_data if kind == "response" else redactor.data)(data))
