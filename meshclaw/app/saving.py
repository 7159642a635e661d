"""What a run was made from, as plain data: `resume` makes the same delegation from it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any

from meshclaw.app.options import RunOptions
from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.recordings import RecordedInput
from meshclaw.runs import RunDirectory
from meshclaw.tasks import Task

VERSION = 2


class OldVersionError(ProblemsError):
    """An older version of MeshClaw began the run: this one cannot go on with it, and none will later."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a run works on: parameters bound, inputs gathered, prompt rendered, models chosen.

    `judges` are by the name in the task, as in a Delegation.
    """

    params: Mapping[str, str | int | float | bool]
    prompt: str
    system: str
    models: Sequence[str]
    judges: Mapping[str, str]
    files: Mapping[str, bytes] = field(default_factory=dict)
    texts: Mapping[str, RecordedInput] = field(default_factory=dict)
    """The gathered inputs by name: `files` as bytes, `texts` as the prompt holds them."""
    problems: Sequence[str] = ()
    """What the user is told of them."""


def save(
    task: Task,
    origin: str,
    options: RunOptions,
    cwd: Path,
    material: Material,
    redact: Callable[[Any], Any] = lambda data: data,
) -> dict[str, Any]:
    """All of it but the inputs' bytes, which the run's folder has anyway.

    Secrets are not kept: `lost` are the parameters that held one, which have to be given again for the run
    to go on; `redacted` says that one was left out elsewhere, so that it cannot.
    """
    # Only a recording wants the inputs as the prompt holds them.
    recorded = material.texts if options.record else {}
    plain = {
        "version": VERSION,
        "task": {
            "name": task.name,
            "text": task.text,
            "source": task.source,
            "path": str(task.path),
            "origin": origin,
        },
        "options": {
            "runner": options.runner,
            "allow_run": list(options.allow_run),
            "allow_write": list(options.allow_write),
            "no_sandbox": options.no_sandbox,
            "budget": dict(options.budget),
            "inputs": {name: str(path) for name, path in options.inputs.items()},
            "output": None if options.output is None else str(options.output),
            "apply": options.apply,
            "record": options.record,
        },
        "cwd": str(cwd),
        "material": {
            "params": dict(material.params),
            "prompt": material.prompt,
            "system": material.system,
            "models": list(material.models),
            "judges": dict(material.judges),
            "inputs": sorted(material.files),
            "problems": list(material.problems),
            "texts": {name: asdict(text) for name, text in recorded.items()},
        },
    }
    kept: dict[str, Any] = redact(plain)
    params, material_kept = dict(material.params), kept["material"]
    lost = [name for name in params if material_kept["params"].get(name) != params[name]]
    rest = {**kept, "material": {**material_kept, "params": params}}
    return {**kept, "redacted": rest != plain, "lost": lost}


def given_again(what: str, lost: Sequence[str], params: Mapping[str, str]) -> dict[str, str]:
    """The values of parameters that were not kept, which are text; `what` goes on with them.

    Raises ProblemsError for those that are missing, and for others.
    """
    problems = []
    for name in lost:
        if name not in params:
            message = f"{what} cannot go on: its parameter '{name}' held a secret, which is not kept"
            problems.append(Problem("RUN", 0, 0, message, f"give it again: -p {name}=..."))
    for name in params:
        if name not in lost:
            message = f"'{name}' is not asked for: {what} goes on with the parameters that it began with"
            problems.append(Problem("-p", 0, 0, message, "leave it out"))
    if problems:
        raise ProblemsError(problems)
    return dict(params)


@dataclass(frozen=True, slots=True)
class Saved:
    """What `save` made, read again."""

    name: str
    text: str
    source: str
    path: Path
    origin: str
    options: RunOptions
    cwd: Path
    material: Material
    redacted: bool
    lost: Sequence[str]
    """Secrets were left out, of the parameters that are `lost` and, if `redacted`, elsewhere."""

    def given(self, params: Mapping[str, str]) -> Saved:
        """The same with these parameters' values."""
        known = {**self.material.params, **params}
        return replace(self, material=replace(self.material, params=known), lost=())


def read_saved(directory: RunDirectory) -> Saved:
    """Raises ProblemsError when the folder does not hold it, or another version's (OldVersionError)."""
    data = directory.read_saved()
    version = data.get("version")
    if version != VERSION:
        kind = OldVersionError if isinstance(version, int) and version < VERSION else ProblemsError
        message = f"run {directory.path.name} was begun by another version of MeshClaw"
        raise kind([Problem(str(directory.saved), 0, 0, message, "run the task anew")])
    try:
        return _read(data, directory)
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        message = f"this run cannot go on: {type(error).__name__}: {error}"
        raise ProblemsError([Problem(str(directory.saved), 0, 0, message)]) from error


def _read(data: Mapping[str, Any], directory: RunDirectory) -> Saved:
    task, options, material = data["task"], data["options"], data["material"]
    return Saved(
        name=task["name"],
        text=task["text"],
        source=task["source"],
        path=Path(task["path"]),
        origin=task["origin"],
        options=RunOptions(
            runner=options["runner"],
            allow_run=tuple(options["allow_run"]),
            allow_write=tuple(options["allow_write"]),
            no_sandbox=options["no_sandbox"],
            budget=options["budget"],
            inputs={name: Path(path) for name, path in options["inputs"].items()},
            output=None if options["output"] is None else Path(options["output"]),
            apply=options["apply"],
            record=options.get("record", False),
        ),
        cwd=Path(data["cwd"]),
        redacted=data.get("redacted", False),
        lost=tuple(data.get("lost", ())),
        material=Material(
            params=material["params"],
            prompt=material["prompt"],
            system=material["system"],
            models=material["models"],
            judges=material["judges"],
            texts={name: RecordedInput(**text) for name, text in material.get("texts", {}).items()},
            files={name: (directory.path / "files" / name).read_bytes() for name in material["inputs"]},
            problems=material.get("problems", ()),
        ),
    )
