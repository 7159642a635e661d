"""What happens in a run: events for whoever watches, most of them lines of the transcript."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run, for live views and `--stream-json`; see EVENTS."""

    kind: str
    data: Mapping[str, Any]


EVENTS: dict[str, str] = {
    "run-start": "a run begins: run, task, model, runner, directory",
    "start": "the work begins: system text, tools, first message",
    "request": "a call is about to leave: call, step, max_output, messages, digest of the request",
    "retry": "a call failed and will be tried again: failure, wait_s",
    "text": "a piece of the answer, as it arrives: delta",
    "response": "a response as received: call, response",
    "call": "a call was settled in the ledger: call, status, usage, cost_nusd, cost_state",
    "tool-start": "a tool call begins: id, name, arguments",
    "proposal": "a command was proposed for after the run, and not run: id of the tool call, command",
    "tool-result": "a tool call ended: id, content, is_error, display, what was denied",
    "notice": "text that we added to the conversation: text, why",
    "compaction": "older tool outputs were replaced by stubs: ids, bytes",
    "end": "an attempt ended: status, reason",
    "check": "a check has judged: kind, check, status, reason, evidence, changed_by_agent",
    "attempt": "a further attempt begins: number, model, and the text that tells what was wrong",
    "reused": "the accepted result of the same work is handed back: run",
    "done-again": "an accepted result of the same work is not good any more: run, reason",
    "run-end": "a run ended: the same object as `run --json`",
    "batch-start": "a batch begins: batch, task, directory, done, items; events of its runs name both",
    "item-end": "an item of a batch ended or will not begin: item, name, params, run, status, exit, reason",
    "batch-end": "a batch ended: the same object as `run --json`",
}
"""Every kind of event, in one place."""

TRANSCRIPT_EVENTS = frozenset(
    {
        "start",
        "request",
        "response",
        "tool-start",
        "proposal",
        "tool-result",
        "notice",
        "compaction",
        "end",
        "check",
        "attempt",
    }
)
"""The kinds that are lines of the transcript. They hold no clock, no run id and no random value, so
that the same work gives the same bytes; times and prices are the ledger's."""

UNSYNCED_EVENTS = frozenset({"start", "request", "notice", "compaction"})
"""Lines that may be lost with the machine: the next synced line makes them durable too."""


MAX_TRANSCRIPT, MAX_LINE = 256 * 2**20, 32 * 2**20
"""Bytes of a whole transcript and of one of its lines; a long run makes a few percent of that."""
HELD_EVENTS = frozenset({"request", "tool-start", "tool-result"})
"""Lines that are written together with the next unless they are synced themselves. A process that is killed
before loses them and misses nothing: the ledger knows of the request, and what only reads is done again."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode_line(event: Event) -> bytes:
    """One transcript line: a JSON object with the key `event` first, UTF-8, ending in LF."""
    fields = {"event": event.kind, **event.data}
    return _encode(fields).encode() + b"\n"


def read_transcript(path: Path) -> Iterator[Event]:
    """The lines of a transcript in order. A torn last line (a crash) is left out.

    Recordings come with clones, so the file is opened with suspicion: raises OSError for what is no plain
    file, ProblemsError for one that is longer than a transcript gets, or where another line is not one's.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file")
        if found.st_size > MAX_TRANSCRIPT:
            message = f"this is longer than {MAX_TRANSCRIPT // 2**20} MiB"
            raise ProblemsError([Problem(str(path), 0, 0, message)])
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), 1):
            if len(line) > MAX_LINE:
                message = f"this line is longer than {MAX_LINE // 2**20} MiB"
                raise ProblemsError([Problem(str(path), number, 1, message)])
            if not line.endswith(b"\n"):
                return
            try:
                fields = json.loads(line)
                kind = fields.pop("event")
            except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
                problem = Problem(str(path), number, 1, "this is not a line of a transcript")
                raise ProblemsError([problem]) from None
            yield Event(kind, fields)
