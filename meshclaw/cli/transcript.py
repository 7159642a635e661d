"""A run's transcript as a person reads it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshclaw.cli.guarded import unseen
from meshclaw.cli.output import emit_formatted, emit_rich, is_terminal, shown
from meshclaw.cli.progress import describe
from meshclaw.cli.proposed import in_full, in_short, see
from meshclaw.cli.words import bounded, call_in_words, patch_in_words, so_far, summary
from meshclaw.messages import decode_response
from meshclaw.runs import Event, is_judges
from meshclaw.usage import ZERO

RESULT_LINES = 12
PROMPT_LINES = 40

Piece = tuple[str, str]
"""Text of one or more lines, and its style."""


def show_transcript(record: Mapping[str, Any], events: Iterable[Event], *, full: bool) -> None:
    """Prints record and transcript, styled in a terminal; long texts are shortened unless `full`."""
    pieces = [(shown(text), style) for text, style in _pieces(record, events, full=full)]
    if not is_terminal(sys.stdout):
        emit_formatted("\n".join(text for text, _ in pieces))
        return
    from rich.text import Text

    emit_rich(Text("\n").join(Text(text, style=style) for text, style in pieces))


def _pieces(record: Mapping[str, Any], events: Iterable[Event], *, full: bool) -> Iterator[Piece]:
    yield f"{record['task']}  {record['run']}", "bold"
    yield f"{record['model']}, {record['runner']}, started {record['started_at']}", "dim"
    yield record["directory"], "dim"
    step = 0
    usage = ZERO
    for event in _paired(events):
        if event.kind == "response":
            step += not is_judges(event.data["call"])
            usage += decode_response(event.data["response"]).usage
        yield from _event(event, step, full=full)
    if record["denied"]:
        yield "\ndenied", "bold"
        yield from ((f"  {remedy}", "yellow") for remedy in record["denied"])
    if record.get("proposals"):
        yield f"\nproposed ({see(record)})", "bold"
        for one in record["proposals"]:
            yield f"  {one['number']}  {in_short(one['command'], 160)}", "yellow"
    if record["exit"] is None:
        yield f"\n{so_far(record, step, usage.as_dict())}", "bold yellow"
        return
    yield f"\n{summary(record)}", "green" if record["exit"] == 0 else "bold red"
    yield from ((line, "yellow") for line in unseen(record))
    if patch := patch_in_words(record):
        yield patch, ""


def _paired(events: Iterable[Event]) -> Iterator[Event]:
    """With each call of a tool just before what came of it, also where several ran side by side."""
    begun: dict[str, Event] = {}
    for event in events:
        if event.kind == "tool-start":
            begun[event.data["id"]] = event
            continue
        if event.kind in ("tool-result", "proposal"):
            start = begun.pop(event.data["id"], None)
            yield from () if start is None else (start,)
        elif event.kind != "notice":
            # What began and never ended: the process was killed.
            yield from begun.values()
            begun.clear()
        yield event
    yield from begun.values()


def _event(event: Event, step: int, *, full: bool) -> Iterator[Piece]:
    data = event.data
    match event.kind:
        case "start":
            yield "\nsystem", "bold"
            yield _indented(data["system"], PROMPT_LINES, full=full), "dim"
            yield "\nprompt", "bold"
            yield _indented(data["prompt"], PROMPT_LINES, full=full), ""
        case "response":
            judging = is_judges(data["call"])
            yield "\na judge" if judging else f"\nstep {step}", "bold cyan"
            for part in data["response"]["message"]["parts"]:
                if part.get("text", "").strip():
                    yield _indented(part["text"], PROMPT_LINES, full=full), ""
        case "tool-start":
            width = 10_000 if full else 160
            yield f"  \u2192 {call_in_words(data['name'], data['arguments'], width)}", "cyan"
        case "tool-result":
            shown = data.get("display") or data["content"]
            style = "red" if data["is_error"] else "dim"
            yield _indented(shown, RESULT_LINES, full=full, by=4), style
        case "proposal":
            command = in_full(data["command"]) if full else in_short(data["command"], 160)
            yield _indented(f"proposed, not run: {command}", RESULT_LINES, full=full, by=4), "yellow"
        case "notice":
            yield f"  note to the model ({data['why']}): {data['text']}", "yellow"
        case "check":
            yield f"\n{describe(event)}", "green" if data["status"] == "passed" else "bold yellow"
            if data["status"] != "passed" and data["evidence"].strip():
                yield _indented(data["evidence"], RESULT_LINES, full=full), "dim"
        case "attempt":
            yield f"\nattempt {data['number']} on {data['model']}", "bold"
            yield _indented(data["text"], PROMPT_LINES, full=full), "yellow"
        case "compaction":
            yield f"  {data['bytes']:,} bytes of older tool outputs left the history", "yellow"
        case _:
            pass


def _indented(text: str, lines: int, *, full: bool, by: int = 2) -> str:
    shown = text.rstrip("\n") if full else bounded(text, lines)
    return "\n".join(" " * by + line for line in shown.splitlines())


def transcript_data(record: Mapping[str, Any], events: Iterable[Event]) -> dict[str, Any]:
    """The object that `runs show --json` prints: the record and the transcript's lines."""
    return {**record, "transcript": [{"event": event.kind, **event.data} for event in events]}
