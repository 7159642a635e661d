"""Writes the recording of a run that was asked for one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyio import to_thread

from meshclaw.dispatch.delegation import Delegation, House
from meshclaw.dispatch.workplace import Workplace
from meshclaw.errors import WorkError
from meshclaw.recordings import (
    HOME,
    MAX_FILE,
    PROJECT,
    RUN,
    Places,
    Recording,
    end_of,
    touched,
    write_recording,
)
from meshclaw.runs import Event, RunDirectory, read_transcript
from meshclaw.workspace import WorkspaceError


async def record_run(
    house: House,
    delegation: Delegation,
    directory: RunDirectory,
    workplace: Workplace,
    record: Mapping[str, Any],
) -> None:
    """Writes down all that a replay of the run needs, secrets redacted. Raises WorkError."""
    assert delegation.recorded is not None
    events = await to_thread.run_sync(lambda: list(read_transcript(directory.transcript)))
    patch = await workplace.patch()
    paths = [_relative(workplace, path) for path in touched(events)]
    paths += [one.path for one in patch.files]
    before = await workplace.before(sorted({path for path in paths if path}), MAX_FILE)
    redact = house.redactor.text
    files: dict[str, str | None] = {}
    for path, data in before.items():
        text = None if data is None else _decoded(data)
        if data is None or text is not None:
            files[path] = None if text is None else redact(text)
    places = _places(delegation, directory, workplace)
    inputs = delegation.recorded.inputs
    recording = Recording(
        task=delegation.task.name,
        params={name: places.named(redact(str(value))) for name, value in delegation.params.items()},
        inputs={name: replace(one, text=places.named(one.text)) for name, one in inputs.items()},
        files=places.named(files),
        models=[rung.model for rung in delegation.rungs],
        end=places.named(end_of(record)),
        events=[Event(event.kind, places.named(event.data)) for event in events],
        judges={name: rung.model for name, rung in delegation.judges.items()},
    )
    try:
        await to_thread.run_sync(write_recording, delegation.recorded.path, recording)
    except OSError as error:
        message = f"cannot write the recording {delegation.recorded.path}: {error.strerror}"
        raise WorkError(message) from error


def _places(delegation: Delegation, directory: RunDirectory, workplace: Workplace) -> Places:
    project = delegation.project
    words = dict.fromkeys((workplace.workspace.root, project, Path(os.path.realpath(project))), PROJECT)
    home = delegation.environment.get("HOME")
    return Places({**({Path(home): HOME} if home else {}), directory.path: RUN, **words})


def _relative(workplace: Workplace, path: str) -> str:
    try:
        return workplace.workspace.relative(path)
    except WorkspaceError:
        return ""


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None
