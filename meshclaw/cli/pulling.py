"""Fetching a model's weights, with a view of the bytes as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from meshclaw.cli.output import is_terminal, say, stderr_console

if TYPE_CHECKING:
    from meshclaw.models.fetch import Source
    from meshclaw.models.store import ModelStore

Progress = Callable[[int, int], None]


async def pull_with_progress(store: ModelStore, name: str, source: Source, *, quiet: bool) -> Path:
    """`models.pull`, watched. Raises what it raises."""
    from meshclaw.models.fetch import pull

    with _shown(name, quiet=quiet) as progress:
        return await pull(store, name, source, progress)


@contextmanager
def _shown(name: str, *, quiet: bool) -> Iterator[Progress]:
    if quiet:
        yield lambda done, total: None
    elif not is_terminal(sys.stderr):
        yield _Percentages(name)
    else:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import (
            Progress as Bars,
        )

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
        )
        with Bars(*columns, console=stderr_console(), transient=True, expand=True) as bars:
            bar = bars.add_task(name, total=None)
            yield lambda done, total: bars.update(bar, completed=done, total=total)


class _Percentages:
    """A line every ten per cent."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told = -1

    def __call__(self, done: int, total: int) -> None:
        tenth = done * 10 // total
        if tenth > self._told:
            self._told = tenth
            say(f"{self._name}: {tenth * 10} % ({done / 1e6:,.0f} of {total / 1e6:,.0f} MB)")
