"""A transcript read as what it means: the Steps of a run, from which its conversation is built again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.messages import Response, ToolCall, ToolResult, decode_response
from meshclaw.runs.events import Event, read_transcript

_WORKERS_CALL = re.compile(r"(\d+)\.(\d+)\.\d+")
"""The id of a call that a Runner made; a judge's has a letter in it."""


def is_judges(call: str) -> bool:
    """Whether a call's id, without the run's, is that of a check's judge."""
    return _WORKERS_CALL.fullmatch(call) is None


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one tool call. `denied`, `wanted` and `refused` are as in the Toolbox's `Executed`."""

    result: ToolResult
    denied: str | None = None
    wanted: str = ""
    refused: tuple[str, ...] = ()

    @property
    def denials(self) -> tuple[str, ...]:
        return (self.denied, *self.refused) if self.denied else self.refused


@dataclass(frozen=True, slots=True)
class Step:
    """One model response and what followed from it.

    `done` holds the results of its tool calls, in their order; `started` are the ids of calls that began,
    results or not. `notices` are (why, text) pairs that we told the model, `feedback` is what a further
    attempt was told. `compactions` counts how often room was made after all that.
    """

    number: int
    response: Response
    done: tuple[Done, ...] = ()
    started: frozenset[str] = frozenset()
    notices: tuple[tuple[str, str], ...] = ()
    feedback: str | None = None
    compactions: int = 0

    @property
    def results(self) -> tuple[ToolResult, ...]:
        return tuple(one.result for one in self.done)

    @property
    def pending(self) -> tuple[ToolCall, ...]:
        """The tool calls that have no result."""
        return self.response.message.tool_calls[len(self.done) :]


@dataclass(frozen=True, slots=True)
class History:
    """What a transcript tells of a run.

    `attempt` counts from 1 and is the last that began. `checks` are the `check` events of that attempt,
    `ended` says that its runner had handed back a Candidate. `answers` are the responses that judges gave,
    by their call's id without its try (`1.c2`). `begun` says that the first message is known. `tampered`
    are the files that checks are made of and that an attempt was seen to have changed.
    """

    steps: tuple[Step, ...] = ()
    attempt: int = 1
    ended: bool = False
    begun: bool = False
    checks: tuple[Mapping[str, Any], ...] = ()
    answers: Mapping[str, Response] = field(default_factory=dict)
    tampered: tuple[str, ...] = ()


def read_history(path: Path) -> History:
    """The history in a transcript; a torn last line is left out, and a missing file is no history.

    Raises ProblemsError for a file that is not a transcript.
    """
    if not path.exists():
        return History()
    try:
        return history_of(read_transcript(path))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        problem = Problem(str(path), 0, 0, f"this transcript is not whole: {type(error).__name__}")
        raise ProblemsError([problem]) from error


def history_of(events: Iterable[Event]) -> History:
    """Raises KeyError, TypeError, ValueError or IndexError for events that are no transcript's."""
    reading = _Reading()
    for event in events:
        reading.take(event)
    return History(
        tuple(one.step() for one in reading.steps),
        reading.attempt,
        reading.ended,
        reading.begun,
        tuple(reading.checks),
        reading.answers,
        tuple(sorted(reading.tampered)),
    )


@dataclass(slots=True)
class _Growing:
    """A Step whose events are still being read."""

    number: int
    response: Response
    done: list[Done] = field(default_factory=list)
    started: set[str] = field(default_factory=set)
    notices: list[tuple[str, str]] = field(default_factory=list)
    feedback: str | None = None
    compactions: int = 0

    def step(self) -> Step:
        return Step(
            self.number,
            self.response,
            tuple(self.done),
            frozenset(self.started),
            tuple(self.notices),
            self.feedback,
            self.compactions,
        )


class _Reading:
    def __init__(self) -> None:
        self.steps: list[_Growing] = []
        self.attempt = 1
        self.ended = False
        self.begun = False
        self.checks: list[Mapping[str, Any]] = []
        self.answers: dict[str, Response] = {}
        self.tampered: set[str] = set()

    def take(self, event: Event) -> None:
        data = event.data
        match event.kind:
            case "start":
                self.begun = True
            case "response":
                self._response(data["call"], decode_response(data["response"]))
            case "tool-start":
                self.steps[-1].started.add(data["id"])
            case "tool-result":
                result = ToolResult(data["id"], data["content"], data["is_error"])
                denied, refused = data.get("denied"), tuple(data.get("refused", ()))
                self.steps[-1].done.append(Done(result, denied, data.get("wanted", ""), refused))
            case "notice":
                self.steps[-1].notices.append((data["why"], data["text"]))
            case "compaction":
                self.steps[-1].compactions += 1
            case "end":
                self.ended = True
            case "check":
                self.checks.append(data)
                self.tampered.update(data.get("changed_by_agent", ()))
            case "attempt":
                self.attempt = data["number"]
                self.ended, self.checks = False, []
                if self.steps:
                    self.steps[-1].feedback = data["text"]
            case _:
                pass

    def _response(self, call: str, response: Response) -> None:
        found = _WORKERS_CALL.fullmatch(call)
        if found is None:
            self.answers[call.rpartition(".")[0]] = response
        else:
            self.steps.append(_Growing(int(found[2]), response))
