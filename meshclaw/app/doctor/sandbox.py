"""The doctor's look at the sandboxes: what there is, and whether it holds a command when tried."""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from meshclaw.app.doctor.findings import Finding, State
from meshclaw.app.doctor.machine import ask
from meshclaw.app.sandboxes import choose_sandbox, home_of, make_sandbox, probe
from meshclaw.errors import PolicyError
from meshclaw.sandbox.base import Sandbox, SandboxError
from meshclaw.sandbox.bubblewrap import PLACES, find_bubblewrap
from meshclaw.sandbox.kernel import landlock_version
from meshclaw.sandbox.landlock import NEEDED
from meshclaw.sandbox.seccomp import find_machine

if TYPE_CHECKING:
    from meshclaw.app.app import App

INSTALL = "install bubblewrap (on Debian: apt-get install bubblewrap)"
SWITCHES = (
    ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "give /usr/bin/bwrap an AppArmor profile with `userns`",
    ),
)
"""Files beneath /proc/sys, the value by which they forbid user namespaces, and what allows them."""


async def sandboxes(app: App) -> list[Finding]:
    """What would be used, and then the matrix it was chosen from."""
    return [
        await used(app),
        await bubblewrap_here(app),
        namespaces(Path("/proc/sys")),
        await landlock_here(app),
        seccomp(Path("/proc/sys")),
    ]


async def used(app: App) -> Finding:
    """What holds a run's commands, as a run would choose it."""
    settings = app.config.sandbox
    if settings.use == "none":
        where = app.config.origins["sandbox.use"]
        remedy = "take `sandbox: none` out of your settings"
        return Finding("sandbox", State.WARNING, f"none: {where} says so, nothing holds commands", remedy)
    try:
        found = await choose_sandbox(app, settings, no_sandbox=False)
    except PolicyError as error:
        return Finding("sandbox", State.FAILED, error.message, error.hint)
    if found.sandbox is None:
        text = f"none works, so tasks that let a model run commands are refused: {found.reason}"
        return Finding("sandbox", State.WARNING, text, INSTALL)
    await _close(found.sandbox)
    if _holds_home(app):
        text = f"{app.project} holds the home folder, so commands there cannot be kept apart from it"
        return Finding("sandbox", State.WARNING, text, "work in a folder of its own below it")
    return Finding("sandbox", State.OK, f"{found.sandbox.name} holds the commands of runs")


def _holds_home(app: App) -> bool:
    return Path(os.path.realpath(home_of(app))).is_relative_to(os.path.realpath(app.project))


async def bubblewrap_here(app: App) -> Finding:
    """Whether the system's bubblewrap, or the one that the settings name, holds a command."""
    settings = app.config.sandbox
    try:
        program = find_bubblewrap(settings.bubblewrap)
    except SandboxError as error:
        return Finding("bubblewrap", State.WARNING, error.message, "give it to root, with mode 0755")
    if program is None:
        where = settings.bubblewrap or f"any of {', '.join(PLACES)}"
        return Finding("bubblewrap", State.MISSING, f"not at {where}", INSTALL)
    said = ask([str(program), "--version"], {}) or "bubblewrap"
    return await _tried(app, "bubblewrap", f"{said} at {program} ({_owner(program)})")


async def landlock_here(app: App) -> Finding:
    """Whether the kernel's Landlock holds a command."""
    return await _tried(app, "landlock", f"version {landlock_version()}, of which {NEEDED} is needed")


async def _tried(app: App, kind: str, what: str) -> Finding:
    sandbox, reason = make_sandbox(app, app.config.sandbox, kind)
    if sandbox is None:
        return Finding(kind, State.MISSING, reason)
    try:
        reason = await probe(sandbox, app.folders.cache / "sandbox")
    finally:
        await sandbox.aclose()
    if reason:
        return Finding(kind, State.WARNING, f"{what}: it does not hold a command: {reason}")
    return Finding(kind, State.OK, f"{what}: holds a command (tried)")


def namespaces(settings: Path) -> Finding:
    """Whether the kernel's settings let this account make user namespaces; `settings` is /proc/sys."""
    for name, forbids, remedy in SWITCHES:
        path = settings / name
        with suppress(OSError):
            if path.read_text().strip() == forbids:
                text = f"the kernel's settings forbid them: {path} is {forbids}"
                return Finding("namespaces", State.WARNING, text, f"as root: {remedy}")
    return Finding("namespaces", State.OK, "user namespaces are not forbidden")


def seccomp(settings: Path) -> Finding:
    """Whether system calls can be filtered here."""
    try:
        machine = find_machine().name
        actions = (settings / "kernel/seccomp/actions_avail").read_text().split()
    except ValueError as error:
        return Finding("seccomp", State.WARNING, str(error), "no sandbox works here")
    except OSError:
        return Finding("seccomp", State.WARNING, "the kernel has no system call filters", INSTALL)
    lacking = [one for one in ("errno", "kill_process", "user_notif") if one not in actions]
    if lacking:
        text = f"the kernel's filters know no {', '.join(lacking)}"
        return Finding("seccomp", State.WARNING, text, "use Linux 5.0 or later")
    return Finding("seccomp", State.OK, f"system calls of {machine} can be filtered")


def _owner(path: Path) -> str:
    found = path.stat()
    try:
        name = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        name = str(found.st_uid)
    return f"of {name}, mode {stat.S_IMODE(found.st_mode):04o}"


async def _close(sandbox: Sandbox) -> None:
    if hasattr(sandbox, "aclose"):
        await sandbox.aclose()
