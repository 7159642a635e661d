"""`meshclaw report`: what was spent, added up."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from meshclaw.cli.completion import task_names
from meshclaw.cli.output import emit_formatted, emit_table, is_terminal, say
from meshclaw.cli.privacy import redactor
from meshclaw.cli.session import Session, session
from meshclaw.errors import Problem, ProblemsError

if TYPE_CHECKING:
    from meshclaw.reports import Table

MAX_PROBLEMS = 5


class Format(StrEnum):
    """How a report is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MD = "md"
    HTML = "html"


app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def report(
    context: typer.Context,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="KEY,...",
            help="day, week, month, task, model, provider, runner, project, status, outcome, run.",
        ),
    ] = "task",
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="7d, 24h, 2w, today, 2026-11-01 ...")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Not from here on.")] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="TASK", help="Only this task.", autocompletion=task_names),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.TABLE,
    json_: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Add up what was spent: runs, outcomes, tokens by bucket, cost.

    \b
      meshclaw report --by day --since 7d
      meshclaw report --by task,model --format csv
      meshclaw report --by model --since 30d --format html > spent.html

    Days are those of the local time zone. A figure marked \u2265 is a lower bound: something in it is
    unknown, and unknown is never counted as 0. With ~ none is certain: the ledger was changed after it
    was written. Tokens: `in` was neither read from nor written to a cache, `cached` was read from one,
    `written` written to one; `reasoning` is part of `out`.
    """
    from meshclaw.reports import to_csv, to_html, to_json, to_markdown

    found = session(context)
    table = _redacted(_table(found, by, since, until, task))
    _warn(found, table)
    if json_ or format_ is Format.JSON:
        emit_formatted(to_json(table))
    elif format_ is Format.CSV:
        emit_formatted(to_csv(table))
    elif format_ is Format.MD:
        emit_formatted(to_markdown(table))
    elif format_ is Format.HTML:
        emit_formatted(to_html(table, datetime.now(local_zone(found.environment))))
    elif not table.rows:
        say("there is nothing in the ledger yet" if not (since or until or task) else "nothing matches")
    else:
        _print(table)


def _table(found: Session, by: str, since: str | None, until: str | None, task: str | None) -> Table:
    from meshclaw import reports
    from meshclaw.ledger.fold import fold

    meshclaw = found.app()
    now, zone = datetime.now(UTC), local_zone(found.environment)
    begin = reports.parse_when(since, now, zone, source="--since") if since else None
    end = reports.parse_when(until, now, zone, source="--until") if until else None
    keys = [key.strip() for key in by.split(",") if key.strip()]
    if not keys:
        raise ProblemsError([Problem("--by", 0, 0, "names nothing", "write --by task")])
    facts = fold(meshclaw.entries(check=True), now)
    if task is not None:
        runs = {run: fact for run, fact in facts.runs.items() if fact.task == task}
        facts = replace(facts, runs=runs, calls=tuple(call for call in facts.calls if call.run in runs))
    return reports.report(facts, keys, since=begin, until=end, tz=zone)


def local_zone(environment: Mapping[str, str]) -> tzinfo:
    """The machine's time zone with its rules, so that summer days stay summer days in winter.

    From TZ, else /etc/localtime; if neither names one, the offset that holds now.
    """
    from zoneinfo import ZoneInfo

    name = environment.get("TZ", "").lstrip(":")
    if not name:
        target = os.path.realpath("/etc/localtime")
        name = target.partition("/zoneinfo/")[2]
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        here = datetime.now().astimezone().tzinfo
        assert here is not None
        return here


def _redacted(table: Table) -> Table:
    """Before it takes a form that secrets could hide in, or that redacting could break."""
    redact = redactor().words
    rows = (
        replace(row, keys=tuple(None if key is None else redact(key) for key in row.keys))
        for row in table.rows
    )
    problems = (replace(one, message=redact(one.message), hint=redact(one.hint)) for one in table.problems)
    return replace(table, rows=tuple(rows), problems=tuple(problems))


def _warn(found: Session, table: Table) -> None:
    for problem in table.problems[:MAX_PROBLEMS]:
        found.notify(str(problem))
    more = table.problem_count - MAX_PROBLEMS
    if more > 0:
        found.notify(f"{more} more problems; `meshclaw ledger verify` checks the chain")


def _print(table: Table) -> None:
    from meshclaw.reports import HEADINGS, figures, shown_key

    first = len(table.by)
    lines = [
        [*table.by, *HEADINGS],
        *(
            [*(shown_key(name, key) for name, key in zip(table.by, row.keys, strict=True)), *figures(row)]
            for row in table.rows
        ),
        ["total", *[""] * (first - 1), *figures(table.totals)],
    ]
    if is_terminal(sys.stdout):
        # A terminal is narrow: columns that hold nothing but 0 go.
        kept = [
            index for index, figure in enumerate(lines[-1]) if figure != "0" or lines[0][index] == "runs"
        ]
        lines = [[line[index] for index in kept] for line in lines]
    headings, *rows, footer = lines
    right = tuple(range(first, len(headings)))
    times = tuple(index for index, name in enumerate(table.by) if name in ("day", "week", "month"))
    emit_table(headings, rows, right=right, footer=footer, keep=times)
