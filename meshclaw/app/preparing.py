"""Task and options -> Delegation: parameters bound, inputs gathered, prompt rendered, parts built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from meshclaw import __version__
from meshclaw.app.acceptance import build_checks
from meshclaw.app.branches import branch_of, require_free
from meshclaw.app.guarded import protected_paths, refuse_in_home
from meshclaw.app.holding import find_holding, require_holding
from meshclaw.app.ladders import Rungs, choose_judges, choose_models, require_near
from meshclaw.app.options import RunOptions, check_patterns
from meshclaw.app.outputs import git_head, output_of
from meshclaw.app.risks import accepted_risk, find_risks
from meshclaw.app.sandboxes import INSTALL, Found, home_of, limits
from meshclaw.app.saving import Material, Saved, save
from meshclaw.config import Config
from meshclaw.dispatch import Delegation, Isolation, RecordTo
from meshclaw.errors import Problem, ProblemsError, ProviderError
from meshclaw.inputs import Gathered, Sources, gather, wrap
from meshclaw.plugins import Group
from meshclaw.policies import Rules, TaskPolicy
from meshclaw.providers.base import Provider
from meshclaw.recordings import RecordedInput, recording_of
from meshclaw.sandbox.base import Confinement
from meshclaw.sandbox.unconfined import Unconfined, command_environment
from meshclaw.tasks import Task, bind_params
from meshclaw.tasks.params import as_text
from meshclaw.templates import render

if TYPE_CHECKING:
    from meshclaw.app.app import App
    from meshclaw.redaction import Redactor

MAX_HANDED = 1_000_000
"""The most bytes of another task's result that are handed in: as much as an input may have."""


async def prepare(
    app: App,
    origin: str,
    task: Task,
    options: RunOptions,
    saved: Saved | None = None,
    *,
    material: Material | None = None,
    rungs: Rungs | None = None,
) -> Delegation:
    """See App.prepare. `origin` is the task's (TaskSource). What is `saved` of a run that goes on is
    neither gathered nor chosen again.
    """
    check_patterns(options)
    if options.runner is not None:
        task = app.with_runner(task, options.runner)
    config = app.config_with(options.budget)
    material = material if saved is None else saved.material
    risks = find_risks(task, options, config, project=app.project, cwd=app.cwd)
    reason = accepted_risk(task, risks, config.policy)
    models = material.models if material else choose_models(config, task, options)
    if rungs is None:
        require_near(app, origin, task, options)
        rungs = Rungs(app, config)
    rungs.begin(models)
    environment = command_environment(app.environment)
    found = await find_holding(app, config, task, options)
    policy = _policy(app, config, task, options, found)
    confinement = Confinement(
        policy.writable, policy.reachable, protected=policy.protected, limits=limits(config.sandbox)
    )
    require_holding(found, task, options, confinement)
    if material is None:
        judges = choose_judges(task, config.models, models)
        material = await _gather(app, config, task, options, found, environment, models, judges)
    texts = {name: as_text(value) for name, value in material.params.items()}
    variables = {f"MESHCLAW_PARAM_{name.upper()}": text for name, text in texts.items()}
    output_file, output_root = output_of(app.cwd, config, task, texts, options)
    if saved is None:
        _require_applicable(task, options)
    isolation, reuse = _isolation(task, options, texts), reuses(task, options)
    if saved is None and isolation is not None and isolation.branch is not None and not reuse:
        # A run that goes on, or is handed back, may have made it.
        names = [isolation.branch]
        await to_thread.run_sync(require_free, task, names, app.environment, app.project)
    runner: Any = app.plugins.load("runners", task.runner)
    commit, tree = await to_thread.run_sync(git_head, app.project, environment)
    first, *stronger = [await rungs.rung(model) for model in material.models]
    return Delegation(
        task=task,
        params=material.params,
        project=app.project,
        prompt=material.prompt,
        system=material.system,
        model=first.model,
        model_id=first.model_id,
        provider=first.provider,
        stronger=stronger,
        attempts=task.attempts,
        retrying=_retrying(config.retries),
        runner=runner(),
        tools=_tools(app, task),
        policy=policy,
        sandbox=found.sandbox,
        confinement=confinement,
        hidden=config.key_files,
        budget=config.budget_for(task.budget),
        max_output=min(config.max_output, task.max_output or config.max_output),
        timeout=config.timeout,
        effort=task.effort or config.effort,
        environment=environment | variables,
        input_files=material.files,
        output_file=output_file,
        output_root=output_root,
        risks=risks.as_dict(),
        accepted_risk=reason,
        git_commit=commit,
        protect=task.protect,
        checks=await to_thread.run_sync(build_checks, task, app.plugins),
        judges={name: await rungs.judge(model) for name, model in material.judges.items()},
        isolation=isolation,
        work_digest=_work_digest(app, task, material, tree),
        reuse=reuse,
        problems=material.problems,
        recorded=_recorded(origin, task, material) if options.record else None,
        saved=save(task, origin, options, app.cwd, material, app.redactor.data),
    )


async def rehearse(app: App, origin: str, task: Task, options: RunOptions) -> None:
    """Raises what `prepare` would, but for what comes of gathering inputs: nothing is read or run."""
    config = app.config_with(options.budget)
    models = choose_models(config, task, options)
    judges = choose_judges(task, config.models, models)
    material = Material(bind_params(task, options.params), "", "", models, judges)
    await prepare(app, origin, task, options, material=material)


async def _gather(
    app: App,
    config: Config,
    task: Task,
    options: RunOptions,
    found: Found,
    environment: Mapping[str, str],
    models: Sequence[str],
    judges: Mapping[str, str],
) -> Material:
    params = bind_params(task, options.params)
    texts = {name: as_text(value) for name, value in params.items()}
    sources = Sources(
        project=app.project,
        params=texts,
        environment=environment,
        sandbox=found.sandbox or Unconfined(),
        limits=limits(config.sandbox),
        overrides={name: app.cwd / path for name, path in options.inputs.items()},
        stdin=options.stdin,
    )
    redactor = app.redactor
    gathered = await gather(task.inputs, sources, task.source)
    gathered += [_handed(name, text) for name, text in options.handed.results.items()]
    gathered = [_redacted(one, redactor) for one in gathered]
    values = texts | {one.name: wrap(one) for one in gathered}
    return Material(
        params=params,
        prompt=redactor.text(render(task.prompt, values).strip()) + "\n",
        system=redactor.text(render(task.system, values).strip()),
        models=models,
        judges=judges,
        files={one.name: one.data for one in gathered},
        problems=[one.problem for one in gathered if one.problem],
        texts={one.name: RecordedInput(one.text, one.cut) for one in gathered},
    )


def _handed(name: str, text: str) -> Gathered:
    data = text.encode(errors="replace")
    kept = data[:MAX_HANDED]
    if len(kept) == len(data):
        return Gathered(name, text, data)
    problem = f"input '{name}': only the first {MAX_HANDED:,} of {len(data):,} bytes were read"
    return Gathered(name, kept.decode(errors="replace"), kept, "end", problem=problem)


def _require_applicable(task: Task, options: RunOptions) -> None:
    """Raises ProblemsError for `--apply-if-accepted` where it could never do anything."""
    if not options.apply:
        return
    message = hint = ""
    if task.isolate != "copy":
        message = f"'{task.name}' works in the project itself, so there is no patch to apply"
        hint = "add `isolate: copy` to the task, or leave the flag out"
    elif not task.accept:
        message = f"'{task.name}' states no checks, so nothing of it is ever accepted"
        hint = "add `accept:` to the task, or run `meshclaw runs apply last` afterwards"
    if message:
        raise ProblemsError([Problem("--apply-if-accepted", 0, 0, message, hint)])


def _isolation(task: Task, options: RunOptions, texts: Mapping[str, str]) -> Isolation | None:
    if task.isolate == "none":
        return None
    return Isolation(
        include_dirty=task.include_dirty,
        shares=task.share,
        apply=options.apply,
        branch=branch_of(task, texts),
    )


def _recorded(origin: str, task: Task, material: Material) -> RecordTo:
    if task.path is None or origin == "built-in":
        hint = f"`meshclaw init` copies it; then `meshclaw run {task.name} --record`"
        problem = Problem("--record", 0, 0, "a built-in task has no place for a recording", hint)
        raise ProblemsError([problem])
    return RecordTo(recording_of(task.path), material.texts)


def reuses(task: Task, options: RunOptions) -> bool:
    """Unless it says so, only a task whose checks see all that it makes: what an agent does is more."""
    if options.fresh or options.record:
        return False
    if task.reuse is not None:
        return task.reuse == "accepted"
    return task.runner == "prompt" and bool(task.accept)


def _work_digest(app: App, task: Task, material: Material, tree: str | None) -> str:
    """SHA-256 over all that decides what a run does: the task, what it works on, its models, our version
    and those of the plug-ins that it names.
    """
    kinds = [one.kind for one in task.accept]
    named: tuple[tuple[Group, Sequence[str]], ...]
    named = (("runners", [task.runner]), ("tools", task.tools), ("checks", kinds))
    content = {
        "meshclaw": __version__,
        "plugins": sorted(
            {app.plugins.source(group, name) or "" for group, names in named for name in names}
        ),
        "task": task.digest,
        "runner": task.runner,
        "prompt": material.prompt,
        "system": material.system,
        "params": dict(material.params),
        "inputs": {name: hashlib.sha256(data).hexdigest() for name, data in material.files.items()},
        "models": list(material.models),
        "judges": dict(material.judges),
        # In the project itself the work's own changes would make it another's.
        "tree": tree if task.isolate == "copy" else None,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _policy(app: App, config: Config, task: Task, options: RunOptions, found: Found) -> TaskPolicy:
    protected = protected_paths(app, config)
    policy = TaskPolicy(
        task.allow.write,
        task.allow.run,
        task.allow.network,
        propose=task.propose,
        granted=Rules(options.allow_write, options.allow_run, protected=protected),
        ceiling=config.policy,
        shell_enabled=found.sandbox is not None,
        no_shell=f"{found.reason}: {INSTALL}",
        source=task.source,
        protected=protected,
    )
    refuse_in_home(home_of(app), app.project, policy.writable)
    return policy


def _tools(app: App, task: Task) -> list[Any]:
    """Always in one order, so that the same tools make the same request prefix."""
    order = app.plugins.names("tools")
    factories = [app.plugins.load("tools", name) for name in sorted(task.tools, key=order.index)]
    return [factory() for factory in factories]


def _redacted(one: Gathered, redactor: Redactor) -> Gathered:
    """Prompt and files hold the same: what the model must not see, its commands need not either."""
    return replace(one, text=redactor.text(one.text), data=redactor.bytes(one.data))


def _retrying(retries: int) -> Callable[[Provider, Callable[[int, ProviderError, float], None]], Provider]:
    def wrap_provider(inner: Provider, tell: Callable[[int, ProviderError, float], None]) -> Provider:
        from meshclaw.providers.retrying import Retrying

        return Retrying(inner, attempts=retries + 1, on_retry=tell, sleep=anyio.sleep)

    return wrap_provider
