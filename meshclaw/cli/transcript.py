"""A run's transcript as a person reads it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshclaw.cli.output import emit, emit_rich, is_terminal
from meshclaw.cli.words import bounded, call_in_words, summary
from meshclaw.runs import Event
from meshclaw.terminal_text import clean

RESULT_LINES = 12
PROMPT_LINES = 40

Piece = tuple[str, str]
"""Text of one or more lines, and its style."""


def show_transcript(record: Mapping[str, Any], events: Iterable[Event], *, full: bool) -> None:
    """Prints record and transcript, styled in a terminal; long texts are shortened unless `full`."""
    pieces = [(clean(text), style) for text, style in _pieces(record, events, full=full)]
    if not is_terminal(sys.stdout):
        emit("\n".join(text for text, _ in pieces))
        return
    from rich.text import Text

    shown = Text("\n").join(Text(text, style=style) for text, style in pieces)
    emit_rich(shown)


def _pieces(record: Mapping[str, Any], events: Iterable[Event], *, full: bool) -> Iterator[Piece]:
    yield f"{record['task']}  {record['run']}", "bold"
    yield f"{record['model']}, {record['runner']}, started {record['started_at']}", "dim"
    yield record["directory"], "dim"
    step = 0
    for event in events:
        if event.kind == "response":
            step += 1
        yield from _event(event, step, full=full)
    if record["denied"]:
        yield "\ndenied", "bold"
        yield from ((f"  {remedy}", "yellow") for remedy in record["denied"])
    yield f"\n{summary(record)}", "green" if record["exit"] == 0 else "bold red"


def _event(event: Event, step: int, *, full: bool) -> Iterator[Piece]:
    data = event.data
    match event.kind:
        case "start":
            yield "\nsystem", "bold"
            yield _indented(data["system"], PROMPT_LINES, full=full), "dim"
            yield "\nprompt", "bold"
            yield _indented(data["prompt"], PROMPT_LINES, full=full), ""
        case "response":
            yield f"\nstep {step}", "bold cyan"
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
        case "notice":
            yield f"  note to the model ({data['why']}): {data['text']}", "yellow"
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
