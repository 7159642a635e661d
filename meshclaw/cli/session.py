"""What every command gets: the global options, the App they lead to, and the way into async code."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from meshclaw.cli.output import emit_formatted, is_terminal, say
from meshclaw.cli.privacy import protect, redactor
from meshclaw.frozen import dataclass
from meshclaw.terminal_text import escaped

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

    def app(self, project: Path | None = None) -> App:
        """The App of the project here, or of another one."""
        from meshclaw.app import App

        flags = {**self.flags, **({} if project is None else {"project": str(project)})}
        app = App(self.environment, self.cwd, flags=flags, notify=self.notify)
        protect(lambda: app.redactor)
        return app

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


def emit_json(value: Any, indent: int | None = None) -> None:
    """One JSON value, redacted: on one line into a pipe, indented into a terminal or as `indent` says."""
    if indent is None and is_terminal(sys.stdout):
        indent = 2
    emit_formatted(to_json(redactor().data(value), indent))


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON that a terminal shows as it is: what it would obey, or nobody would see, stands as escapes."""
    return escaped(json.dumps(value, ensure_ascii=False, indent=indent))
