"""The live view of a batch in a terminal, on standard error: a bar, what is under way, what went wrong."""

from __future__ import annotations

import os

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from meshclaw.cli.batch_progress import Tally, end_in_words, went_wrong
from meshclaw.cli.output import shown
from meshclaw.cli.words import shorten
from meshclaw.runs import Event

SHOWN = 8
"""The most items under way that are shown."""


class LiveBatchView:
    """A View. Data reaches the terminal cleaned and as `Text`, never as markup."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tally = Tally()
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
        )
        self._live.start()

    def close(self) -> None:
        self._live.stop()

    def leave(self) -> None:
        # Rich's own way takes locks that the interrupted code may hold.
        os.write(2, b"\r\x1b[K\x1b[?25h")

    def note(self, text: str) -> None:
        self._print(Text(shown(text), style="yellow"))

    def listen(self, event: Event) -> None:
        self._tally.take(event)
        if event.kind == "item-end" and went_wrong(event.data):
            self._print(Text(end_in_words(event.data), style="red"))

    def _print(self, renderable: RenderableType) -> None:
        try:
            self._console.print(renderable)
        except OSError:
            # A terminal that went away must not end the work.
            return

    def _render(self) -> RenderableType:
        tally = self._tally
        if not tally.names:
            return Text("")
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(ratio=1, min_width=10)
        line.add_column(no_wrap=True)
        line.add_row(
            ProgressBar(total=len(tally.names), completed=tally.done), Text(tally.words(), style="bold")
        )
        # Taken at once: the run's thread goes on while this one draws.
        under_way = list(tally.doing.items())
        lines = [
            Text(f"  {shorten(tally.names.get(item, ''), 60)} \u00b7 {doing}", style="dim", no_wrap=True)
            for item, doing in under_way[:SHOWN]
        ]
        if len(under_way) > SHOWN:
            lines.append(Text(f"  and {len(under_way) - SHOWN} more", style="dim"))
        return Group(line, *lines)
