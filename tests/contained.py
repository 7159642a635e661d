"""Runs the same script contained and not: an attack is blocked only if it works without a sandbox."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pytest

from meshclaw.sandbox.base import Command, CommandResult, Confinement, Limits
from meshclaw.sandbox.bubblewrap import Bubblewrap, find_bubblewrap
from meshclaw.sandbox.mounts import Machine, survey
from meshclaw.sandbox.unconfined import Unconfined, command_environment


@cache
def missing_bubblewrap() -> str:
    """Why the sandbox cannot be tested on this machine; empty when it can."""
    program = find_bubblewrap()
    if program is None:
        return "bubblewrap is not installed: the sandbox is not tested"
    argv = [str(program), "--unshare-user", "--unshare-net", "--ro-bind", "/", "/", "true"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return f"bubblewrap does not work here: {done.stderr.strip()[-200:]}" if done.returncode else ""


def _needs_bubblewrap() -> pytest.MarkDecorator:
    """Skips by name, but fails in CI, which is to have it."""
    if missing_bubblewrap() and os.environ.get("CI") == "true":
        return pytest.mark.usefixtures("missing_in_ci")
    return pytest.mark.skipif(bool(missing_bubblewrap()), reason=missing_bubblewrap())


needs_bubblewrap = _needs_bubblewrap()
PROGRAMS = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
PYTHON = shlex.quote(sys.executable)
"""As a word of a shell command: there may be a blank in it."""


@dataclass
class Bench:
    """A project, a home and a private folder for one test."""

    project: Path
    home: Path
    private: Path
    path: str = PROGRAMS
    read: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    scratch: tuple[str, ...] = ()
    identity: str = "[user]\n\tname = Ada\n\temail = ada@example.com\n"
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        mine = {**os.environ, "HOME": str(self.home), "PATH": self.path}
        return {**command_environment(mine), **self.variables}

    def machine(self) -> Machine:
        operators = {**os.environ, "HOME": str(self.home), "PATH": self.path}
        return survey(operators, self.home, self.project, extra=self.read, hidden=self.hidden)

    def sandbox(self) -> Bubblewrap:
        program = find_bubblewrap()
        assert program is not None
        return Bubblewrap(program, self.machine, self.private, identity=self.identity, scratch=self.scratch)

    def command(self, script: str, write: tuple[str, ...], **rest: object) -> Command:
        limits = rest.pop("limits", Limits())
        assert isinstance(limits, Limits)
        made = Command(script, self.project, self.environment(), timeout=60.0)
        confinement = Confinement(write=write, limits=limits)
        return replace(made, confinement=confinement, **rest)  # type: ignore[arg-type]

    async def contained(self, script: str, *write: str, **rest: object) -> CommandResult:
        sandbox = self.sandbox()
        try:
            return await sandbox.execute(self.command(script, write, **rest))
        finally:
            await sandbox.aclose()
            assert not list(self.private.glob("run-*"))

    async def free(self, script: str, **rest: object) -> CommandResult:
        return await Unconfined().execute(self.command(script, (), **rest))


@pytest.fixture
def missing_in_ci() -> None:
    pytest.fail(f"CI=true, but {missing_bubblewrap()}")


@pytest.fixture
def bench(tmp_path: Path, home: Path) -> Bench:
    project = tmp_path / "project"
    project.mkdir()
    return Bench(project, home, tmp_path / "private")


def git(folder: Path, *arguments: str) -> str:
    """Runs git outside, with an identity of its own."""
    program = shutil.which("git")
    assert program is not None
    done = subprocess.run(
        [program, "-c", "user.name=T", "-c", "user.email=t@example.com", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


async def asked(bench: Bench, folder: str, mark: Path) -> bool:
    """Whether a person's git obeys what lies beneath a folder."""
    mark.unlink(missing_ok=True)
    for path in (bench.project / folder, *sorted((bench.project / folder).rglob("*"))):
        if path.is_dir():
            subprocess.run(["git", "status"], cwd=path, capture_output=True, check=False)
    return mark.exists()
