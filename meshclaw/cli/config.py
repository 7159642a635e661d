"""`meshclaw config show`: what holds, and who said so."""

from __future__ import annotations

from typing import Annotated

import typer

from meshclaw.cli.output import emit_table, say
from meshclaw.cli.session import emit_json, session

app = typer.Typer(
    help="Show every setting and where its value comes from.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _group() -> None:
    """Settings come from your own file, the project's meshclaw.yaml, the environment and flags."""


@app.command()
def show(
    context: typer.Context, json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show every setting, its value, and which file and line, variable or flag set it."""
    from meshclaw.config.show import rows

    found = session(context)
    meshclaw = found.app()
    places = {"ledger": str(meshclaw.ledger_path), "data_dir": str(meshclaw.data_dir)}
    shown = rows(meshclaw.config, places)
    if json_:
        emit_json([{"key": row.key, "value": row.value, "origin": str(row.origin)} for row in shown])
        return
    emit_table(["setting", "value", "from"], [[row.key, row.value, str(row.origin)] for row in shown])
    if not found.quiet:
        state = "" if meshclaw.config_path.is_file() else " (not there yet)"
        say(f"your settings: {meshclaw.config_path}{state}\nproject: {meshclaw.project}")
