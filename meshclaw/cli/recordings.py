"""`meshclaw tasks test`: recordings, played back against the tasks as they are today."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshclaw.cli.completion import task_names
from meshclaw.cli.output import emit, say
from meshclaw.cli.session import Session, emit_json, run_async, session
from meshclaw.errors import ExitCode, Problem, ProblemsError

if TYPE_CHECKING:
    from meshclaw.app import App, TaskSource


def replay_recordings(
    context: typer.Context,
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tasks (default: all of the project's that have a recording).",
            metavar="TASK",
            autocompletion=task_names,
        ),
    ] = None,
    no_sandbox: Annotated[
        bool, typer.Option("--no-sandbox", help="Let commands run with your rights, not contained.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Play recordings back against the tasks as they are today: no key, no network, no cost.

    \b
    `meshclaw run TASK --record` keeps a recording beside the task. This plays the model's side of it again,
    in a copy of the project, and shows as a diff what has drifted: the prompt, a call's result, a verdict.
    Exits 1 when anything has, 2 when one cannot be played.
    """
    found = session(context)
    results = run_async(_replay, found, tasks or [], no_sandbox)
    drifted = [one for one in results if one["drift"]]
    broken = [one for one in results if one["problems"]]
    if json_:
        emit_json(results)
    else:
        for one in results:
            if one["problems"]:
                emit(f"broken   {one['task']}")
                say("\n".join(one["problems"]))
            elif one["drift"]:
                emit(f"drifted  {one['task']}\n{one['drift']}\n")
            else:
                steps = f"{one['steps']} step{'' if one['steps'] == 1 else 's'}"
                emit(f"same     {one['task']} ({steps}, {one['outcome']})")
        if drifted and not found.quiet:
            names = " ".join(one["task"] for one in drifted)
            say(f"{len(drifted)} of {len(results)} drifted: {names}")
            say("if that is as it should be, record them anew: meshclaw run TASK --record")
    if drifted or broken:
        raise typer.Exit(int(ExitCode.FAILED if drifted else ExitCode.USAGE))


async def _replay(found: Session, names: list[str], no_sandbox: bool) -> list[dict[str, Any]]:
    from meshclaw.app.replaying import replay_task
    from meshclaw.recordings import recording_of

    app = found.app()
    results = []
    try:
        for source in _sources(app, names):
            path = str(recording_of(source.path))
            try:
                with TemporaryDirectory(prefix="meshclaw-test-") as folder:
                    one = await replay_task(app, source, Path(folder), no_sandbox=no_sandbox)
            except ProblemsError as error:
                # One task's mistake is no reason to say nothing of the others.
                problems = [str(problem) for problem in error.problems]
                unknown = {"drift": "", "steps": None, "outcome": None, "problems": problems}
                results.append({"task": source.name, "recording": path, **unknown})
            else:
                results.append({**asdict(one), "recording": path, "problems": []})
    finally:
        await app.aclose()
    return results


def _sources(app: App, names: list[str]) -> list[TaskSource]:
    from meshclaw.recordings import recording_of

    if names:
        return [app.find_task(name) for name in names]
    found = [
        source
        for source in app.task_sources()
        if source.origin == "project" and recording_of(source.path).is_file()
    ]
    if not found:
        hint = "`meshclaw run TASK --record` makes one"
        raise ProblemsError([Problem("TASK", 0, 0, "no task of the project has a recording", hint)])
    return found
