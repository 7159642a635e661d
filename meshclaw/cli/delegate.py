"""One delegation, from the options to the exit code: what is shown, and what is printed."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshclaw.cli.guarded import unseen
from meshclaw.cli.listening import Listener
from meshclaw.cli.output import emit_exact, is_terminal, say, say_error, stderr_console
from meshclaw.cli.progress import NoView, PlainView, View
from meshclaw.cli.proposed import in_short, see
from meshclaw.cli.session import Session, emit_json
from meshclaw.cli.words import left_to_do, patch_in_words, status_in_words, summary
from meshclaw.errors import ExitCode, Problem, ProblemsError
from meshclaw.frozen import dataclass

if TYPE_CHECKING:
    from meshclaw.app import App, RunOptions
    from meshclaw.dispatch import Dispatcher, Stop

Start = Callable[["Dispatcher", "Stop"], Awaitable[Mapping[str, Any]]]
"""What is begun once somebody watches: a new run, or one that goes on."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What `meshclaw run` was asked for."""

    task: str
    options: RunOptions
    as_json: bool = False
    as_stream: bool = False
    dry_run: bool = False
    jobs: int = 4
    fail_fast: bool = False


def exclusive(*, as_json: bool, as_stream: bool) -> None:
    """Raises ProblemsError for --json together with --stream-json."""
    if as_json and as_stream:
        message = "--json and --stream-json exclude each other"
        raise ProblemsError([Problem("--stream-json", 0, 0, message)])


async def delegate(session: Session, wish: Wish) -> int:
    """Carries out a Wish and returns the exit code. Raises MeshClawError when nothing was started."""
    from meshclaw.app.families import load_family

    app = session.app()
    try:
        _require_trust(app, wish)
        if not wish.dry_run:
            await recover(app, session)
        family = load_family(app, wish.task)
        if family.is_batch:
            from meshclaw.cli.batch import delegate_batch

            return await delegate_batch(app, session, wish, family)
        delegation = await _prepared(app, session, wish)
        if wish.dry_run:
            from meshclaw.app.describing import describe
            from meshclaw.cli.dry_run import show

            plan = describe(delegation, app.house(lambda event: None))
            show(plan, as_json=wish.as_json or wish.as_stream)
            return int(ExitCode.OK)
        told = delegation.problems
        for problem in told:
            session.notify(problem)
        return await carry_out(
            app, session, wish, lambda dispatcher, stop: dispatcher.run(delegation, stop), told
        )
    finally:
        await app.aclose()


def _require_trust(app: App, wish: Wish) -> None:
    """Comes first: before it, not even the ledger that the project's settings name is opened."""
    from meshclaw.app.trusting import powers_to_run, require_trust
    from meshclaw.cli.trust import offer_trust
    from meshclaw.trust import UntrustedError

    trusted = False
    while not trusted:
        try:
            require_trust(app, powers_to_run(app, wish.task))
            trusted = True
        except UntrustedError as error:
            if not wish.options.interactive or error.unusable or not offer_trust(app, error.items):
                raise


async def recover(app: App, session: Session) -> None:
    """Closes runs that were killed, and says so."""
    from meshclaw.dispatch import may_resume
    from meshclaw.runs import RunDirectory

    for run in await app.recover():
        goes_on = may_resume(RunDirectory(app.runs_dir / run).read_record())
        offer = f" (`meshclaw runs resume {run[:13]}` goes on with it)" if goes_on else ""
        session.notify(f"run {run} was cut short; its calls and its end are in the ledger now{offer}")


async def _prepared(app: App, session: Session, wish: Wish) -> Any:
    from meshclaw.app import WeightsMissingError
    from meshclaw.cli.choose import choose_model, offer_weights

    options = wish.options
    if is_terminal(sys.stderr):
        ask = options.interactive
        options = replace(options, model=await choose_model(app, wish.task, options.model, ask=ask))
    try:
        return await app.prepare(wish.task, options)
    except WeightsMissingError as missing:
        if not options.interactive or not await offer_weights(app, missing):
            raise
    return await app.prepare(wish.task, options)


async def carry_out(
    app: App, session: Session, wish: Wish, start: Start, told: Collection[str] = ()
) -> int:
    """Shows a run while it happens and prints what came of it; returns the exit code.

    `told` are problems that were said already.
    """
    from meshclaw.cli.signals import stopping
    from meshclaw.dispatch import Dispatcher, Stop

    stop, view = Stop(), _view(session)

    def end(code: ExitCode) -> None:
        view.note("stopping: the ledger is being brought up to date (once more to leave at once)")
        stop.now(code)

    try:
        with stopping(end, view.leave):
            house = app.house(Listener(view, stop.now, as_stream=wish.as_stream).listen)
            record = await start(Dispatcher(house), stop)
    finally:
        view.close()
    _print_result(record, wish)
    _print_end(record, session, told)
    return int(record["exit"])


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
    elif record["exit"] == ExitCode.OK:
        result = record["result"]
        if isinstance(result, str):
            emit_exact(result)
        else:
            emit_json(result, indent=2)


def _print_end(record: Mapping[str, Any], session: Session, told: Collection[str]) -> None:
    failed = record["exit"] != ExitCode.OK
    if session.quiet:
        if failed:
            say_error(status_in_words(record))
        return
    say(summary(record), "31;1" if failed else "32")
    for line in unseen(record):
        say(line, "33")
    for problem in record["problems"]:
        if problem not in (record["reason"], *told):
            say(problem, "33")
    for remedy in record["denied"]:
        say(f"denied: {remedy}", "33")
    for one in record["proposals"]:
        say(f"proposed {one['number']}: {in_short(one['command'])}", "33")
    if record["proposals"]:
        say(f"none of this was done; {see(record)}")
    if patch := patch_in_words(record):
        say(patch)
    if left := left_to_do(record):
        say(left, "33")
    if record["output_file"]:
        say(f"written to {record['output_file']}")
    say(f"run {record['run']} in {record['directory']}", "2")
