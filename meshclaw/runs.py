"""A Run and its parts, and the directory that holds its record and transcript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from meshclaw.messages import Response, ToolResult


class RunStatus(StrEnum):
    """How a run ended; `running` until then."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    OVER_BUDGET = "over_budget"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


class Outcome(StrEnum):
    """What the result is worth, apart from how the run ended."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNCHECKED = "unchecked"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Step:
    """One model response and the results of the tool calls that it asked for."""

    number: int
    response: Response
    results: tuple[ToolResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a Runner hands back. `status` is `succeeded` when the runner reached an answer."""

    text: str
    status: RunStatus
    reason: str = ""
    steps: int = 0
    value: Any = None
    denied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run, for live views and `--stream-json`; see EVENTS."""

    kind: str
    data: Mapping[str, Any]


EVENTS: dict[str, str] = {
    "run-start": "a run begins: run, task, model, runner, directory",
    "start": "an attempt begins: system text, tools, first message",
    "request": "a call is about to leave: call, step, max_output, messages, digest of the request",
    "retry": "a call failed and will be tried again: failure, wait_s",
    "text": "a piece of the answer, as it arrives: delta",
    "response": "a response as received: call, response",
    "call": "a call was settled in the ledger: call, status, usage, cost_nusd, cost_state",
    "tool-start": "a tool call begins: id, name, arguments",
    "tool-result": "a tool call ended: id, content, is_error, display",
    "notice": "text that we added to the conversation: text, why",
    "compaction": "older tool outputs were replaced by stubs: ids, bytes",
    "end": "an attempt ended: status, reason",
    "run-end": "a run ended: the same object as `run --json`",
}
"""Every kind of event, in one place."""

TRANSCRIPT_EVENTS = frozenset(
    {"start", "request", "response", "tool-start", "tool-result", "notice", "compaction", "end"}
)
"""The kinds that are lines of the transcript. They hold no clock, no run id and no random value, so
that the same work gives the same bytes; times and prices are the ledger's."""
