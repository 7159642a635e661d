"""Which models a run may ask: the ladder that its attempts climb, and the judges of its checks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from meshclaw.app.acceptance import HARMLESS_CHECKS
from meshclaw.app.options import RunOptions
from meshclaw.app.providers import begin_import, build_provider
from meshclaw.config import Config
from meshclaw.dispatch import Rung
from meshclaw.errors import Problem, ProblemsError
from meshclaw.models.names import resolve_alias, split
from meshclaw.providers.replay import ReplayProvider
from meshclaw.tasks import Task

if TYPE_CHECKING:
    from meshclaw.app.app import App

UNSET_MODEL = "no model is set"
JUDGES = ("judge", "strong", "default", "fast")
"""Aliases that are tried, in this order, for a judge that is not the worker."""


def choose_models(config: Config, task: Task, options: RunOptions) -> list[str]:
    """`provider/model-id` of each attempt's model. A flag's model takes the place of all of the task's.

    Raises ProblemsError when nobody names a model.
    """
    names = [options.model] if options.model else [task.model, *task.stronger]
    if "default" in names and "default" not in config.models:
        hint = "give --model provider/model-id, export MESHCLAW_MODEL, or set models.default"
        raise ProblemsError([Problem("model", 0, 0, UNSET_MODEL, hint)])
    return [resolve_alias(name, config.models) for name in names]


def require_near(app: App, origin: str, task: Task, options: RunOptions) -> None:
    """Raises ProblemsError for a recording that a project's task names as its model, and that is neither
    the project's nor a run's: nobody had to trust the task with that, so it opens no file elsewhere."""
    if options.model or origin not in ("project", "file"):
        return
    roots = [Path(os.path.realpath(root)) for root in (app.project, app.runs_dir)]
    for name in (task.model, *task.stronger):
        provider, _, path = name.partition("/")
        real = Path(os.path.realpath(app.cwd / path))
        if provider == "replay" and not any(map(real.is_relative_to, roots)):
            message = f"{name} leads out of the project, and is no run's"
            hint = f"pass it yourself: --model {name}"
            raise ProblemsError([Problem(task.source, 0, 0, message, hint)])


def choose_judges(task: Task, aliases: Mapping[str, str], workers: Sequence[str]) -> dict[str, str]:
    """The models that checks may ask, as `provider/model-id`, by the name in the task; "" is the one that
    is asked where a check names none.

    Raises ProblemsError, at the place of its check, for a name that is no model's, and for a `judge` that
    names none where there is no other model than the one that does the work.
    """
    found: dict[str, str] = {}
    for one in task.accept:
        if one.kind in HARMLESS_CHECKS or one.kind == "run":
            continue
        name = one.options.get("model") if one.kind == "judge" else None
        place = (task.source, one.line, one.column)
        judge = resolve_alias(name, aliases, place) if name else _choose_judge(aliases, workers)
        if judge is None and one.kind == "judge":
            hint = f"set models.judge to another, or state `model: {workers[-1]}` here if that is meant"
            problem = Problem(*place, f"its judge would be {workers[-1]}, which does the work", hint)
            raise ProblemsError([problem])
        # A plug-in's check asks perhaps nobody: only it knows.
        found[name or ""] = judge or workers[-1]
    return found


def _choose_judge(aliases: Mapping[str, str], workers: Sequence[str]) -> str | None:
    """The operator's own choice unless it alone does the work, else another than those that do."""
    for alias in JUDGES:
        model = resolve_alias(alias, aliases) if alias in aliases else None
        if model is not None and (model not in workers or (alias == "judge" and set(workers) != {model})):
            return model
    return None


class Rungs:
    """Builds each model's provider once: for all runs of the App, or for this one where it has a place in a
    recording."""

    def __init__(self, app: App, config: Config) -> None:
        self._app = app
        self._config = config
        self._built: dict[str, Rung] = {}

    def begin(self, models: Iterable[str]) -> None:
        """Begins to import the first one's SDK, in a thread: only that one is sure to be needed."""
        for model in models:
            begin_import(self._config.provider(split(model)[0]).kind)
            return

    async def rung(self, model: str) -> Rung:
        """Raises ProblemsError or WeightsMissingError."""
        built = self._app.adapters.get(model) or self._built.get(model)
        if built is None:
            built = await to_thread.run_sync(self._build, model)
            shared = not isinstance(built.provider, ReplayProvider)
            (self._app.adapters if shared else self._built)[model] = built
            self._app.keep(built.provider, lasting=shared)
        return built

    async def judge(self, model: str) -> Rung:
        """The same, for a check that asks a model."""
        return await self.rung(model)

    def _build(self, model: str) -> Rung:
        provider_name, model_id = split(model)
        settings = self._config.provider(provider_name)
        provider = build_provider(
            self._app.plugins.load("providers", settings.kind),
            settings,
            model_id,
            environment=self._app.environment,
            store=lambda: self._app.models,
            cwd=self._app.cwd,
        )
        if isinstance(provider, ReplayProvider):
            # A recording is played back as what it was: the same requests, to the byte.
            model, model_id = f"{provider_name}/{provider.model}", provider.model
        return Rung(model, model_id, provider)


class Replays(Rungs):
    """Plays back a recording in the place of every model: no key, no network, no cost."""

    def __init__(self, app: App, config: Config, recording: Path, adapt: Callable[[Any], Any]) -> None:
        """`adapt` changes what a response says, when it is played."""
        super().__init__(app, config)
        self._worker = ReplayProvider(recording, adapt=adapt)
        self._judge = ReplayProvider(recording, judges=True, adapt=adapt)

    def begin(self, models: Iterable[str]) -> None:
        """Nothing is imported."""

    async def rung(self, model: str) -> Rung:
        return Rung(model, split(model)[1], self._worker)

    async def judge(self, model: str) -> Rung:
        return Rung(model, split(model)[1], self._judge)
