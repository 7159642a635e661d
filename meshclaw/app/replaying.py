"""Plays a task's recording back against the task as it is today, in a copy of the project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread

from meshclaw.app.ladders import Replays
from meshclaw.app.options import RunOptions, TaskSource
from meshclaw.app.preparing import prepare
from meshclaw.app.saving import Material
from meshclaw.app.trusting import require_trust, run_powers
from meshclaw.dispatch import Dispatcher
from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.inputs import Gathered, wrap
from meshclaw.isolation import stand_in
from meshclaw.ledger.file import FileLedger
from meshclaw.recordings import (
    HOME,
    PROJECT,
    RUN,
    Places,
    RecordedInput,
    Recording,
    drift,
    located,
    read_recording,
    recording_of,
)
from meshclaw.runs import read_transcript
from meshclaw.tasks import Task, bind_params
from meshclaw.tasks.params import as_text
from meshclaw.templates import render
from meshclaw.workspace import Workspace

if TYPE_CHECKING:
    from meshclaw.app.app import App

MAX_PROJECT = 4 * 2**30
"""Bytes of a project that is copied."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """`drift` is how today's run differs from the recorded one, as a diff; empty when it does not."""

    task: str
    recording: Path
    drift: str
    steps: int
    outcome: str


async def replay_task(app: App, source: TaskSource, folder: Path, *, no_sandbox: bool = False) -> Replayed:
    """Replays the recording beside the task's file; `folder` is an empty one for all that this makes.

    The model's side comes from the recording, and so do parameters, inputs and the files that the run read
    or changed; prompt, tools, policy and checks are today's. Nothing is asked of a network, written into
    the project or entered in the ledger. Raises ProblemsError, PolicyError and UntrustedError.
    """
    folder = await to_thread.run_sync(folder.resolve)
    task = await to_thread.run_sync(app.read_task, source.path)
    require_trust(app, run_powers(app, source, task))
    path = recording_of(source.path)
    recording = await to_thread.run_sync(read_recording, path)
    home = app.environment.get("HOME")
    standing = {PROJECT: app.project, **({HOME: Path(home)} if home else {})}
    recording = _located(recording, standing)
    material = _material(task, recording, path)
    rungs = Replays(app, app.config, path, lambda response: located(response, standing))
    options = RunOptions(fresh=True, no_sandbox=no_sandbox)
    delegation = await prepare(app, source.origin, task, options, material=material, rungs=rungs)
    tree = await stand_in(app.project, folder / "project", delegation.environment, MAX_PROJECT)
    if delegation.sandbox is None or delegation.sandbox.name != "bubblewrap":
        standing[PROJECT] = tree.path  # Nothing shows the copy in the project's place.
    await to_thread.run_sync(_lay, tree.path, located(recording.files, standing))
    ledger = FileLedger(folder / "ledger.jsonl")
    try:
        house = replace(
            app.house(lambda event: None),
            ledger=ledger,
            history=lambda: iter(()),
            runs=folder / "runs",
            accepted=None,
        )
        record = await Dispatcher(house).run(
            replace(
                delegation,
                project=tree.path,
                confinement=tree.confine(delegation.confinement),
                isolation=None,
            )
        )
    finally:
        await ledger.aclose()
    transcript = folder / "runs" / record["run"] / "transcript.jsonl"
    events = await to_thread.run_sync(lambda: list(read_transcript(transcript)))
    projects = (tree.path, app.project, await to_thread.run_sync(app.project.resolve))
    words = {**({Path(home): HOME} if home else {}), transcript.parent: RUN}
    found = drift(recording, events, record, Places({**words, **dict.fromkeys(projects, PROJECT)}))
    return Replayed(task.name, path, found, record["steps"], record["outcome"])


def _located(recording: Recording, standing: Mapping[str, Path]) -> Recording:
    """What the prompt is made of, in terms of today's folders."""
    inputs = {
        name: replace(one, text=located(one.text, standing)) for name, one in recording.inputs.items()
    }
    return replace(recording, params=located(recording.params, standing), inputs=inputs)


def _material(task: Task, recording: Recording, path: Path) -> Material:
    """Today's prompt from the recorded parameters and inputs."""
    params = bind_params(task, recording.params)
    trusted = {one.name: one.trusted for one in task.inputs}
    trusted |= dict.fromkeys((need.input for need in task.needs), False)
    missing = [name for name in trusted if name not in recording.inputs]
    if missing:
        message = f"the recording holds no input '{missing[0]}'"
        hint = f"record it again: meshclaw run {task.name} --record"
        raise ProblemsError([Problem(str(path), 0, 0, message, hint)])
    texts = {name: as_text(value) for name, value in params.items()}
    gathered = [
        _gathered(name, recording.inputs[name], trusted=believed) for name, believed in trusted.items()
    ]
    values = texts | {one.name: wrap(one) for one in gathered}
    return Material(
        params=params,
        prompt=render(task.prompt, values).strip() + "\n",
        system=render(task.system, values).strip(),
        models=recording.models,
        judges=_judges(task, recording),
        files={one.name: one.data for one in gathered},
    )


def _judges(task: Task, recording: Recording) -> dict[str, str]:
    """Nobody is asked, so an alias of whoever recorded it need not be known here."""
    named = (str(one.options.get("model") or "") for one in task.accept if one.kind == "judge")
    return {name: recording.judges.get(name, recording.models[-1]) for name in ("", *named)}


def _gathered(name: str, one: RecordedInput, *, trusted: bool) -> Gathered:
    return Gathered(name, one.text, one.text.encode(), one.cut, trusted)


def _lay(project: Path, files: Mapping[str, str | None]) -> None:
    """Puts the recorded files where they were; those that were not there go."""
    workspace = Workspace(project)
    for path, text in files.items():
        if text is not None:
            workspace.write_bytes(path, text.encode())
        elif (project / path).is_file() and not (project / path).is_symlink():
            (project / path).unlink()
