"""What every command gets: the global options, the App they lead to, and the way into async code."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from meshclaw.cli.output import emit, is_terminal, say

if TYPE_CHECKING:
    import typer

    from meshclaw.app import App

T = TypeVar("T")


@dataclass(slots=True)
class Session:
    """`flags` are the global options that were given; `quiet` asks for errors and results alone."""

    environment: Mapping[str, str]
    cwd: Path
    flags: Mapping[str, str] = field(default_factory=dict)
    quiet: bool = False

    def app(self) -> App:
        from meshclaw.app import App

        return App(self.environment, self.cwd, flags=self.flags, notify=self.notify)

    def notify(self, text: str) -> None:
        """A sentence about something that was found and mended on the way."""
        if not self.quiet:
            say(f"note: {text}")


def session(context: typer.Context) -> Session:
    """The Session of the command that `context` belongs to."""
    found = context.find_root().obj
    assert isinstance(found, Session)
    return found


def run_async(main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """The one place where async code is entered."""
    import anyio

    return anyio.run(main, *args)


def emit_json(value: Any) -> None:
    """One JSON value: on one line into a pipe, indented into a terminal."""
    emit(to_json(value, indent=2 if is_terminal(sys.stdout) else None))


def to_json(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8; as an escape it is still JSON.
        return json.dumps(value, indent=indent)
    return text
