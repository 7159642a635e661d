"""Which sandbox holds a run's commands: the operator's choice, else the best that works on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from meshclaw.config import SandboxSettings
from meshclaw.errors import PolicyError, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.isolation.git import Git, GitError, find_git
from meshclaw.sandbox.base import Command, Limits, Sandbox, SandboxError
from meshclaw.sandbox.unconfined import Unconfined

if TYPE_CHECKING:
    from meshclaw.app.app import App
    from meshclaw.sandbox.bubblewrap import Bubblewrap
    from meshclaw.sandbox.landlock import Landlock
    from meshclaw.sandbox.mounts import Machine

INSTALL = "install bubblewrap (on Debian: apt-get install bubblewrap), or pass --no-sandbox"
KINDS = ("bubblewrap", "landlock")
"""What is looked for where the operator leaves it open, best first."""

_GIT_VARIABLES = ("HOME", "XDG_CONFIG_HOME")
GIT_SECONDS = 5.0
_PROBE = (
    "read -r line < own && test -r /etc/passwd || exit 1; "
    '! read -r line < "$OUTSIDE" && ! touch new && echo held'
)
_KERNEL_SWITCHES = (
    "random/boot_id",
    "unprivileged_userns_clone",
    "apparmor_restrict_unprivileged_userns",
    "../user/max_user_namespaces",
)
"""Beneath /proc/sys/kernel: what decides whether namespaces can be made, as far as it can be read."""


@dataclass(frozen=True, slots=True)
class Found:
    """A sandbox, or why there is none."""

    sandbox: Sandbox | None
    reason: str = ""


async def choose_sandbox(app: App, settings: SandboxSettings, *, no_sandbox: bool) -> Found:
    """What runs commands here. Raises PolicyError when what the operator's settings name does not work."""
    if no_sandbox or settings.use == "none":
        return Found(Unconfined())
    found = await find_sandbox(app, settings)
    if found.sandbox is None and settings.use != "auto":
        hint = "install it, or change sandbox.use in your settings"
        raise PolicyError(f"the sandbox {settings.use} does not work here: {found.reason}", hint=hint)
    return found


async def find_sandbox(app: App, settings: SandboxSettings) -> Found:
    """The first of KINDS that works here, or the one that the operator names."""
    reasons = []
    for kind in KINDS if settings.use == "auto" else (settings.use,):
        found = await try_sandbox(app, settings, kind)
        if found.sandbox is not None:
            return found
        reasons.append(found.reason)
    return Found(None, "; ".join(reasons))


async def try_sandbox(app: App, settings: SandboxSettings, kind: str) -> Found:
    """One of KINDS, if a trial shows that it holds.

    What has held is not tried again until something changes that it depends on; what has not is tried each
    time, since much of what could mend it leaves no mark.
    """
    try:
        sandbox, reason = make_sandbox(app, settings, kind)
    except SandboxError as error:
        return Found(None, error.message)
    if sandbox is None:
        return Found(None, reason)
    known = app.folders.cache / "sandbox" / "works.json"
    marks = _marks(sandbox)
    works = _read(known)
    if works.get(kind) == marks:
        return Found(sandbox)
    reason = await probe(sandbox, app.folders.cache / "sandbox")
    if reason:
        await sandbox.aclose()
        return Found(None, f"{kind}: {reason}")
    with contextlib.suppress(OSError):
        known.write_text(json.dumps({**works, kind: marks}))
    return Found(sandbox)


async def probe(sandbox: Sandbox, folder: Path) -> str:
    """Why the sandbox does not hold, or empty: it is asked to, in a project of its own beneath `folder`."""
    project, outside = folder / "probe", folder / "outside"
    try:
        project.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (project / "own", outside):
            if not path.exists():
                path.write_text("x\n")
        environment = {"PATH": os.defpath, "OUTSIDE": str(outside)}
        result = await sandbox.execute(Command(_PROBE, project, environment, timeout=20))
    except (SandboxError, OSError) as error:
        return getattr(error, "message", str(error))
    if result.output.splitlines()[-1:] == ["held"]:
        return ""
    return f"its trial failed: {result.output.strip()[:200] or 'it does not hold'}"


def make_sandbox(
    app: App, settings: SandboxSettings, kind: str
) -> tuple[Bubblewrap | Landlock | None, str]:
    """One of KINDS for a run in the App's project, or why there can be none. Raises SandboxError."""
    from meshclaw.sandbox.bubblewrap import Bubblewrap, find_bubblewrap
    from meshclaw.sandbox.landlock import Landlock, missing
    from meshclaw.sandbox.mounts import survey

    private, home = app.folders.cache / "sandbox", home_of(app)

    def machine() -> Machine:
        ours = (app.data_dir, app.ledger_path, app.config_path.parent, app.folders.cache)
        hidden = (*ours, *app.config.key_files)
        return survey(app.environment, home, app.project, extra=settings.read, hidden=hidden)

    if kind == "landlock":
        if reason := missing():
            return None, reason
        return Landlock(machine, private, identity=git_identity(app.environment, app.project)), ""
    program = find_bubblewrap(settings.bubblewrap)
    if program is None:
        return None, "bubblewrap is not installed"
    identity = git_identity(app.environment, app.project)
    return Bubblewrap(program, machine, private, identity=identity, scratch=settings.scratch), ""


def limits(settings: SandboxSettings) -> Limits:
    return Limits(settings.memory, settings.cpu, settings.processes, settings.file_size)


def home_of(app: App) -> Path:
    """The account's home, for a cron job without HOME as well."""
    named = app.environment.get("HOME")
    return Path(named) if named else Path("~").expanduser()


def git_identity(environment: Mapping[str, str], project: Path) -> str:
    """Who the user is to git in this project, as a settings file; nothing else of theirs, no credentials.

    What the project's own repository says counts before the account's, but names no further files.
    """
    try:
        git = replace(find_git(environment, project), timeout=GIT_SECONDS)
    except ProblemsError:
        return ""
    theirs = {name: environment[name] for name in _GIT_VARIABLES if name in environment}
    account = replace(git, extra={**theirs, "GIT_CONFIG_GLOBAL": None})
    found = _identity(account, "--global", "--includes")
    if found is None:
        # A repository whose settings git cannot read.
        found = _identity(replace(account, folder=Path("/")), "--global", "--includes")
    found = {**(found or {}), **(_identity(git, "--local", "--no-includes") or {})}
    lines = [
        f"\t{key} = {json.dumps(found[key], ensure_ascii=False)}\n"
        for key in ("name", "email")
        if key in found
    ]
    return f"[user]\n{''.join(lines)}" if lines else ""


def _identity(git: Git, *scope: str) -> dict[str, str] | None:
    """The name and the email that git finds in some of its settings; None when it cannot read them."""
    try:
        said = git.run("config", *scope, "-z", "--get-regexp", r"^user\.(name|email)$", codes=(0, 1))
    except GitError:
        return None
    pairs = (one.partition("\n") for one in said.decode("utf-8", "replace").split("\0"))
    # JSON's text is git's as well, but for control characters.
    return {
        key.removeprefix("user."): value.strip()
        for key, _, value in pairs
        if value.strip() and not any(one < " " for one in value)
    }


def _marks(sandbox: Bubblewrap | Landlock) -> dict[str, str | int]:
    """What it depends on that this sandbox works, as far as it shows."""
    from meshclaw.sandbox.bubblewrap import Bubblewrap

    status = _text(Path("/proc/self/status")).splitlines()
    marks: dict[str, str | int] = {
        "kernel": platform.release(),
        "account": os.getuid(),
        # Containers share a kernel and perhaps a home, but not these.
        "namespace": os.readlink("/proc/self/ns/user"),  # noqa: PTH115
        "rights": " ".join(line for line in status if line.startswith(("CapEff", "CapBnd", "Seccomp:"))),
    }
    for name in _KERNEL_SWITCHES:
        marks[name] = _text(Path("/proc/sys/kernel", name))
    if isinstance(sandbox, Bubblewrap):
        marks["program"] = str(sandbox.program)
        marks["changed"] = sandbox.program.stat().st_mtime_ns
    return marks


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _read(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
