"""The doctor's look at models: the default, keys by name, servers on this machine, the embedded model."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from meshclaw.app.doctor.findings import Finding, State, in_daemon
from meshclaw.app.doctor.machine import ask
from meshclaw.config import Config, ProviderSettings, resolve_key
from meshclaw.errors import ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.models.detect import SERVERS, Detected, probe_http
from meshclaw.models.names import resolve_alias, split

if TYPE_CHECKING:
    from meshclaw.app.app import App

RUNTIME = "xllamacpp"
INSTALL = "`pip install 'meshclaw[local]'`, then `meshclaw models pull`"


async def models(app: App) -> list[Finding]:
    """What could answer, and what the default model lacks. Asks servers on loopback for their models."""
    config, detected = app.config, await app.detect_models()
    runtime = await in_daemon(lambda: _runtime(app.environment))
    alias = config.models.get("default")
    default = (
        _unset(app, config, detected) if alias is None else await _default(app, config, alias, runtime)
    )
    return [default, *_keys(app, config), _servers(detected), _embedded(detected, runtime)]


def _unset(app: App, config: Config, detected: Sequence[Detected]) -> Finding:
    if detected:
        one = detected[0]
        return Finding(
            "model",
            State.WARNING,
            f"none is set: a terminal offers {one.model} ({one.found}), elsewhere a run exits 2",
            f"write `models: {{default: {one.model}}}` into {app.config_path}, or export MESHCLAW_MODEL",
        )
    usable = [name for name, one in config.providers.items() if one.key and not _lacks(app, one)]
    if usable:
        text = f"no default is set: only tasks and flags that name one of {', '.join(usable)} run"
        remedy = f"write `models: {{default: {usable[0]}/...}}` into {app.config_path}"
        return Finding("model", State.WARNING, text, remedy)
    remedy = f"export ANTHROPIC_API_KEY or OPENAI_API_KEY, start a local server, or {INSTALL}"
    return Finding("model", State.FAILED, "none is set, and nothing that could answer was found", remedy)


async def _default(app: App, config: Config, alias: str, runtime: Runtime) -> Finding:
    model = resolve_alias(alias, config.models)
    name, model_id = split(model)
    settings = config.provider(name)
    text, remedy = f"{model} is the default", ""
    if settings.kind == "local":
        if app.models.path(model_id) is None:
            remedy = f"`meshclaw models pull {model_id}` fetches its weights, which are not here"
        else:
            remedy = runtime.remedy
    elif not settings.trusted:
        # Whoever wrote the project chose the address: nothing is sent there before it is trusted.
        return Finding("model", State.OK, f"{text}; {name} is the project's own server and was not asked")
    elif settings.loopback and settings.base_url:
        served = await probe_http(settings.base_url)
        if served is None:
            remedy = f"start the server: nothing answers at {settings.base_url}"
        elif model_id not in served:
            return Finding(
                "model", State.WARNING, f"{text}, which its server does not list", "load it there"
            )
    else:
        remedy = _lacks(app, settings)
    if remedy:
        return Finding("model", State.FAILED, f"{text}, and it cannot answer", remedy)
    return Finding("model", State.OK, text)


def _lacks(app: App, settings: ProviderSettings) -> str:
    """What to do to have the provider's key; empty when it is there, or none is needed."""
    if settings.key is None:
        return ""
    try:
        there = resolve_key(settings, app.environment)
    except ProblemsError as error:
        return str(error)
    return "" if there else f"export {settings.key.env}=..."


def _keys(app: App, config: Config) -> Iterator[Finding]:
    there: list[str] = []
    absent: list[str] = []
    for one in config.providers.values():
        if one.key is None:
            continue
        name = one.key.env or str(one.key.file)
        try:
            (there if resolve_key(one, app.environment) else absent).append(name)
        except ProblemsError as error:
            for problem in error.problems:
                yield Finding("keys", State.WARNING, problem.message, problem.hint)
    if there:
        yield Finding("keys", State.OK, f"there: {', '.join(sorted(set(there)))}")
    elif absent:
        text = f"none of {', '.join(sorted(set(absent)))} is set"
        yield Finding("keys", State.MISSING, text, "export one, unless a model on this machine is enough")


def _servers(detected: Sequence[Detected]) -> Finding:
    answering = [f"{one.provider} at {one.base_url}" for one in detected if one.base_url]
    if answering:
        return Finding("server", State.OK, f"answers: {', '.join(answering)}")
    names = ", ".join(name for name, _ in SERVERS)
    return Finding("server", State.MISSING, f"no model server answers on this machine ({names})")


def _embedded(detected: Sequence[Detected], runtime: Runtime) -> Finding:
    weights = ", ".join(one.model for one in detected if one.provider == "local")
    if weights and not runtime.remedy:
        return Finding("embedded", State.OK, f"{weights}, run by {RUNTIME} {runtime.version}")
    if not runtime.version:
        text = f"the weights of {weights} are here, but not what runs them" if weights else "not installed"
        return Finding("embedded", State.WARNING if weights else State.MISSING, text, runtime.remedy)
    if runtime.remedy:
        text = f"{RUNTIME} {runtime.version} is installed, but cannot be loaded"
        return Finding("embedded", State.WARNING, text, runtime.remedy)
    text = f"{RUNTIME} {runtime.version} is installed, but no weights are here"
    return Finding("embedded", State.MISSING, text, "`meshclaw models pull` fetches them, once")


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs the embedded model. `version` is "" without it, `remedy` "" when it can be used."""

    version: str
    remedy: str


def _runtime(environment: Mapping[str, str]) -> Runtime:
    """Not imported here, where a library that it lacks could end the process."""
    if find_spec(RUNTIME) is None:
        return Runtime("", INSTALL)
    remedy = (
        "" if loads(RUNTIME, environment) else "on Debian: apt-get install libgomp1; it also needs AVX2"
    )
    try:
        return Runtime(version(RUNTIME), remedy)
    except PackageNotFoundError:
        return Runtime("of an unknown version", remedy)


def loads(module: str, environment: Mapping[str, str]) -> bool:
    """Whether an interpreter of its own, which looks where this one looks, can import it within seconds."""
    code = f"import sys; sys.path[:] = {sys.path!r}; import {module}; print('loaded')"
    kept = {name: environment[name] for name in ("LD_LIBRARY_PATH",) if name in environment}
    return ask([sys.executable, "-c", code], kept, 20.0) == "loaded"
