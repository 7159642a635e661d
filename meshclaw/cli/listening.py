"""Takes every event to whoever watches: the view, and standard output for `--stream-json`."""

from __future__ import annotations

from collections.abc import Callable

from meshclaw.cli.output import PipeClosed, emit_formatted
from meshclaw.cli.progress import View
from meshclaw.cli.session import to_json
from meshclaw.errors import ExitCode, WorkError
from meshclaw.runs import Event


class Listener:
    """`stop` ends the work: for whoever asked for the events and has gone."""

    def __init__(self, view: View, stop: Callable[[ExitCode], None], *, as_stream: bool) -> None:
        self._view = view
        self._stop = stop
        self._as_stream = as_stream

    def listen(self, event: Event) -> None:
        self._view.listen(event)
        if not self._as_stream:
            return
        try:
            emit_formatted(to_json({"event": event.kind, **event.data}))
        except (PipeClosed, WorkError) as error:
            self._as_stream = False
            if isinstance(error, WorkError):
                self._view.note(error.message)
            self._stop(ExitCode.INTERRUPTED)
