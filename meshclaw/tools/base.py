"""Tools, and the Toolbox that decodes, reviews, runs and bounds what a model asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Protocol

from meshclaw.frozen import dataclass
from meshclaw.messages import ToolSpec
from meshclaw.policies import Decision, Effects
from meshclaw.sandbox.base import Confinement, Sandbox
from meshclaw.workspace import Workspace


class ToolError(Exception):
    """A tool could not do what was asked; the text goes back to the model as an error result."""


class DeniedError(ToolError):
    """A tool found on its way that what was asked for may not be done: it counts as a denied call."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may use. `timeout` bounds one tool call, in seconds; `confinement` holds its commands.

    `review_host` says whether `host:port` may be reached, for what a call learns only on its way, such as
    where a redirect leads. None: nothing but what the call's effects declared.
    """

    workspace: Workspace
    sandbox: Sandbox | None
    environment: Mapping[str, str]
    timeout: float = 120.0
    confinement: Confinement = field(default_factory=Confinement)
    review_host: Callable[[str], Decision] | None = None


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """`content` is for the model, unbounded yet; `display` (a diff, say) is for a person.

    `bounded`: the tool has bounded the content itself and says in it how to get the rest. `denied` is what
    an allowed call wanted on its way and did not get.
    """

    content: str
    is_error: bool = False
    display: str = ""
    bounded: bool = False
    denied: tuple[Decision, ...] = ()


class Tool(Protocol):
    spec: ToolSpec

    def effects(self, arguments: Mapping[str, Any]) -> Effects:
        """What the call would touch. `arguments` already fit the spec's schema."""
        ...

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Does it. Raises ToolError for what the model should be told."""
        ...
