"""One delegation, from the options to the exit code: what is shown, and what is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from meshclaw.cli.output import PipeClosed, emit, is_terminal, say, say_error, stderr_console
from meshclaw.cli.progress import NoView, PlainView, View
from meshclaw.cli.session import Session, emit_json, to_json
from meshclaw.cli.words import status_in_words, summary
from meshclaw.errors import ExitCode
from meshclaw.runs import Event

if TYPE_CHECKING:
    from meshclaw.app import App, RunOptions
    from meshclaw.dispatch import Stop


@dataclass(frozen=True, slots=True)
class Wish:
    """What `meshclaw run` was asked for."""

    task: str
    options: RunOptions
    as_json: bool = False
    as_stream: bool = False
    dry_run: bool = False


async def delegate(session: Session, wish: Wish) -> int:
    """Carries out a Wish and returns the exit code. Raises MeshClawError when nothing was started."""
    app = session.app()
    try:
        if not wish.dry_run:
            await _recover(app, session)
        delegation = await _prepared(app, session, wish)
        if wish.dry_run:
            from meshclaw.cli.dry_run import show

            show(app.describe(delegation), as_json=wish.as_json or wish.as_stream)
            return int(ExitCode.OK)
        return await _run(app, session, wish, delegation)
    finally:
        await app.aclose()


async def _recover(app: App, session: Session) -> None:
    for run in await app.recover():
        session.notify(f"run {run} was killed; its calls and its end are in the ledger now")


async def _prepared(app: App, session: Session, wish: Wish) -> Any:
    from meshclaw.app import WeightsMissingError
    from meshclaw.cli.choose import choose_model, offer_weights

    options = wish.options
    if options.interactive:
        options = replace(options, model=await choose_model(app, wish.task, options.model))
    try:
        return await app.prepare(wish.task, options)
    except WeightsMissingError as missing:
        if not options.interactive or not await offer_weights(app, missing):
            raise
    return await app.prepare(wish.task, options)


async def _run(app: App, session: Session, wish: Wish, delegation: Any) -> int:
    from meshclaw.cli.signals import stopping
    from meshclaw.dispatch import Dispatcher, Stop

    stop, view = Stop(), _view(session)

    def end(code: ExitCode) -> None:
        view.note("stopping: the ledger is being brought up to date (once more to leave at once)")
        stop.now(code)

    try:
        with stopping(end, view.leave):
            house = app.house(_Listener(view, stop, wish.as_stream).listen)
            record = await Dispatcher(house).run(delegation, stop)
    finally:
        view.close()
    _print_result(record, wish)
    _print_end(record, session)
    return int(record["exit"])


class _Listener:
    """Hands every event to the view and, for `--stream-json`, to standard output."""

    def __init__(self, view: View, stop: Stop, as_stream: bool) -> None:
        self._view = view
        self._stop = stop
        self._as_stream = as_stream

    def listen(self, event: Event) -> None:
        self._view.listen(event)
        if not self._as_stream:
            return
        try:
            emit(to_json({"event": event.kind, **event.data}))
        except PipeClosed:
            # Whoever asked for the events has gone: nobody waits for the work any more.
            self._as_stream = False
            self._stop.now(ExitCode.INTERRUPTED)


def _view(session: Session) -> View:
    if session.quiet:
        return NoView()
    if is_terminal(sys.stderr) and session.environment.get("TERM") != "dumb":
        from meshclaw.cli.live import LiveView

        return LiveView(stderr_console())
    return PlainView()


def _print_result(record: Mapping[str, Any], wish: Wish) -> None:
    if wish.as_stream:
        return
    if wish.as_json:
        emit_json(record)
    elif record["status"] == "succeeded":
        result = record["result"]
        emit(result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, indent=2))


def _print_end(record: Mapping[str, Any], session: Session) -> None:
    failed = record["exit"] != ExitCode.OK
    if session.quiet:
        if failed:
            say_error(status_in_words(record))
        return
    say(summary(record), "31;1" if failed else "32")
    for remedy in record["denied"]:
        say(f"denied: {remedy}", "33")
    if record["output_file"]:
        say(f"written to {record['output_file']}")
    say(f"run {record['run']} in {record['directory']}", "2")
