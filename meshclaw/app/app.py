"""App: everything of one process, made on first use from the environment, the folder and the flags.

Besides `cli`, nothing else reads the environment.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshclaw.app.options import RunOptions, TaskSource, budget_flags
from meshclaw.app.places import (
    SETTINGS_FILE,
    example_tasks,
    find_project,
    find_source,
    list_sources,
    shown_path,
    user_folders,
)
from meshclaw.config import Config, load_config
from meshclaw.errors import Problem, ProblemsError
from meshclaw.plugins import Group, Plugins
from meshclaw.tasks import Task, load_task, parse_task

if TYPE_CHECKING:
    from meshclaw.dispatch import AcceptedWork, Delegation, House, Rung
    from meshclaw.ledger.entry import Entry
    from meshclaw.ledger.file import FileLedger
    from meshclaw.models.detect import Detected
    from meshclaw.models.store import ModelStore
    from meshclaw.redaction import Redactor
    from meshclaw.runs import Event

FLAGS = ("config", "ledger", "project")
"""Global flags that App understands; all are paths."""


class App:
    """`flags` are the global options (FLAGS); `notify` gets sentences for a person (a healed ledger)."""

    def __init__(
        self,
        environment: Mapping[str, str],
        cwd: Path,
        *,
        flags: Mapping[str, str] | None = None,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.environment = environment
        self.cwd = cwd
        self.notify = notify
        self._flags = dict(flags or {})
        self.plugins = Plugins()
        self._ledger: FileLedger | None = None
        self.adapters: dict[str, Rung] = {}
        """The models' providers that runs share."""
        self._closing = self._lasting = list[Any]()

    @cached_property
    def project(self) -> Path:
        """The project's folder: named by a flag, else found upwards from here."""
        named = self._flags.get("project")
        return (self.cwd / named).resolve() if named else find_project(self.cwd)

    @cached_property
    def folders(self) -> Any:
        """The user's folders for settings, data and cache."""
        return user_folders(self.environment)

    @property
    def config_path(self) -> Path:
        """The operator's settings file, whether it exists or not."""
        named = self._flags.get("config") or self.environment.get("MESHCLAW_CONFIG")
        return self.cwd / named if named else self.folders.config / "config.yaml"

    @cached_property
    def config(self) -> Config:
        """All settings, layered. Raises ProblemsError."""
        return self._load_config({})

    @property
    def data_dir(self) -> Path:
        return self.config.data_dir or self.folders.data

    @property
    def runs_dir(self) -> Path:
        return self.data_dir / "runs"

    @property
    def ledger_path(self) -> Path:
        named = self._flags.get("ledger")
        if named:
            return self.cwd / named
        return self.config.ledger or self.data_dir / "ledger.jsonl"

    @cached_property
    def models(self) -> ModelStore:
        """The embedded models' files, in the user's cache (MESHCLAW_MODELS names another folder)."""
        from meshclaw.models.store import ModelStore

        named = self.environment.get("MESHCLAW_MODELS")
        return ModelStore(self.cwd / named if named else self.folders.cache / "models")

    @cached_property
    def _accepted(self) -> AcceptedWork:
        from meshclaw.dispatch import AcceptedWork

        return AcceptedWork(self.entries)

    def ledger(self) -> FileLedger:
        """The ledger, opened for appending on its first append."""
        from meshclaw.app.trusting import require_ledger
        from meshclaw.ledger.file import FileLedger

        if self._ledger is None:
            require_ledger(self)
            self._ledger = FileLedger(self.ledger_path, notify=self.notify, redact=self.redactor.data)
            self._closing.append(self._ledger)
        return self._ledger

    def entries(self, *, check: bool = False) -> Iterator[Entry | Problem]:
        """All entries, oldest first, rotated files included; `check` follows the chain on the way."""
        from meshclaw.app.trusting import tell_of_ledger
        from meshclaw.ledger.rotation import history

        tell_of_ledger(self)
        return history(self.ledger_path, check=check)

    def task_sources(self) -> list[TaskSource]:
        """All tasks that can be named: the project's, the user's, the built-in examples."""
        return list_sources(self._places())

    def find_task(self, name: str) -> TaskSource:
        return find_source(name, self._places(), self.cwd)

    def load_task(self, name: str) -> Task:
        """The task called `name`, or the file at that path. Raises ProblemsError."""
        return self.read_task(self.find_task(name).path)

    def read_task(self, path: Path) -> Task:
        """The task in a file. Raises ProblemsError with all that is wrong in it."""
        task = load_task(path, shown_path(path, self.cwd), **self._task_names())
        if task.accept:
            from meshclaw.app.acceptance import build_checks

            build_checks(task, self.plugins)
        return task

    def parse_task(self, data: bytes, source: str, name: str, path: Path) -> Task:
        """The task in a file's bytes; `source` is how Problems name it. Raises ProblemsError."""
        return parse_task(data, source, name, path=path, **self._task_names())

    async def prepare(self, name: str, options: RunOptions) -> Delegation:
        """All that a run of task `name` needs, inputs gathered. Nothing is spent.

        Raises ProblemsError, and UntrustedError before anything of an untrusted project has run.
        """
        from anyio import to_thread

        from meshclaw.app.preparing import prepare
        from meshclaw.app.trusting import require_trust, run_powers

        source = await to_thread.run_sync(self.find_task, name)
        task = await to_thread.run_sync(self.read_task, source.path)
        require_trust(self, run_powers(self, source, task))
        return await prepare(self, source.origin, task, options)

    def house(self, listen: Callable[[Event], None]) -> House:
        """What runs share; `listen` is told every event."""
        import uuid6

        from meshclaw.app.providers import prices_for
        from meshclaw.dispatch import House

        return House(
            ledger=self.ledger(),
            history=self.entries,
            prices=prices_for(self.config.providers),
            runs=self.runs_dir,
            redactor=self.redactor,
            now=self.now,
            new_id=lambda: str(uuid6.uuid7()),
            who=_user(),
            host=socket.gethostname(),
            listen=listen,
            accepted=self._accepted,
            ledger_file=str(self.ledger_path.parent.resolve() / self.ledger_path.name),
        )

    def now(self) -> datetime:
        return datetime.now(UTC)

    @cached_property
    def redactor(self) -> Redactor:
        """Takes out what must not show anywhere: keys of providers, and what the environment names so."""
        from meshclaw.redaction import Redactor, secrets_in

        return Redactor([*secrets_in(self.environment), *self._provider_keys()])

    def _provider_keys(self) -> Iterator[str]:
        from meshclaw.config import resolve_key

        try:
            providers = self.config.providers
        except ProblemsError:
            return
        for settings in providers.values():
            with suppress(ProblemsError):
                yield resolve_key(settings, self.environment) or ""

    async def recover(self) -> list[str]:
        """Closes this ledger's runs that were cut short: returns their ids."""
        active = self.runs_dir.parent / "active"
        if not active.is_dir() or not any(active.iterdir()):
            return []
        from meshclaw.app.resuming import recover_runs

        return await recover_runs(self.house(lambda event: None))

    async def detect_models(self) -> list[Detected]:
        """What could answer now, best first."""
        from meshclaw.models.detect import detect, probe_http

        return await detect(self.environment, self.models, probe=probe_http)

    def save_alias(self, alias: str, model: str) -> Path:
        """Adds `models: {alias: model}` to the operator's file, which is returned; keeps what it holds.

        Raises ProblemsError when the alias is set already or the file cannot be written.
        """
        from meshclaw.app.aliases import add_alias

        add_alias(self.config_path, alias, model)
        return self.config_path

    def branch(self) -> App:
        """An App for one of several runs: it shares everything but what it was itself told to keep."""
        own = copy(self)
        own._closing = []
        return own

    def keep(self, thing: Any, *, lasting: bool = False) -> None:
        """Closes `thing` with the App, if it can be closed; what is `lasting` outlives a branch."""
        if hasattr(thing, "aclose"):
            (self._lasting if lasting else self._closing).append(thing)

    async def aclose(self) -> None:
        """Gives back what was opened; may be called twice."""
        while self._closing:
            await self._closing.pop().aclose()

    def _task_names(self) -> dict[str, tuple[str, ...]]:
        groups: tuple[Group, ...] = ("tools", "runners", "checks")
        return {group: self.plugins.names(group) for group in groups}

    def _places(self) -> dict[str, Path]:
        return {
            "project": self.project / self.config.tasks,
            "user": self.config_path.parent / "tasks",
            "built-in": example_tasks(),
        }

    def config_with(self, budget: Mapping[str, str]) -> Config:
        """All settings, with the operator's limits for one run on top. Raises ProblemsError."""
        return self._load_config(budget_flags(budget)) if budget else self.config

    def _load_config(self, flags: Mapping[str, str]) -> Config:
        project_file = self.project / SETTINGS_FILE
        return load_config(
            self.config_path,
            project_file,
            self.environment,
            flags,
            kinds=self.plugins.names("providers"),
        )

    def with_runner(self, task: Task, runner: str) -> Task:
        """The task with another runner. Raises ProblemsError for an unknown one."""
        known = self.plugins.names("runners")
        if runner not in known:
            hint = f"there are {', '.join(known)}"
            raise ProblemsError([Problem("--runner", 0, 0, f"unknown runner '{runner}'", hint)])
        return replace(task, runner=runner, tools=() if runner == "prompt" else task.tools)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
