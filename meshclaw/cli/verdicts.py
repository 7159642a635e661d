"""`meshclaw runs accept` and `runs reject`: what a person says a result is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from meshclaw.cli.completion import run_ids
from meshclaw.cli.output import say
from meshclaw.cli.records import find_run
from meshclaw.cli.session import Session, run_async, session
from meshclaw.cli.words import patch_in_words
from meshclaw.errors import ExitCode, Problem, ProblemsError

Run = Annotated[
    str,
    typer.Argument(help="The beginning of a run's id, or `last`.", metavar="RUN", autocompletion=run_ids),
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for whoever reads reports.")]

HOW_IT_ENDED = {
    "running": "is running",
    "interrupted": "was interrupted",
    "timed_out": "ran out of time",
    "over_budget": "ran out of budget",
    "refused": "was refused",
    "skipped": "had nothing to do",
    "failed": "failed",
}


def accept(context: typer.Context, run: Run, why: Why = "") -> None:
    """Say that a run's result is accepted; what waited for a person, or could not be delivered, is now.

    \b
      meshclaw runs accept last --why "reads well"
    """
    run_async(_decide, session(context), run, "accepted", why)


def reject(context: typer.Context, run: Run, why: Why = "") -> None:
    """Say that a run's result is rejected, whatever its checks said.

    \b
      meshclaw runs reject 0198c1d2 --why "breaks the build on Windows"
    """
    run_async(_decide, session(context), run, "rejected", why)


async def _decide(found: Session, name: str, verdict: Literal["accepted", "rejected"], why: str) -> None:
    from meshclaw.dispatch import deliver_accepted
    from meshclaw.ledger.entry import Verdict
    from meshclaw.metering import timestamp
    from meshclaw.runs import RunDirectory, RunStatus

    folder = find_run(found.app().runs_dir, name)
    directory = RunDirectory(folder)
    record = directory.read_record()
    project = record.get("project")
    app = found.app(Path(project) if isinstance(project, str) else None)
    try:
        # A good result that could not be delivered is one to judge as well.
        failed = record.get("status") == RunStatus.FAILED and record.get("undelivered") is not None
        if record.get("status") != RunStatus.SUCCEEDED and not failed:
            ended = HOW_IT_ENDED.get(str(record.get("status")), f"ended {record.get('status')}")
            message = f"run {folder.name} has no result to judge: it {ended}"
            raise ProblemsError([Problem("RUN", 0, 0, message)])
        changed: dict[str, Any] = {}
        with directory:
            if verdict == "accepted":
                changed = await deliver_accepted(directory, record, app.environment, app.now())
            house = app.house(lambda event: None)
            entry = Verdict(
                at=timestamp(app.now()), run=folder.name, verdict=verdict, by=house.who, why=why
            )
            await house.ledger.append(entry)
            said = {"by": entry.by, "why": why, "at": entry.at}
            # Whoever needs the result, or goes on with its batch, looks at how the run ended.
            code = ExitCode.OK if verdict == "accepted" else ExitCode.NOT_ACCEPTED
            reason = f"by {entry.by}: {why}" if why else f"by {entry.by}"
            if failed and verdict == "accepted":
                problems = [one for one in record.get("problems", ()) if one != record.get("reason")]
                changed |= {"status": str(RunStatus.SUCCEEDED), "problems": problems}
            changed |= {"outcome": verdict, "exit": int(code), "reason": reason, "verdict": said}
            directory.write_record({**record, **changed})
        if not found.quiet:
            say(f"run {folder.name} is {verdict} by {entry.by}")
            if changed.get("output_file"):
                say(f"written to {changed['output_file']}")
            if changed.get("patch") and (patch := patch_in_words({**record, **changed})):
                say(patch)
    finally:
        await app.aclose()
