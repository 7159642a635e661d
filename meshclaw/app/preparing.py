"""Task and options -> Delegation: parameters bound, inputs gathered, prompt rendered, parts built."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from meshclaw.app.options import RunOptions
from meshclaw.app.providers import begin_import, build_provider
from meshclaw.config import Config
from meshclaw.dispatch import Delegation
from meshclaw.errors import Problem, ProblemsError, ProviderError
from meshclaw.inputs import Gathered, Sources, gather, wrap
from meshclaw.models import resolve_alias, split
from meshclaw.policies import TaskPolicy
from meshclaw.providers.base import Provider
from meshclaw.providers.replay import ReplayProvider
from meshclaw.redaction import Redactor
from meshclaw.sandbox.unconfined import Unconfined, command_environment
from meshclaw.tasks import Task, bind_params
from meshclaw.tasks.params import as_text
from meshclaw.templates import render

if TYPE_CHECKING:
    from meshclaw.app.app import App

UNSET_MODEL = "no model is set"


async def prepare(app: App, config: Config, task: Task, options: RunOptions) -> Delegation:
    """See App.prepare."""
    model = choose_model(config, task, options)
    provider_name, model_id = split(model)
    settings = config.provider(provider_name)
    begin_import(settings.kind)
    params = bind_params(task, options.params)
    texts = {name: as_text(value) for name, value in params.items()}
    environment = command_environment(app.environment)
    sources = Sources(
        project=app.project,
        params=texts,
        environment=environment,
        sandbox=Unconfined(),
        overrides={name: app.cwd / path for name, path in options.inputs.items()},
        stdin=options.stdin,
    )
    gathered = await gather(task.inputs, sources, task.source)
    redactor = Redactor(app.secrets())
    values = texts | {one.name: wrap(_redacted(one, redactor)) for one in gathered}
    provider = await to_thread.run_sync(
        lambda: build_provider(
            app.plugins.load("providers", settings.kind),
            settings,
            model_id,
            environment=app.environment,
            store=lambda: app.models,
            cwd=app.cwd,
        )
    )
    runner: Any = app.plugins.load("runners", task.runner)
    variables = {f"MESHCLAW_PARAM_{name.upper()}": text for name, text in texts.items()}
    output_file, output_root = _output(app, task, texts, options)
    return Delegation(
        task=task,
        params=params,
        project=app.project,
        prompt=render(task.prompt, values).strip() + "\n",
        system=render(task.system, values).strip(),
        model=model,
        # A recording is played back as what it was: the same requests, to the byte.
        model_id=provider.model if isinstance(provider, ReplayProvider) else model_id,
        provider=provider,
        retrying=_retrying(config.retries),
        runner=runner(),
        tools=_tools(app, task),
        policy=TaskPolicy(
            (*task.allow.write, *options.allow_write),
            (*task.allow.run, *options.allow_run),
            task.allow.network,
            shell_enabled=options.no_sandbox,
            source=task.source,
        ),
        sandbox=Unconfined() if options.no_sandbox else None,
        budget=config.budget_for(task.budget),
        max_output=min(config.max_output, task.max_output or config.max_output),
        timeout=config.timeout,
        effort=task.effort or config.effort,
        environment=environment | variables,
        input_files={one.name: one.data for one in gathered},
        output_file=output_file,
        output_root=output_root,
        git_commit=await to_thread.run_sync(git_commit, app.project, environment),
    )


def choose_model(config: Config, task: Task, options: RunOptions) -> str:
    """`provider/model-id` for the run. Raises ProblemsError when nobody names a model."""
    name = options.model or task.model
    if name == "default" and "default" not in config.models:
        hint = "give --model provider/model-id, export MESHCLAW_MODEL, or set models.default"
        raise ProblemsError([Problem("model", 0, 0, UNSET_MODEL, hint)])
    return resolve_alias(name, config.models)


def git_commit(project: Path, environment: Mapping[str, str]) -> str | None:
    """The commit that the project's HEAD names, or None outside a repository."""
    if not any((folder / ".git").exists() for folder in (project, *project.parents)):
        return None
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--verify", "-q", "HEAD"],
            cwd=project,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("ascii", "replace").strip() or None


def _tools(app: App, task: Task) -> list[Any]:
    """Always in one order, so that the same tools make the same request prefix."""
    order = app.plugins.names("tools")
    factories = [app.plugins.load("tools", name) for name in sorted(task.tools, key=order.index)]
    return [factory() for factory in factories]


def _redacted(one: Gathered, redactor: Redactor) -> Gathered:
    return Gathered(one.name, redactor.text(one.text), one.data, one.truncated, one.trusted)


def _retrying(retries: int) -> Callable[[Provider, Callable[[int, ProviderError, float], None]], Provider]:
    def wrap_provider(inner: Provider, tell: Callable[[int, ProviderError, float], None]) -> Provider:
        from meshclaw.providers.retrying import Retrying

        return Retrying(inner, attempts=retries + 1, on_retry=tell, sleep=anyio.sleep)

    return wrap_provider


def _output(
    app: App, task: Task, texts: Mapping[str, str], options: RunOptions
) -> tuple[str | None, Path | None]:
    """Where the result goes: the operator's own flag may lead anywhere, a task only beneath the project."""
    if options.output is not None:
        path = (app.cwd / options.output).absolute()
        if path.is_dir() or not path.parent.is_dir():
            hint = "name a file in a folder that exists"
            raise ProblemsError([Problem("--output", 0, 0, f"cannot write to {options.output}", hint)])
        return path.name, path.parent
    if task.output.file is None:
        return None, None
    target = render(task.output.file, texts)
    pure = PurePosixPath(target)
    if pure.is_absolute() or ".." in pure.parts or not pure.name:
        hint = "use --output FILE to write outside of the project"
        problem = Problem(task.source, 0, 0, f"output.file leads out of the project: '{target}'", hint)
        raise ProblemsError([problem])
    return target, None
