"""A task that takes several runs: those of a matrix, or of what it needs; and going on with them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshclaw.cli.batch_end import print_results, print_summary
from meshclaw.cli.batch_progress import PlainBatchView
from meshclaw.cli.listening import Listener
from meshclaw.cli.output import is_terminal, say, stderr_console
from meshclaw.cli.progress import NoView, View
from meshclaw.cli.session import Session, emit_json
from meshclaw.errors import ExitCode

if TYPE_CHECKING:
    from meshclaw.app import App
    from meshclaw.app.batching import Batch
    from meshclaw.app.families import Family
    from meshclaw.app.options import Changes
    from meshclaw.cli.delegate import Wish
    from meshclaw.runs import Event

Open = Callable[[Callable[["Event"], None]], AbstractAsyncContextManager["Batch"]]


async def delegate_batch(app: App, session: Session, wish: Wish, family: Family) -> int:
    """Carries out a Wish for a task that takes several runs, and is trusted. Returns the exit code."""
    from meshclaw.app import WeightsMissingError
    from meshclaw.app.batching import new_batch, nothing_to_do
    from meshclaw.app.planning import plan_batch
    from meshclaw.batches.conductor import Terms
    from meshclaw.cli.choose import choose_model, offer_weights

    options = wish.options
    if is_terminal(sys.stderr):
        ask = options.interactive
        options = replace(options, model=await choose_model(app, wish.task, options.model, ask=ask))
    plan = await plan_batch(app, family, options)
    if not plan.items:
        record = nothing_to_do(app, plan)
        _print(record, session, wish)
        return int(record["exit"])
    if wish.dry_run:
        from meshclaw.cli.batch_plan import show_plan

        await show_plan(app, family, plan, options, as_json=wish.as_json or wish.as_stream)
        return int(ExitCode.OK)
    terms = Terms(wish.jobs, wish.fail_fast)
    while True:
        try:
            return await _carry_out(
                session, wish, lambda listen: new_batch(app, family, plan, options, terms, listen)
            )
        except WeightsMissingError as missing:
            if not options.interactive or not await offer_weights(app, missing):
                raise


async def resume_batch(
    session: Session, folder: Path, changes: Changes, *, as_json: bool, as_stream: bool
) -> int:
    """Goes on with the batch in `folder`; returns the exit code."""
    from meshclaw.app import RunOptions
    from meshclaw.app.batching import earlier_batch
    from meshclaw.batches.journal import BatchDirectory
    from meshclaw.cli.delegate import Wish, recover

    directory = BatchDirectory(folder)
    project = directory.read_record().get("project")
    app = session.app(Path(project) if isinstance(project, str) else None)
    try:
        await recover(app, session)
        wish = Wish("", RunOptions(), as_json=as_json, as_stream=as_stream)
        return await _carry_out(
            session, wish, lambda listen: earlier_batch(app, directory, changes, listen)
        )
    finally:
        await app.aclose()


async def _carry_out(session: Session, wish: Wish, open_batch: Open) -> int:
    from meshclaw.cli.signals import stopping

    batch: Batch | None = None

    def stop(code: ExitCode) -> None:
        if batch is not None:
            batch.stop(code)

    def end(code: ExitCode) -> None:
        view.note("stopping: what runs is being ended cleanly (once more to leave at once)")
        stop(code)

    view = _view(session)
    listener = Listener(view, stop, as_stream=wish.as_stream)
    try:
        async with open_batch(listener.listen) as batch:
            with stopping(end, view.leave):
                record = await batch.run()
    finally:
        view.close()
    _print(record, session, wish)
    return int(record["exit"])


def _print(record: dict[str, Any], session: Session, wish: Wish) -> None:
    if wish.as_json:
        emit_json(record)
    elif not wish.as_stream:
        print_results(record)
    if not record["items"]:
        if not session.quiet:
            say(f"nothing to do: the matrix of {record['task']} has no items")
        return
    print_summary(record, quiet=session.quiet)


def _view(session: Session) -> View:
    if session.quiet:
        return NoView()
    if is_terminal(sys.stderr) and session.environment.get("TERM") != "dumb":
        from meshclaw.cli.batch_live import LiveBatchView

        return LiveBatchView(stderr_console())
    return PlainBatchView()
