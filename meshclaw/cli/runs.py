"""`meshclaw runs`: what there was, and what happened in it."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from meshclaw.cli.completion import run_ids
from meshclaw.cli.output import emit_table, is_terminal, say
from meshclaw.cli.patches import apply, diff
from meshclaw.cli.perform import perform, proposals
from meshclaw.cli.records import as_it_is, find_run, recent_records
from meshclaw.cli.resume import resume
from meshclaw.cli.session import emit_json, session
from meshclaw.cli.verdicts import accept, reject
from meshclaw.cli.words import cost_in_words, count, seconds_in_words, under_way
from meshclaw.errors import Problem, ProblemsError

app = typer.Typer(
    help="List the runs there were and read what happened in them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("resume")(resume)
app.command("accept")(accept)
app.command("reject")(reject)
NEEDED = ("run", "task", "model", "runner", "started_at", "directory", "denied", "exit")
"""Keys of a record without which it cannot be shown."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 20,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="Only this task's runs.")
    ] = None,
    batch: Annotated[
        str | None, typer.Option("--batch", metavar="BATCH", help="Only the runs of this batch.")
    ] = None,
    json_: Json = False,
) -> None:
    """List runs, newest first.

    With --json, a list of the objects that `meshclaw run --json` prints.
    """
    found: list[dict[str, Any]] = []
    for record in recent_records(session(context).app().runs_dir):
        of_batch = batch is None or str(record.get("batch")).startswith(batch)
        if of_batch and (task is None or record.get("task") == task):
            found.append(record)
        if len(found) == limit:
            break
    if json_:
        emit_json(found)
    elif not found:
        narrowed = [f"of '{name}'" for name in (task, batch) if name is not None]
        say(f"there are no runs {' '.join(narrowed) or 'yet'}")
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
    elif record.get("exit") is None:
        status = under_way(record)
        return [*_named(record, id_length), status, "", "", "", ""]
    tokens = usage.get("total")
    return [
        *_named(record, id_length),
        status,
        str(record.get("steps", "")),
        count(tokens),
        cost_in_words(record.get("cost_usd"), str(record.get("cost_state")), tokens)
        if record.get("calls")
        else "",
        seconds_in_words(record.get("duration_s") or 0.0),
    ]


def _named(record: dict[str, Any], id_length: int | None) -> list[str]:
    started = local_time(str(record.get("started_at", "")))
    return [str(record["run"])[:id_length], started, str(record.get("task", ""))]


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
    record = as_it_is(directory.read_record(), folder)
    missing = [key for key in NEEDED if key not in record]
    if missing:
        message = f"this is no record of a run: {', '.join(missing)} missing"
        raise ProblemsError([Problem(str(directory.record), 0, 0, message)])
    events = list(read_transcript(directory.transcript)) if directory.transcript.is_file() else []
    if json_:
        emit_json(transcript_data(record, events))
    else:
        show_transcript(record, events, full=full)


app.command()(diff)
app.command()(apply)
app.command()(proposals)
app.command()(perform)
