"""`meshclaw settle`: what became of the patches of earlier runs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from meshclaw.cli.output import emit_table, say
from meshclaw.cli.records import recent_records
from meshclaw.cli.session import Session, emit_json, run_async, session
from meshclaw.errors import MeshClawError, Problem, ProblemsError
from meshclaw.frozen import dataclass

if TYPE_CHECKING:
    from meshclaw.app import App
    from meshclaw.ledger.entry import Verdict

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
SETTLER = "settle"
"""Who says so in verdicts that nobody gave by hand."""


@dataclass(frozen=True, slots=True)
class _Settled:
    """One run and what was found of it; `written` says that the ledger has a new verdict."""

    run: str
    task: str
    standing: str
    share: float
    commit: str | None
    verdict: str | None
    why: str
    written: bool


@app.command()
def settle(
    context: typer.Context,
    days: Annotated[
        int, typer.Option("--days", min=1, metavar="N", help="How long a change must have lived.")
    ] = 14,
    ref: Annotated[
        str, typer.Option("--ref", metavar="REF", help="The branch or commit to look at.")
    ] = "HEAD",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write no verdicts.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge earlier runs of this project by what became of their patches, from plain git, offline.

    A patch that was taken up and is still alive after N days is accepted. One that was reverted, rewritten
    or not taken up in that time is rejected. Verdicts are entries in the ledger; what a person has said
    stands.

    \b
      meshclaw settle
      meshclaw settle --days 30 --ref origin/main
    """
    found = session(context)
    settled = run_async(_settle, found, days, ref, dry_run)
    if json_:
        emit_json([asdict(one) for one in settled])
        return
    if not settled:
        say("no run of this project has left a patch")
        return
    rows = [[one.run[:13], one.task, one.standing, one.verdict or "", one.why] for one in settled]
    emit_table(["run", "task", "patch", "verdict", "why"], rows, keep=(0, 2, 3))
    if not found.quiet:
        count = sum(one.written for one in settled)
        say(f"{count} new verdict{'' if count == 1 else 's'}" + (" (not written)" if dry_run else ""))


async def _settle(found: Session, days: int, ref: str, dry_run: bool) -> list[_Settled]:
    from anyio import to_thread

    app = found.app()
    try:
        settled, entries = await to_thread.run_sync(_judged, app, timedelta(days=days), ref)
        if entries and not dry_run:
            await app.ledger().append(*entries)
        return settled
    finally:
        await app.aclose()


def _judged(app: App, patience: timedelta, ref: str) -> tuple[list[_Settled], list[Verdict]]:
    from meshclaw.isolation.git import GitError
    from meshclaw.isolation.kept import read_kept
    from meshclaw.ledger.entry import Verdict
    from meshclaw.metering import timestamp
    from meshclaw.settling import MAX_FILE, Settling

    now, project = app.now(), str(app.project)
    records = [
        record
        for record in recent_records(app.runs_dir)
        if record.get("project") == project and (record.get("patch") or {}).get("files")
    ]
    known = _verdicts(app)
    settled: list[_Settled] = []
    entries: list[Verdict] = []
    if not records:
        return settled, entries
    try:
        settling = Settling.open(app.environment, app.project, ref)
    except GitError as error:
        raise ProblemsError([Problem("--ref", 0, 0, f"there is no commit '{ref}' here")]) from error
    for record in records:
        run = str(record["run"])
        try:
            kept = read_kept(app.runs_dir / run)
            before, after = kept.sides(app.environment, MAX_FILE)
        except MeshClawError as error:
            app.notify(f"run {run} is left out: {error}")
            continue
        ended = datetime.fromisoformat(record["started_at"]) + timedelta(seconds=record["duration_s"])
        base = kept.origin.repository.commit
        one = settling.judge(run, base, before, after, ended, now, patience)
        earlier = known.get(run)
        by_hand = earlier is not None and earlier.by != SETTLER
        new = (
            one.verdict is not None and not by_hand and (earlier is None or earlier.verdict != one.verdict)
        )
        if new and one.verdict is not None:
            at = timestamp(now)
            entries.append(Verdict(at=at, run=run, verdict=one.verdict, by=SETTLER, why=one.why))
        verdict = earlier.verdict if by_hand and earlier else one.verdict
        why = f"{one.why}; {earlier.by} has said {earlier.verdict}" if by_hand and earlier else one.why
        settled.append(
            _Settled(run, str(record["task"]), one.standing, one.share, one.commit, verdict, why, new)
        )
    return settled, entries


def _verdicts(app: App) -> dict[str, Verdict]:
    """The last verdict of each run."""
    from meshclaw.ledger.entry import Verdict

    return {entry.run: entry for entry in app.entries() if isinstance(entry, Verdict)}
