"""The doctor's look at defences: what of this machine's files and settings others could use."""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from meshclaw.app.doctor.findings import Finding, State
from meshclaw.app.trusting import open_store
from meshclaw.config import resolve_key
from meshclaw.errors import ProblemsError
from meshclaw.isolation.git import clone_of

if TYPE_CHECKING:
    from meshclaw.app.app import App

CEILINGS = ("write", "run", "network")
_PR_GET_DUMPABLE = 3


def process(_: App) -> Iterator[Finding]:
    """Whether this process's environment and memory, which hold keys, are closed to others."""
    if sys.platform != "linux":
        yield Finding("process", State.WARNING, "only on Linux can it be closed to this account's others")
        return
    if ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 0:
        text = "its environment and memory are closed to other processes of this account"
        yield Finding("process", State.OK, text)
    else:
        text = "other processes of this account can read its environment and memory"
        yield Finding("process", State.WARNING, text, "use an account of its own for it")
    if os.geteuid() == 0:
        text = "root: its other processes read everything, and its commands what only root may"
        yield Finding("account", State.WARNING, text, "use an account of its own for unattended runs")


def ceiling(app: App) -> Iterator[Finding]:
    """Whether the operator limits what any task may do, and lets the rule of two be broken."""
    config = app.config
    policy = config.policy
    limited = [name for name in CEILINGS if getattr(policy, name) is not None]
    free = [name for name in CEILINGS if getattr(policy, name) is None]
    if limited:
        text = f"your settings limit what any task may {_list(limited)}"
        yield Finding("ceiling", State.OK, text)
    if free:
        text = f"none on what a trusted task may {_list(free)}"
        example = ", ".join(f"{name}: [...]" for name in free)
        remedy = f"set one with `policy: {{{example}}}` in {app.config_path}"
        yield Finding("ceiling", State.WARNING, text, remedy)
    if policy.accept_risk:
        where = config.origins.get("policy.accept_risk")
        text = f"{where} lets a task's `accept_risk` count"
        remedy = "take it out unless such a task has to run here"
        yield Finding("rule of two", State.WARNING, text, remedy)
    else:
        text = "a run never reads untrusted text, reaches private data and acts outward at once"
        yield Finding("rule of two", State.OK, text)


def settings(app: App) -> Iterator[Finding]:
    """Whether others could write the operator's settings: whoever can is the operator."""
    path = app.config_path
    there = [one for one in (path, path.parent) if one.exists()]
    text = f"only you may write {path}" if path.exists() else f"there are none at {path}"
    yield next(filter(None, map(_open_to_others, there)), Finding("settings", State.OK, text))


def keys(app: App) -> Iterator[Finding]:
    """Where keys are kept, by name."""
    exported, files = [], []
    for one in app.config.providers.values():
        if one.key is None:
            continue
        try:
            if not resolve_key(one, app.environment):
                continue
        except ProblemsError as error:
            for problem in error.problems:
                yield Finding("keys", State.FAILED, problem.message, problem.hint)
            continue
        if one.key.env:
            exported.append(one.key.env)
        else:
            files.append(str(one.key.file))
    if files:
        yield Finding("keys", State.OK, f"only you may read {', '.join(sorted(set(files)))}")
    if exported:
        yield Finding(
            "keys",
            State.WARNING,
            f"{', '.join(sorted(set(exported)))}: every program that this shell starts can read that",
            "keep it in a file of mode 0600, named by `key_file` in your settings",
        )
    if not files and not exported:
        yield Finding("keys", State.OK, "there are none")


def store(app: App) -> Iterator[Finding]:
    """Whether the trust store can be believed. Raises StoreError when not."""
    found = open_store(app)
    projects = len({one.project for one in found.entries()})
    text = f"only you may write {found.path}, which trusts {projects} project{'s' * (projects != 1)}"
    yield Finding("trust store", State.OK, text if projects else "nothing is trusted yet")


def path(app: App) -> Iterator[Finding]:
    """Folders on PATH in which others could put a program that you would then start.

    MeshClaw itself starts none of a project's, nor of the current folder's.
    """
    named = app.environment.get("PATH", os.defpath).split(os.pathsep)
    unsafe = False
    for folder in dict.fromkeys(named):
        reason = _unsafe(folder, app.project)
        if reason:
            unsafe = True
            others = not reason.startswith(("means", "lies"))
            remedy = f"take it off PATH, or `chmod go-w {folder}`" if others else "take it off PATH"
            yield Finding("PATH", State.WARNING, f"{folder or 'an empty entry'}: {reason}", remedy)
    if not unsafe:
        yield Finding("PATH", State.OK, "only you and root can write its folders")


def _unsafe(folder: str, project: Path) -> str:
    """Why a folder on PATH is not safe; empty when it is, or is not there."""
    if not os.path.isabs(folder):  # noqa: PTH117 - an empty text would become "."
        return "means the current folder, whatever is in it"
    if Path(os.path.realpath(folder)).is_relative_to(clone_of(project)):
        return "lies in this project, whose author decides what you start there"
    try:
        found = Path(folder).stat()
    except OSError:
        return ""
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to user {found.st_uid}, who could change what you start"
    if found.st_mode & stat.S_IWOTH:
        return "everybody may write it"
    if found.st_mode & stat.S_IWGRP:
        return f"group {found.st_gid} may write it"
    return ""


def _open_to_others(path: Path) -> Finding | None:
    """Who else may write a file or folder, when somebody may."""
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()):
        text = f"{path} belongs to user {found.st_uid}"
        return Finding("settings", State.FAILED, text, f"look at it, then `chown {os.geteuid()} '{path}'`")
    if stat.S_ISCHR(found.st_mode) or not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return None
    text = f"others may write {path} (mode {stat.S_IMODE(found.st_mode):04o})"
    return Finding("settings", State.FAILED, text, f"look at it, then `chmod go-w '{path}'`")


def _list(names: list[str]) -> str:
    words = {"write": "write", "run": "run", "network": "connect to"}
    shown = [words[name] for name in names]
    return " or ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
