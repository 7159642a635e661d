"""`meshclaw ledger`: where it is, whether it is in order, and a new file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshclaw.cli.output import emit, emit_exact, say
from meshclaw.cli.session import emit_json, session
from meshclaw.errors import ExitCode, Problem, ProblemsError

if TYPE_CHECKING:
    from meshclaw.ledger.chain import Verification

app = typer.Typer(
    help="Find, verify and rotate the ledger.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SHOWN_IDS = 3


@app.command()
def where(context: typer.Context) -> None:
    """Print the ledger's path, whether it exists or not."""
    emit_exact(str(session(context).app().ledger_path))


@app.command()
def verify(context: typer.Context, json_: Json = False) -> None:
    """Check every line of the ledger, and of the files it was rotated from.

    Exits 9 when something was changed, removed or inserted above the last line, when a rotated file is
    not the one that was kept, or when a call is settled twice or was never reserved. A chain cannot see
    lines that were cut off at the end: compare the last hash with one that you kept elsewhere.
    Exits 2 when there is no ledger.

    A rotated file that is not in order stays so: what is written since is chained anew, and --json says
    whether that is in order (`current_ok`). Once moved elsewhere the file is neither checked nor counted.
    """
    from meshclaw.ledger.chain import verify as verify_file
    from meshclaw.ledger.rotation import files

    path = session(context).app().ledger_path
    found = files(path)
    if not found:
        problem = Problem(str(path), 0, 0, "there is no ledger here", "the first run begins one")
        raise ProblemsError([problem])
    checked = [verify_file(file) for file in found]
    if json_:
        told = {"ok": all(one.ok for one in checked), "current_ok": checked[-1].lines_ok}
        emit_json({**told, "files": [_data(one) for one in checked]})
    else:
        emit("\n".join(line for one in checked for line in _lines(one)))
    if not all(one.ok for one in checked):
        say(_remedy(checked), "31;1")
        raise typer.Exit(int(ExitCode.LEDGER))


def _remedy(checked: Sequence[Verification]) -> str:
    *earlier, current = checked
    if not current.lines_ok:
        return "the ledger is not in order; `meshclaw ledger rotate` keeps it and begins a new one"
    broken = [
        one.path.name
        for one, after in zip(earlier, checked[1:], strict=True)
        if not one.lines_ok or after.previous == "differs"
    ]
    folder = current.path.parent
    return (
        f"not in order: {', '.join(broken)}, from before a rotation; what was written since is in order. "
        f"Find out what changed it; moved out of {folder} it is neither checked nor counted any more"
    )


def _data(one: Verification) -> dict[str, Any]:
    return {
        "path": str(one.path),
        "ok": one.ok,
        "entries": one.entries,
        "bytes": one.bytes,
        "last_hash": one.last_hash,
        "bad": None if one.bad is None else str(one.bad),
        "previous": one.previous,
        "repeated_reserves": list(one.repeated_reserves),
        "repeated_calls": list(one.repeated_calls),
        "unreserved_calls": list(one.unreserved_calls),
    }


def _lines(one: Verification) -> list[str]:
    if not one.entries and one.bad is None:
        return [f"{one.path}: empty, in order"]
    state = "in order" if one.ok else "NOT IN ORDER"
    entries = f"{one.entries:,} entr{'y' if one.entries == 1 else 'ies'}"
    lines = [f"{one.path}: {state}, {entries}, {one.bytes:,} bytes"]
    if one.bad is not None:
        lines.append(f"  {one.bad}")
        lines.append(f"  the {entries} before it are in order")
    if one.previous in ("missing", "differs"):
        what = "is not there any more" if one.previous == "missing" else "is not the file that was kept"
        lines.append(f"  the ledger it was rotated from {what}")
    for what, ids in (
        ("reserved twice", one.repeated_reserves),
        ("settled twice", one.repeated_calls),
        ("settled and never reserved", one.unreserved_calls),
    ):
        if ids:
            more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
            lines.append(f"  {what}: {', '.join(ids[:SHOWN_IDS])}{more}")
    lines.append(f"  last hash {one.last_hash}")
    return lines


@app.command()
def rotate(context: typer.Context) -> None:
    """Keep the ledger under a dated name and begin a new one that names its digest.

    Reports go on counting both. A ledger that does not verify is kept as it is. One that only the project
    names is left alone until the project is trusted.
    """
    from meshclaw.app.trusting import require_ledger
    from meshclaw.ledger.rotation import rotate as rotate_file

    found = session(context)
    require_ledger(found.app())
    path = found.app().ledger_path
    old = rotate_file(path, datetime.now(UTC), notify=found.notify)
    emit_exact(str(old))
    if not found.quiet:
        say(f"a new ledger begins at {path}")
