"""What an agent may do. Default deny: what is not declared, parsed and allowed does not happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Effects:
    """What one tool call would touch, declared before it happens.

    Paths are relative to the project, `/`-separated. `commands` are shell command lines. `hosts` are
    `host` or `host:port`.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    @property
    def only_reads(self) -> bool:
        """True when the call can run beside others and be repeated without harm."""
        return not (self.writes or self.commands or self.hosts)


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed, or denied with a `reason` and the `remedy`: the task's line or the flag to add."""

    allowed: bool
    reason: str = ""
    remedy: str = ""


class Policy(Protocol):
    def review(self, effects: Effects) -> Decision:
        """Decides. Never raises: an error inside a guard denies."""
        ...
