"""App: everything of one process, made on first use from the environment, the folder and the flags.

Besides `cli`, nothing else reads the environment.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshclaw.app.options import RunOptions, TaskSource
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
from meshclaw.plugins import Plugins
from meshclaw.tasks import Task, load_task

if TYPE_CHECKING:
    from meshclaw.dispatch import Delegation, House
    from meshclaw.ledger.entry import Entry
    from meshclaw.ledger.file import FileLedger
    from meshclaw.models import Detected, ModelStore
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
        self._closing: list[Any] = []

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
        from meshclaw.models import ModelStore

        named = self.environment.get("MESHCLAW_MODELS")
        return ModelStore(self.cwd / named if named else self.folders.cache / "models")

    def ledger(self) -> FileLedger:
        """The ledger, opened for appending on its first append."""
        from meshclaw.ledger.file import FileLedger

        if self._ledger is None:
            self._ledger = FileLedger(self.ledger_path, notify=self.notify)
            self._closing.append(self._ledger)
        return self._ledger

    def entries(self) -> Iterator[Entry | Problem]:
        """All entries, oldest first, rotated files included."""
        from meshclaw.ledger.rotation import history

        return history(self.ledger_path)

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
        return load_task(
            path,
            shown_path(path, self.cwd),
            tools=self.plugins.names("tools"),
            runners=self.plugins.names("runners"),
        )

    async def prepare(self, name: str, options: RunOptions) -> Delegation:
        """All that a run of task `name` needs, inputs gathered. Nothing is spent. Raises ProblemsError."""
        from anyio import to_thread

        from meshclaw.app.preparing import prepare

        task = await to_thread.run_sync(self.load_task, name)
        if options.runner is not None:
            task = self._with_runner(task, options.runner)
        config = self._load_config(_budget_flags(options.budget))
        delegation = await prepare(self, config, task, options)
        self._closing.append(delegation.provider)
        return delegation

    def describe(self, delegation: Delegation) -> dict[str, Any]:
        """What a run would do and could cost at most: the object that `run --dry-run` shows."""
        from meshclaw.app.describing import describe

        return describe(delegation, self.house(lambda event: None))

    def house(self, listen: Callable[[Event], None]) -> House:
        """What runs share; `listen` is told every event."""
        import uuid6

        from meshclaw.app.providers import prices_for
        from meshclaw.dispatch import House
        from meshclaw.redaction import Redactor

        return House(
            ledger=self.ledger(),
            history=self.entries,
            prices=prices_for(self.config.providers),
            runs=self.runs_dir,
            redactor=Redactor(self.secrets()),
            now=lambda: datetime.now(UTC),
            new_id=lambda: str(uuid6.uuid7()),
            who=_user(),
            host=socket.gethostname(),
            listen=listen,
        )

    def secrets(self) -> list[str]:
        """The values that must not show anywhere: keys of providers, and whatever is named like one."""
        from meshclaw.config import resolve_key

        found = [value for name, value in self.environment.items() if _names_a_secret(name)]
        for settings in self.config.providers.values():
            try:
                key = resolve_key(settings, self.environment)
            except ProblemsError:
                continue
            if key:
                found.append(key)
        return found

    async def recover(self) -> list[str]:
        """Closes runs whose process was killed: returns their ids."""
        active = self.runs_dir.parent / "active"
        if not active.is_dir() or not any(active.iterdir()):
            return []
        from meshclaw.dispatch import recover

        return await recover(self.house(lambda event: None))

    async def detect_models(self) -> list[Detected]:
        """What could answer now, best first."""
        from meshclaw.models import detect, probe_http

        return await detect(self.environment, self.models, probe=probe_http)

    def save_alias(self, alias: str, model: str) -> Path:
        """Adds `models: {alias: model}` to the operator's file, which is returned; keeps what it holds.

        Raises ProblemsError when the alias is set already or the file cannot be written.
        """
        from meshclaw.app.aliases import add_alias

        add_alias(self.config_path, alias, model)
        return self.config_path

    async def aclose(self) -> None:
        """Gives back what was opened; may be called twice."""
        while self._closing:
            await self._closing.pop().aclose()

    def _places(self) -> dict[str, Path]:
        return {
            "project": self.project / self.config.tasks,
            "user": self.config_path.parent / "tasks",
            "built-in": example_tasks(),
        }

    def _load_config(self, flags: Mapping[str, str]) -> Config:
        project_file = self.project / SETTINGS_FILE
        return load_config(
            self.config_path,
            project_file,
            self.environment,
            flags,
            kinds=self.plugins.names("providers"),
        )

    def _with_runner(self, task: Task, runner: str) -> Task:
        known = self.plugins.names("runners")
        if runner not in known:
            hint = f"there are {', '.join(known)}"
            raise ProblemsError([Problem("--runner", 0, 0, f"unknown runner '{runner}'", hint)])
        return replace(task, runner=runner, tools=() if runner == "prompt" else task.tools)


def _budget_flags(budget: Mapping[str, str]) -> dict[str, str]:
    known = ("usd", "tokens", "steps", "time")
    unknown = [key for key in budget if key not in known]
    if unknown:
        hint = f"there are {', '.join(known)}"
        raise ProblemsError([Problem("--budget", 0, 0, f"unknown limit '{key}'", hint) for key in unknown])
    return {f"budget.{key}": value for key, value in budget.items()}


_SECRET_ENDINGS = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD", "_PASSWD", "_CREDENTIALS")


def _names_a_secret(name: str) -> bool:
    return name.upper().endswith(_SECRET_ENDINGS)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
