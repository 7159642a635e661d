"""`meshclaw runs`: what there was, and what happened in it."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from meshclaw.cli.completion import run_ids
from meshclaw.cli.output import emit_table, is_terminal, say
from meshclaw.cli.records import find_run, recent_records
from meshclaw.cli.session import emit_json, session
from meshclaw.cli.words import cost_in_words, count, seconds_in_words

app = typer.Typer(
    help="List the runs there were and read what happened in them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 20,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="Only this task's runs.")
    ] = None,
    json_: Json = False,
) -> None:
    """List runs, newest first.

    With --json, a list of the objects that `meshclaw run --json` prints.
    """
    found: list[dict[str, Any]] = []
    for record in recent_records(session(context).app().runs_dir):
        if task is None or record.get("task") == task:
            found.append(record)
        if len(found) == limit:
            break
    if json_:
        emit_json(found)
    elif not found:
        say("there are no runs yet" if task is None else f"there are no runs of '{task}'")
    else:
        headings = ["run", "started", "task", "status", "steps", "tokens", "cost", "time"]
        # The part of an id that counts milliseconds names a run; a terminal has no room for the rest.
        length = 13 if is_terminal(sys.stdout) else None
        emit_table(headings, [_row(record, length) for record in found], right=(4, 5, 6, 7), keep=(0, 1, 3))


def _row(record: dict[str, Any], id_length: int | None) -> list[str]:
    usage = record.get("usage") or {}
    status = str(record.get("status", "")).replace("_", " ")
    if record.get("status") == "succeeded":
        status = str(record.get("outcome"))
    calls = record.get("calls") or 0
    return [
        str(record["run"])[:id_length],
        local_time(str(record.get("started_at", ""))),
        str(record.get("task", "")),
        status,
        str(record.get("steps", "")),
        count(usage.get("total")),
        cost_in_words(record.get("cost_usd"), str(record.get("cost_state")), calls) if calls else "",
        seconds_in_words(record.get("duration_s") or 0.0),
    ]


def local_time(timestamp: str) -> str:
    """An RFC 3339 timestamp as the wall clock here shows it, to the minute."""
    try:
        return datetime.fromisoformat(timestamp).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return timestamp


@app.command()
def show(
    context: typer.Context,
    run: Annotated[
        str,
        typer.Argument(
            help="The beginning of a run's id, or `last`.", metavar="RUN", autocompletion=run_ids
        ),
    ],
    full: Annotated[bool, typer.Option("--full", help="Shorten nothing.")] = False,
    json_: Json = False,
) -> None:
    """Show what happened in a run: what was asked, said, done, and what it took.

    \b
      meshclaw runs show last
      meshclaw runs show 0198c1d2 --full
    """
    from meshclaw.cli.transcript import show_transcript, transcript_data
    from meshclaw.runs import RunDirectory, read_transcript

    folder: Path = find_run(session(context).app().runs_dir, run)
    directory = RunDirectory(folder)
    record = directory.read_record()
    events = list(read_transcript(directory.transcript)) if directory.transcript.is_file() else []
    if json_:
        emit_json(transcript_data(record, events))
    else:
        show_transcript(record, events, full=full)
