"""`meshclaw doctor`: what works here, what does not, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from meshclaw.cli.output import emit, emit_rich, is_terminal, say
from meshclaw.cli.session import Session, emit_json, run_async, session
from meshclaw.errors import ExitCode
from meshclaw.terminal_text import clean

if TYPE_CHECKING:
    from meshclaw.app.doctor import Finding

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)

_COLOURS = {"ok": "green", "missing": "dim", "warning": "yellow", "failed": "bold red"}


@app.command()
def doctor(
    context: typer.Context,
    security: Annotated[
        bool, typer.Option("--security", help="Look at this machine's defences instead.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at what works here: models, keys, sandbox, ledger, cron; say what to do about the rest.

    Each line is `ok`; `missing`, when only what needs it is affected; `warning`, when it works less well
    or less safely than it should; or `failed`. Keys are shown by name, never by value. Nothing is spent,
    and nothing but servers on this machine is asked.

    Exits 0 when a task could run; 1 when something failed.

    \b
    Examples:
      meshclaw doctor
      meshclaw doctor --security
      env -i PATH=/usr/bin:/bin meshclaw doctor          as cron would see it
    """
    found = run_async(_examine, session(context), security)
    failed = any(one.state == "failed" for one in found)
    if json_:
        emit_json({"ok": not failed, "findings": [asdict(one) for one in found]})
    else:
        _show(found)
        if not session(context).quiet:
            say(_sum_up(found, security=security))
    if failed:
        raise typer.Exit(int(ExitCode.FAILED))


async def _examine(found: Session, security: bool) -> list[Finding]:
    from meshclaw.app.doctor import defences, essentials, examine

    meshclaw = found.app()
    try:
        return await examine(meshclaw, defences() if security else essentials())
    finally:
        await meshclaw.aclose()


def _sum_up(findings: Sequence[Finding], *, security: bool) -> str:
    failed, warnings = (sum(one.state == state for one in findings) for state in ("failed", "warning"))
    if failed:
        return f"{failed} of these must be mended" + ("" if security else " before a task can run")
    verdict = "nothing failed" if security else "a task could run here"
    if not warnings:
        return verdict
    return f"{verdict}; {warnings} warning{'s' * (warnings != 1)}"


def _show(findings: Sequence[Finding]) -> None:
    rows = [[str(one.state), one.topic, one.text, one.remedy] for one in findings]
    cells = [[clean(cell, multiline=False) for cell in row] for row in rows]
    if is_terminal(sys.stdout):
        _show_grid(cells)
        return
    width = max(len(topic) for _, topic, _, _ in cells)
    for state, topic, text, remedy in cells:
        emit(f"{state:<7}  {topic:<{width}}  {text}")
        if remedy:
            emit(f"{'':<7}  {'':<{width}}  -> {remedy}")


def _show_grid(cells: Sequence[Sequence[str]]) -> None:
    """In colour; what does not fit into a line is wrapped within its column."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for least in (7, max(len(row[1]) for row in cells)):
        grid.add_column(min_width=least, no_wrap=True)
    grid.add_column(overflow="fold")
    for state, topic, text, remedy in cells:
        body = Text(text)
        if remedy:
            body.append(f"\n-> {remedy}", "bold" if state == "failed" else "dim")
        grid.add_row(Text(state, _COLOURS[state]), topic, body)
    emit_rich(grid)
