"""Where commands run. A Sandbox contains what a Policy let through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Command:
    """A shell script to run with `/bin/sh -c` in `directory`, with exactly `environment`.

    `timeout` is in seconds; `max_output` bounds each of stdout and stderr, in bytes: what is over it
    is read and dropped from the middle.
    """

    script: str
    directory: Path
    environment: Mapping[str, str]
    timeout: float = 120.0
    max_output: int = 1_000_000


@dataclass(frozen=True, slots=True)
class CommandResult:
    """`exit_code` is None when the command was killed by the timeout; signals give 128 + n.

    `output` is stdout and stderr interleaved as they came, decoded as UTF-8 with replacement.
    """

    exit_code: int | None
    output: str
    timed_out: bool = False
    seconds: float = 0.0


class Sandbox(Protocol):
    name: str

    async def execute(self, command: Command) -> CommandResult:
        """Runs to the end or the timeout and leaves no process behind, on cancellation too."""
        ...
