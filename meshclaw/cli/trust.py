"""`meshclaw trust`: what the project's files could make happen, and that the user agrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshclaw.cli.asking import confirm
from meshclaw.cli.completion import task_names
from meshclaw.cli.output import emit, emit_table, say, watched
from meshclaw.cli.session import Session, emit_json, session
from meshclaw.errors import ExitCode, PolicyError, Problem, ProblemsError

if TYPE_CHECKING:
    from meshclaw.app import App
    from meshclaw.trust import Untrusted

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)

_COLOURS = {"+": "32", "-": "31"}


@app.command()
def trust(
    context: typer.Context,
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tasks, with what they need (default: all of the project's).",
            metavar="TASK",
            autocompletion=task_names,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Trust without asking, for scripts.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show what is trusted, in all projects.")] = False,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Trust nothing of this project any more.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="With --list: print JSON.")] = False,
) -> None:
    """Look at what the project's tasks and settings could make happen, and trust them with that.

    Until then none of them runs. What they ask a model for may change later; when a command, a tool or
    whatever else they may do changes, they have to be trusted again.

    \b
    Examples:
      meshclaw trust
      meshclaw trust fix-tests
      meshclaw trust --yes          in a script that knows what it has checked out
    """
    found = session(context)
    meshclaw = found.app()
    chosen = [name for name, given in (("--list", list_), ("--revoke", revoke)) if given]
    if chosen and (len(chosen) > 1 or tasks or yes):
        raise ProblemsError([Problem(chosen[0], 0, 0, "goes with no task and no other option")])
    if list_:
        _list(meshclaw, as_json=json_)
    elif revoke:
        _revoke(meshclaw, found)
    else:
        _trust(meshclaw, found, tasks or [], yes=yes)


def offer_trust(meshclaw: App, items: Sequence[Untrusted]) -> bool:
    """Shows a person what is not trusted and asks; True when it is trusted now."""
    from meshclaw.app.trusting import trust_items

    _show(meshclaw, items)
    if not confirm("Trust this?"):
        return False
    trust_items(meshclaw, items)
    return True


def _trust(meshclaw: App, found: Session, tasks: list[str], *, yes: bool) -> None:
    from meshclaw.app.trusting import all_powers, find_untrusted, powers_to_run, trust_items

    problems: list[Problem] = []
    powers: dict[str, Any] = {}
    for name in tasks:
        powers |= powers_to_run(meshclaw, name)
    items = find_untrusted(meshclaw, powers if tasks else all_powers(meshclaw, problems))
    for problem in problems:
        say(f"left out: {problem}", "33")
    if not items:
        if not found.quiet:
            say("nothing here needs to be trusted" if not problems else "nothing else has to be trusted")
        return
    if yes:
        if not found.quiet:
            _show(meshclaw, items)
        trust_items(meshclaw, items)
    elif not watched():
        _show(meshclaw, items)
        hint = "`meshclaw trust --yes` trusts what is shown above"
        raise PolicyError("nothing was trusted: there is no terminal to ask in", hint=hint)
    elif not offer_trust(meshclaw, items):
        say("nothing was trusted")
        raise typer.Exit(int(ExitCode.REFUSED))
    emit("\n".join(f"trusted {_named(one)}" for one in items))


def _list(meshclaw: App, *, as_json: bool) -> None:
    from meshclaw.app.trusting import open_store

    found = open_store(meshclaw).entries()
    if as_json:
        emit_json(
            [
                {"project": str(one.project), "name": one.name, "sha256": one.sha256, "at": one.at}
                for one in found
            ]
        )
    elif found:
        emit_table(["project", "file", "since"], [[str(one.project), one.name, one.at] for one in found])
    else:
        say("nothing is trusted")


def _revoke(meshclaw: App, found: Session) -> None:
    from meshclaw.app.trusting import open_store
    from meshclaw.trust import visible

    gone = open_store(meshclaw).revoke(meshclaw.project)
    if gone:
        emit("\n".join(f"no longer trusted: {visible(name)}" for name in gone))
    elif not found.quiet:
        say("nothing of this project was trusted")


def _show(meshclaw: App, items: Sequence[Untrusted]) -> None:
    for one in items:
        if one.before is None:
            say(f"{_named(one)} is not trusted; it says:", "1")
            say("\n".join(f"  {line}" for line in one.text().splitlines()), exact=True)
            continue
        say(f"{_named(one)} has changed since it was trusted:", "1")
        for line in one.diff(meshclaw.redactor.known_data).splitlines():
            say(f"  {line}", _COLOURS.get(line[:1], ""), exact=True)


def _named(one: Untrusted) -> str:
    from meshclaw.trust import visible

    return visible(one.name)
