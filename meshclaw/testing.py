"""Fakes for people who test their own tasks, tools and runners: no network, no key, no patching.

`ScriptedProvider` plays the model, `MemoryLedger` keeps entries in memory. Both keep the contracts of
the real ones, the errors included.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio

from meshclaw.app import App
from meshclaw.app.replaying import Replayed as Replayed
from meshclaw.app.replaying import replay_task as replay_recording
from meshclaw.errors import FailureKind, LedgerError, Problem, ProviderError
from meshclaw.frozen import dataclass
from meshclaw.ledger.entry import Entry
from meshclaw.messages import Message, Part, Request, Response, StopReason, Text, ToolCall
from meshclaw.providers.base import Sink
from meshclaw.usage import Usage, UsageSource

DEFAULT_USAGE = Usage(input=100, output=10)


@dataclass(frozen=True, slots=True)
class Say:
    """A scripted response: text, tool calls, or both. `calls` are (tool name, arguments) pairs.

    Arguments are a mapping, or text to send exactly as it is. `latency` is in seconds.
    """

    text: str = ""
    calls: Sequence[tuple[str, Mapping[str, Any] | str]] = ()
    stop: StopReason | None = None
    usage: Usage = DEFAULT_USAGE
    latency: float = 0.0


Turn = Say | ProviderError | Callable[[Request], "Say"]


def call(tool: str, /, **arguments: Any) -> Say:
    """A response that asks for one tool call."""
    return Say(calls=((tool, arguments),))


class ScriptedProvider:
    """Answers from a script, in order; `requests` keeps what it was asked.

    A ProviderError in the script is raised, a function is given the request and returns a Say. Beyond
    the script's end a call raises ProviderError of kind `invalid_request`.
    """

    def __init__(
        self,
        turns: Sequence[Turn],
        *,
        name: str = "scripted",
        free: bool = True,
        nudge: bool = False,
        window: int | None = None,
    ) -> None:
        self._turns = list(turns)
        self._window = window
        self.name = name
        self.free = free
        self.nudge = nudge
        self.overhead_tokens = 0
        self.requests: list[Request] = []

    def window(self, model: str) -> int | None:
        return self._window

    async def complete(self, request: Request, sink: Sink) -> Response:
        number = len(self.requests)
        self.requests.append(request)
        if number >= len(self._turns):
            raise ProviderError(FailureKind.INVALID_REQUEST, f"the script has {number} turns, no more")
        turn = self._turns[number]
        if isinstance(turn, ProviderError):
            raise turn
        say = turn if isinstance(turn, Say) else turn(request)
        await anyio.sleep(say.latency)
        identifier = f"scripted-{number + 1}"
        sink.response_id(identifier)
        if say.text:
            sink.text(say.text)
        return Response(
            message=_message(say, number),
            stop=say.stop or (StopReason.TOOL_CALLS if say.calls else StopReason.ANSWER),
            usage=say.usage,
            usage_source=UsageSource.FINAL,
            response_id=identifier,
            served_model=request.model,
        )

    async def aclose(self) -> None:
        """Nothing to give back."""


class MemoryLedger:
    """A Ledger that keeps entries in a list; `fail` makes the next appends raise LedgerError."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.fail: str = ""

    async def append(self, *entries: Entry) -> None:
        await anyio.lowlevel.checkpoint()
        if self.fail:
            raise LedgerError(self.fail)
        self.entries += entries

    def read(self, since: int = 0) -> Iterator[Entry | Problem]:
        """`since` counts entries here, not bytes."""
        yield from self.entries[since:]


def _message(say: Say, number: int) -> Message:
    parts: list[Part] = [Text(say.text)] if say.text else []
    for index, (tool, arguments) in enumerate(say.calls, 1):
        text = arguments if isinstance(arguments, str) else json.dumps(dict(arguments))
        parts.append(ToolCall(f"call_{number + 1}_{index}", tool, text))
    return Message("assistant", tuple(parts))


async def replay_task(
    project: Path, name: str, folder: Path, *, environment: Mapping[str, str], no_sandbox: bool = False
) -> Replayed:
    """Plays the recording of the project's task `name` back, as `meshclaw tasks test` does.

    `folder` is an empty one for all that this makes, `environment` what the App sees (HOME, PATH). The
    project must be trusted. What has drifted is `Replayed.drift`, a diff; "" when nothing has.
    """
    app = App(environment, project, flags={"project": str(project)})
    try:
        return await replay_recording(app, app.find_task(name), folder, no_sandbox=no_sandbox)
    finally:
        await app.aclose()
