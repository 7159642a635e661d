"""`meshclaw runs proposals` and `meshclaw runs perform`: what a run left for a person to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from meshclaw.cli.asking import confirm
from meshclaw.cli.completion import run_ids
from meshclaw.cli.output import emit, emit_exact, is_terminal, say, say_error, watched
from meshclaw.cli.proposed import framed, framed_output
from meshclaw.cli.records import find_run
from meshclaw.cli.session import Session, emit_json, run_async, session
from meshclaw.errors import ExitCode, PolicyError, Problem, ProblemsError

if TYPE_CHECKING:
    from meshclaw.app import App
    from meshclaw.app.performing import Performed, Performer
    from meshclaw.app.proposals import Proposal
    from meshclaw.runs import RunDirectory

Run = Annotated[
    str,
    typer.Argument(help="The beginning of a run's id, or `last`.", metavar="RUN", autocompletion=run_ids),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def proposals(context: typer.Context, run: Run, json_: Json = False) -> None:
    """Show what a run proposed, each command in full, and what has been done of it.

    What nobody would see in a command is shown with escapes.
    """
    from meshclaw.app.proposals import read_proposals
    from meshclaw.runs import RunDirectory

    folder = find_run(session(context).app().runs_dir, run)
    record = RunDirectory(folder).read_record()
    found = read_proposals(folder, record)
    if json_:
        emit_json([one.as_dict() for one in found])
    elif not found:
        say(f"run {record.get('run')} proposed nothing")
    else:
        lines = [f"{record['task']}  {record['run']}, in {record['project']}"]
        for one in found:
            lines += [f"{one.number}  {_state(one)}", *framed(one.command, _width(sys.stdout))]
        emit("\n".join(lines))


def perform(
    context: typer.Context,
    run: Run,
    numbers: Annotated[
        list[int] | None, typer.Argument(help="Only these (default: all).", metavar="NUMBER")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking, for scripts.")] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Also what failed, may have happened, or (named by number) was done."),
    ] = False,
    json_: Json = False,
) -> None:
    """Do what a run proposed: each command is shown and asked for first.

    They run with your rights in the run's project, in their order, until one fails (exit 1). With --yes
    nobody has looked: a run that did not end with exit 0 is refused then, and so is one that would break
    the rule of two.

    \b
    Examples:
      meshclaw runs perform last
      meshclaw runs perform 0198c1d2 2 3
      meshclaw run release --quiet && meshclaw runs perform last --yes
    """
    from meshclaw.runs import RunDirectory

    if not yes and not watched():
        hint = "--yes does without asking what `meshclaw runs proposals` shows"
        raise ProblemsError([Problem("runs perform", 0, 0, "there is no terminal to ask in", hint)])
    found = session(context)
    app = found.app()
    run_async(_recover, app, found)
    with RunDirectory(find_run(app.runs_dir, run)) as directory:
        code = _Performance(found, directory, yes=yes, again=again).all(numbers or [], as_json=json_)
    if code:
        raise typer.Exit(code)


class _Performance:
    """The proposals of one run, on their way to being done."""

    def __init__(self, found: Session, directory: RunDirectory, *, yes: bool, again: bool) -> None:
        self._session = found
        self._directory = directory
        self._record = directory.read_record()
        self._yes = yes
        self._again = again

    def all(self, numbers: Sequence[int], *, as_json: bool) -> int:
        """Does those of `numbers`, or all; returns the exit code."""
        chosen = self._chosen(numbers)
        code = 0
        if chosen:
            performer = self._performer(chosen)
            for one in chosen:
                code = self._one(performer, one, as_json=as_json)
                if code:
                    break
        if as_json:
            emit_json([one.as_dict() for one in self._read()])
        return code

    def _chosen(self, numbers: Sequence[int]) -> list[Proposal]:
        found = {one.number: one for one in self._read()}
        for number in numbers:
            if number not in found:
                there = f"there are {len(found)}" if found else "the run proposed nothing"
                raise ProblemsError([Problem("NUMBER", 0, 0, f"there is no proposal {number}", there)])
        if not found:
            say(f"run {self._record.get('run')} proposed nothing")
        chosen = [found[number] for number in sorted(set(numbers) or found)]
        for one in chosen:
            if one.state == "done" and not (numbers and self._again):
                self._tell(f"{one.number} is done already ({one.at})")
        return [one for one in chosen if one.state != "done" or (numbers and self._again)]

    def _performer(self, chosen: Sequence[Proposal]) -> Performer:
        """Raises PolicyError when any of `chosen` may not be done: nothing has been begun then."""
        from meshclaw.app.performing import Performer

        app = self._session.app(Path(self._record["project"]))
        performer = Performer(app, self._directory, self._record)
        if self._yes:
            performer.require_care()
        for one in chosen:
            performer.review(one)
            if self._yes and one.state != "open" and not self._again:
                raise PolicyError(
                    f"proposal {one.number} {_state(one)}",
                    hint="see for yourself what has happened, then do it with --again",
                )
        return performer

    def _one(self, performer: Performer, one: Proposal, *, as_json: bool) -> int:
        from meshclaw.app.proposals import FILE

        if not (self._yes and self._session.quiet):
            say(f"{one.number}  {_state(one)}; in {self._record['project']}:", "1")
            say("\n".join(framed(one.command, _width(sys.stderr))))
        if not self._yes and not confirm(_question(one)):
            say(f"{one.number} was not done")
            return 0
        done, code = run_async(_perform, performer, one)
        _show_output(done.output, as_json=as_json)
        if code or done.exit_code == 0:
            self._tell(f"{one.number} {'is done' if done.exit_code == 0 else 'was interrupted'}")
            return code
        why = done.reason or f"ended with exit {done.exit_code}"
        say_error(
            f"proposal {one.number} {why}; what follows it was not begun",
            f"see {self._directory.path / FILE}",
        )
        return int(ExitCode.FAILED)

    def _read(self) -> list[Proposal]:
        from meshclaw.app.proposals import read_proposals

        return read_proposals(self._directory.path, self._record)

    def _tell(self, text: str) -> None:
        if not self._session.quiet:
            say(text)


async def _recover(app: App, found: Session) -> None:
    """A run that was killed has no record of what it proposed before it is closed."""
    from meshclaw.cli.delegate import recover

    try:
        await recover(app, found)
    finally:
        await app.aclose()


async def _perform(performer: Performer, one: Proposal) -> tuple[Performed, int]:
    """What came of it, and the exit code that a signal asks for; it may have come too late for this one."""
    import anyio

    from meshclaw.app.performing import Performed
    from meshclaw.cli.signals import stopping

    scope, codes = anyio.CancelScope(), [0]

    def stop(code: ExitCode) -> None:
        codes[0] = int(code)
        scope.cancel()

    done = Performed(None, "", "was interrupted")
    with stopping(stop, lambda: None), scope:
        done = await performer.perform(one)
    return done, codes[0]


def _show_output(text: str, *, as_json: bool) -> None:
    """What it wrote goes to standard output: as it is into a pipe, behind a gutter into a terminal."""
    stream = sys.stderr if as_json else sys.stdout
    if text and is_terminal(stream):
        text = "\n".join(framed_output(text.removesuffix("\n"), _width(stream)))
    if text:
        (say if as_json else emit_exact)(text.removesuffix("\n"))


def _state(one: Proposal) -> str:
    match one.state:
        case "open":
            return "is open"
        case "done":
            return f"is done ({one.at})"
        case "failed":
            return f"failed ({one.reason or f'exit {one.exit_code}'}, {one.at})"
        case "unknown":
            return f"was begun at {one.at}, and its end was never written down: it may have happened"


def _question(one: Proposal) -> str:
    return f"Do {one.number}?" if one.state == "open" else f"Do {one.number} again?"


def _width(stream: TextIO) -> int | None:
    """Columns of a terminal; None for anything else."""
    if not is_terminal(stream):
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except OSError:
        return None
