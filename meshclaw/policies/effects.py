"""What a call would touch, and what a policy says about it."""

from __future__ import annotations

from typing import Protocol

from meshclaw.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Effects:
    """What one tool call would touch, declared before it happens.

    Paths are relative to the project, `/`-separated. `commands` are shell command lines. `hosts` are
    `host` or `host:port`. `complete`: the commands are all there is to the call, so that a person who runs
    them later has done it.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    complete: bool = False

    @property
    def only_reads(self) -> bool:
        """True when the call can run beside others and be repeated without harm."""
        return not (self.writes or self.commands or self.hosts)


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed, or denied with a `reason` and the `remedy`: the task's line or the flag to add.

    `wanted` is what was asked for, where the remedy does not tell one thing from another. `proposal` is the
    command that, although it may not run, a person may be asked to run later; "" where there is none.
    """

    allowed: bool
    reason: str = ""
    remedy: str = ""
    wanted: str = ""
    proposal: str = ""


class Policy(Protocol):
    def review(self, effects: Effects) -> Decision:
        """Decides. Never raises: an error inside a guard denies."""
        ...
