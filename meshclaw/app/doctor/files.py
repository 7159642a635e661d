"""The doctor's look at files: settings, trust, the ledger, runs."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from meshclaw.app.doctor.findings import Finding, State
from meshclaw.app.places import SETTINGS_FILE, shown_path
from meshclaw.app.trusting import all_powers, find_untrusted
from meshclaw.errors import Problem, ProblemsError
from meshclaw.ledger.disk import check_safe
from meshclaw.ledger.tail import Tail, TailError, read_tail
from meshclaw.runs import is_held
from meshclaw.trust import visible

if TYPE_CHECKING:
    from meshclaw.app.app import App

LITTLE = 100 * 2**20
"""Bytes of free disk below which a warning is due."""
SHOWN = 5
"""Names that are listed; more are counted."""


def settings(app: App) -> Iterator[Finding]:
    """Which files there are, and every Problem in them."""
    own, project = app.config_path, app.project / SETTINGS_FILE
    mine = f"yours are {own}" if own.exists() else f"none of yours at {own}, and none are needed"
    theirs = f"; the project's are {shown_path(project, app.cwd)}" if project.exists() else ""
    try:
        _ = app.config
    except ProblemsError as error:
        for problem in error.problems:
            yield _problem("settings", State.FAILED, problem)
        return
    yield Finding("settings", State.OK, mine + theirs)


def trust(app: App) -> Iterator[Finding]:
    """Whether the project's tasks may run, and whether they load."""
    problems: list[Problem] = []
    powers = all_powers(app, problems)
    missing = find_untrusted(app, powers)
    if missing:
        yield Finding(
            "trust",
            State.WARNING,
            f"of this project, not trusted yet: {_some([visible(one.name) for one in missing])}",
            "`meshclaw trust` shows what they could do, and trusts them",
        )
    elif powers:
        yield Finding("trust", State.OK, f"of this project, trusted: {_some(list(map(visible, powers)))}")
    else:
        yield Finding("trust", State.OK, "nothing of this project can make anything happen")
    broken = sorted({problem.source for problem in problems})
    if broken:
        text = f"with mistakes, so they do not run: {_some(broken)}"
        yield Finding("tasks", State.WARNING, text, "`meshclaw tasks check` shows each mistake")


def ledger(app: App) -> Iterator[Finding]:
    """Where it is, whether it is safe, can be written and ends well, without touching it.

    Raises LedgerError for a file that a run would refuse.
    """
    path = app.ledger_path
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        yield _new_ledger(path)
        return
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror}"
        yield Finding("ledger", State.FAILED, text, "name a file of your own (`--ledger`, MESHCLAW_LEDGER)")
        return
    try:
        found = os.fstat(descriptor)
        check_safe(found, path)
        tail = read_tail(descriptor, found.st_size)
    except TailError as error:
        remedy = "`meshclaw ledger verify` says more; `meshclaw ledger rotate` begins a new file"
        yield Finding("ledger", State.FAILED, f"{path}: {error}", remedy)
        return
    finally:
        os.close(descriptor)
    yield _ledger_state(path, found, tail)
    yield from _space(path.parent)


def runs(app: App) -> Iterator[Finding]:
    """How many there are, and which of them a killed process left open."""
    folder = app.runs_dir
    active = folder.parent / "active"
    dead = [name for name in _names(active) if not is_held(folder / name)]
    if dead:
        text = f"left over by a killed process: {_some([name[:13] for name in dead])}"
        yield Finding("runs", State.WARNING, text, "the next `meshclaw run` enters their end in the ledger")
    elif folder.is_dir():
        yield Finding("runs", State.OK, f"{len(_names(folder)):,} in {folder}, none left over")
    elif not _writable(folder):
        text = f"{folder} cannot be made"
        yield Finding("runs", State.FAILED, text, "name another data folder: MESHCLAW_DATA_DIR")
    else:
        yield Finding("runs", State.OK, f"none yet; they go to {folder}")


def _new_ledger(path: Path) -> Finding:
    if _writable(path):
        return Finding("ledger", State.OK, f"none yet; the first run begins {path}")
    remedy = "name another with `--ledger` or MESHCLAW_LEDGER, or give the folder to this account"
    return Finding("ledger", State.FAILED, f"{path} cannot be made", remedy)


def _ledger_state(path: Path, found: os.stat_result, tail: Tail) -> Finding:
    mode = f"{found.st_size:,} bytes, mode {stat.S_IMODE(found.st_mode):04o}"
    if not os.access(path, os.W_OK):
        text = f"{path} ({mode}) cannot be written"
        return Finding("ledger", State.FAILED, text, f"`chmod u+w '{path}'`, or name another ledger")
    if tail.torn or tail.lacks_newline:
        text = f"{path} ({mode}): its last line is being written, or was torn"
        return Finding("ledger", State.WARNING, text, "the next run mends it, and says so")
    return Finding("ledger", State.OK, f"{path} ({mode}), its last line in order")


def _space(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    if free < LITTLE:
        text = f"only {free / 2**20:.0f} MiB are free in {folder}"
        yield Finding("ledger", State.WARNING, text, "free some space: without a ledger nothing runs")


def _writable(path: Path) -> bool:
    """Whether a file or folder could be made there: the nearest folder above it that exists decides."""
    above = next((one for one in path.parents if one.exists()), Path("/"))
    return above.is_dir() and os.access(above, os.W_OK | os.X_OK)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def _problem(topic: str, state: State, problem: Problem) -> Finding:
    text = str(problem).removesuffix(f" - {problem.hint}") if problem.hint else str(problem)
    return Finding(topic, state, text, problem.hint)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
