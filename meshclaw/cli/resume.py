"""`meshclaw runs resume`: goes on with a run that was cut short."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshclaw.cli.completion import run_ids
from meshclaw.cli.records import BATCH, find_batch, find_run
from meshclaw.cli.run import limits_of, pairs_of
from meshclaw.cli.session import Session, run_async, session
from meshclaw.runs import RunDirectory

if TYPE_CHECKING:
    from meshclaw.app.options import Changes


def resume(
    context: typer.Context,
    run: Annotated[
        str,
        typer.Argument(
            help="The beginning of a run's or a batch's id, or `last`.",
            metavar="RUN",
            autocompletion=run_ids,
        ),
    ],
    budget: Annotated[
        list[str] | None,
        typer.Option("--budget", metavar="LIMIT=N,...", help="Raise limits, such as usd=2,steps=80."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", metavar="NAME=VALUE", help="A parameter that held a secret, which is not kept."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, max=1_000, help="For a batch: runs side by side."),
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="For a batch: begin nothing after what did not end well.")
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the run's record as one JSON object.")
    ] = False,
    stream_json: Annotated[
        bool, typer.Option("--stream-json", help="Print every event as a line of JSON, last run-end.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only the result and errors, no progress.")
    ] = False,
) -> None:
    """Go on with a run that was killed, interrupted, out of time or budget, or lost its provider.

    Nothing that was received is asked for or paid again. A command or change that had begun when the run
    was killed is not repeated: the model is told that it may have happened.

    A batch (`b-...`) goes on with the runs that were cut short and those that had not begun; the others are
    not done again. Its budget counts what was spent before.

    \b
      meshclaw runs resume last
      meshclaw runs resume 0198c1d2 --budget usd=2
      meshclaw runs resume b-0198c1d2 --jobs 8
    """
    from meshclaw.app.options import Changes
    from meshclaw.cli.delegate import exclusive
    from meshclaw.cli.signals import cancelled_by_signals

    exclusive(as_json=json_, as_stream=stream_json)
    found = session(context)
    found.quiet = found.quiet or quiet
    limits, params = limits_of(budget or []), pairs_of("-p", param or [])
    if run.startswith(BATCH):
        changes = Changes(limits, jobs, fail_fast, params)
        code = run_async(cancelled_by_signals, _resume_batch, found, run, changes, json_, stream_json)
    else:
        folder = find_run(found.app().runs_dir, run)
        code = run_async(cancelled_by_signals, _resume, found, folder, limits, params, json_, stream_json)
    if code:
        raise typer.Exit(code)


async def _resume(
    found: Session,
    folder: Path,
    budget: dict[str, str],
    params: dict[str, str],
    as_json: bool,
    as_stream: bool,
) -> int:
    from meshclaw.app import RunOptions
    from meshclaw.app.resuming import prepare_resumed
    from meshclaw.cli.delegate import Wish, carry_out, recover

    project = RunDirectory(folder).read_record().get("project")
    app = found.app(Path(project) if isinstance(project, str) else None)
    try:
        await recover(app, found)
        delegation = await prepare_resumed(app, folder.name, budget, params)
        wish = Wish(delegation.task.name, RunOptions(), as_json=as_json, as_stream=as_stream)
        return await carry_out(
            app, found, wish, lambda dispatcher, stop: dispatcher.resume(folder.name, delegation, stop)
        )
    finally:
        await app.aclose()


async def _resume_batch(found: Session, name: str, changes: Changes, as_json: bool, as_stream: bool) -> int:
    from meshclaw.app.batch_files import batches_dir
    from meshclaw.cli.batch import resume_batch

    folder = find_batch(batches_dir(found.app()), name)
    return await resume_batch(found, folder, changes, as_json=as_json, as_stream=as_stream)
