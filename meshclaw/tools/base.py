"""Tools, and the Toolbox that decodes, reviews, runs and bounds what a model asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from meshclaw.messages import ToolSpec
from meshclaw.policies import Effects
from meshclaw.sandbox.base import Sandbox
from meshclaw.workspace import Workspace


class ToolError(Exception):
    """A tool could not do what was asked; the text goes back to the model as an error result."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may use. `timeout` bounds one tool call, in seconds."""

    workspace: Workspace
    sandbox: Sandbox | None
    environment: Mapping[str, str]
    timeout: float = 120.0


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """`content` is for the model, unbounded yet; `display` (a diff, say) is for a person.

    `bounded`: the tool has bounded the content itself and says in it how to get the rest.
    """

    content: str
    is_error: bool = False
    display: str = ""
    bounded: bool = False


class Tool(Protocol):
    spec: ToolSpec

    def effects(self, arguments: Mapping[str, Any]) -> Effects:
        """What the call would touch. `arguments` already fit the spec's schema."""
        ...

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Does it. Raises ToolError for what the model should be told."""
        ...
