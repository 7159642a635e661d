"""`meshclaw run`: the command line of one delegation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from meshclaw.cli.completion import task_names
from meshclaw.cli.failures import exit_codes_help
from meshclaw.cli.output import is_terminal, watched
from meshclaw.cli.session import run_async, session
from meshclaw.errors import Problem, ProblemsError

MAX_STDIN = 256 * 1024 * 1024
"""Bytes of standard input that are taken at most."""

LIMITS = ("usd", "tokens", "steps", "time")

HELP = """Delegate a task: print its result, write its cost into the ledger.

TASK is a task's name (see `meshclaw tasks list`) or a path to a task file.

\b
Examples:
  meshclaw run review-diff
  git diff | meshclaw run summarize
  meshclaw run changelog -p range=v1.2.0..HEAD --output CHANGELOG.new
  meshclaw run fix-tests --budget usd=0.50,time=10m
  meshclaw run extract --input text=mail.txt --json | jq .result

Standard output carries the result and nothing else, and only when the run succeeded; progress goes to
standard error. Ctrl-C once ends a run cleanly, twice at once.
"""

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(help=HELP, epilog=exit_codes_help(), no_args_is_help=True)
def run(
    context: typer.Context,
    task: Annotated[
        str,
        typer.Argument(help="A task's name, or a task file.", autocompletion=task_names, metavar="TASK"),
    ],
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="NAME=VALUE", help="Set a parameter.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="MODEL", help="An alias or provider/model-id."),
    ] = None,
    runner: Annotated[
        str | None,
        typer.Option("--runner", metavar="RUNNER", help="agent or prompt, instead of the task's."),
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME=FILE", help="Take an input from this file."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the result to this file as well."),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            "--budget",
            metavar="LIMIT=N,...",
            help="Limits, such as usd=1,tokens=200k,steps=5,time=10m.",
        ),
    ] = None,
    allow_run: Annotated[
        list[str] | None,
        typer.Option("--allow-run", metavar="PATTERN", help="Allow these commands too, this run only."),
    ] = None,
    allow_write: Annotated[
        list[str] | None,
        typer.Option("--allow-write", metavar="GLOB", help="Allow writing these files too, this run only."),
    ] = None,
    no_sandbox: Annotated[
        bool, typer.Option("--no-sandbox", help="Let allowed commands run with your rights, not contained.")
    ] = False,
    apply_if_accepted: Annotated[
        bool,
        typer.Option("--apply-if-accepted", help="Put an accepted patch of a copy into the project."),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Do the work although its accepted result is known.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Keep a recording beside the task, for `tasks test`.")
    ] = False,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=1, max=1_000, help="Runs side by side, of a matrix or of needs."),
    ] = 4,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Begin no further run after one that did not end well.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show prompt, tools, policy and highest cost; spend nothing.")
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the run's record as one JSON object, failures included.")
    ] = False,
    stream_json: Annotated[
        bool,
        typer.Option("--stream-json", help="Print every event as a line of JSON, last run-end."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only the result and errors, no progress.")
    ] = False,
) -> None:
    from meshclaw.app import RunOptions
    from meshclaw.cli.delegate import Wish, delegate, exclusive
    from meshclaw.cli.signals import cancelled_by_signals

    exclusive(as_json=json_, as_stream=stream_json)
    options = RunOptions(
        params=pairs_of("-p", param or []),
        inputs={name: Path(file) for name, file in pairs_of("--input", input_ or [], "NAME=FILE").items()},
        model=model,
        runner=runner,
        allow_run=tuple(allow_run or ()),
        allow_write=tuple(allow_write or ()),
        no_sandbox=no_sandbox,
        budget=limits_of(budget or []),
        stdin=_stdin(),
        interactive=watched(),
        output=output,
        apply=apply_if_accepted,
        fresh=fresh,
        record=record,
    )
    wish = Wish(
        task,
        options,
        as_json=json_,
        as_stream=stream_json,
        dry_run=dry_run,
        jobs=jobs,
        fail_fast=fail_fast,
    )
    found = session(context)
    found.quiet = found.quiet or quiet
    code = run_async(cancelled_by_signals, delegate, found, wish)
    if code:
        raise typer.Exit(code)


def _mistake(source: str, message: str, hint: str = "") -> ProblemsError:
    return ProblemsError([Problem(source, 0, 0, message, hint)])


def pairs_of(source: str, given: Iterable[str], form: str = "NAME=VALUE") -> dict[str, str]:
    """`k=v` texts as a mapping. Raises ProblemsError for one without `=` and for a name given twice."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise _mistake(source, f"'{text}' is not {form}", f"write {source} {form.lower()}")
        if name in found:
            raise _mistake(source, f"'{name}' is given twice")
        found[name] = value
    return found


def limits_of(given: Iterable[str]) -> dict[str, str]:
    """`usd=1,time=10m` as a mapping, by limit. What the values mean is the settings' business."""
    parts = [part.strip() for text in given for part in text.split(",") if part.strip()]
    found = pairs_of("--budget", parts, "LIMIT=N")
    for name in found:
        if name not in LIMITS:
            raise _mistake("--budget", f"unknown limit '{name}'", f"there are {', '.join(LIMITS)}")
    return found


def _stdin() -> Callable[[], bytes] | None:
    """A way to read standard input, unless it is a keyboard. Nothing is read before it is called."""
    if sys.stdin is None or sys.stdin.closed or is_terminal(sys.stdin):
        return None

    def read() -> bytes:
        data = sys.stdin.buffer.read(MAX_STDIN + 1)
        if len(data) > MAX_STDIN:
            raise _mistake(
                "standard input", f"holds more than {MAX_STDIN // 2**20} MiB", "pass a part of it"
            )
        return data

    return read
