"""The doctor's look at the machine: versions, cron, git."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from meshclaw import __version__
from meshclaw.app.doctor.findings import Finding, State
from meshclaw.app.sandboxes import home_of
from meshclaw.config import resolve_key
from meshclaw.errors import ProblemsError
from meshclaw.isolation.git import operators_path
from meshclaw.models.names import split

if TYPE_CHECKING:
    from meshclaw.app.app import App

CRON_PATH = "/usr/bin:/bin"
"""What cron sets PATH to."""
DAEMONS = frozenset({"cron", "crond", "fcron", "anacron", "dcron", "systemd-cron"})
SYSTEMD = Path("/run/systemd/system")
"""Is there when systemd, which has timers, runs the machine (sd_booted(3))."""


def versions(_: App) -> Iterator[Finding]:
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    text = f"{__version__} on Python {platform.python_version()}, {system}"
    yield Finding("meshclaw", State.OK, text)


def git(app: App) -> Iterator[Finding]:
    program = shutil.which("git", path=operators_path(app.environment, app.project))
    if program is None:
        yield Finding(
            "git", State.MISSING, "not on PATH: runs do not note the project's commit", "install git"
        )
        return
    said = ask([program, "--version"], {})
    text = f"{said.removeprefix('git version ') or 'without a version'} at {program}"
    yield Finding("git", State.OK if said else State.WARNING, text)


def cron(app: App) -> Iterator[Finding]:
    """Whether jobs run here, and whether one would find what it needs."""
    daemons = running(Path("/proc"))
    if daemons:
        yield Finding("cron", State.OK, f"{' and '.join(daemons)} runs")
    else:
        remedy = "install one (on Debian: apt-get install cron) if tasks are to run at set times"
        yield Finding("cron", State.MISSING, "no cron daemon runs", remedy)
    yield from _found_by_a_job(app)
    if not app.environment.get("HOME"):
        yield Finding("cron", State.OK, f"HOME is not set: the account's home, {home_of(app)}, is used")
    name = _key_of_the_shell(app)
    if name:
        yield Finding(
            "cron",
            State.WARNING,
            f"a job does not see the {name} of this shell",
            "set it in the crontab, or name a file of mode 0600 with `key_file` in your settings",
        )


def running(processes: Path) -> list[str]:
    """Which of DAEMONS run, by name, and systemd's timers. `processes` is a folder such as /proc."""
    names = set()
    for path in processes.glob("[0-9]*/comm"):
        try:
            names.add(path.read_text(errors="replace").strip())
        except OSError:
            continue
    return [*sorted(names & DAEMONS), *(["systemd"] if SYSTEMD.is_dir() else [])]


def _found_by_a_job(app: App) -> Iterator[Finding]:
    found = shutil.which("meshclaw", path=CRON_PATH)
    if found:
        yield Finding("cron", State.OK, f"a job finds `meshclaw` at {found}")
        return
    here = shutil.which("meshclaw", path=app.environment.get("PATH")) or _beside_python()
    yield Finding(
        "cron",
        State.WARNING,
        f"a job would not find `meshclaw`: its PATH is {CRON_PATH}",
        f"write {here} into the crontab" if here else "write its whole path into the crontab",
    )


def _beside_python() -> str | None:
    path = Path(sys.executable).parent / "meshclaw"
    return str(path) if path.is_file() else None


def _key_of_the_shell(app: App) -> str:
    """The variable that holds the default model's key, when that is where it comes from."""
    try:
        config = app.config
        model = config.models.get("default", "")
        while model in config.models:
            model = config.models[model]
        settings = config.providers.get(split(model)[0])
        if settings is None or settings.key is None or not settings.key.env:
            return ""
        return settings.key.env if resolve_key(settings, app.environment) else ""
    except ProblemsError:
        return ""


def ask(command: list[str], environment: Mapping[str, str], seconds: float = 5.0) -> str:
    """What a program prints, on one line; empty when it fails or takes longer."""
    try:
        done = subprocess.run(
            command,
            cwd="/",
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return lines[0].strip() if lines and not done.returncode else ""
