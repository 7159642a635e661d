"""A home with a secret and a project in it, where commands are held by Landlock."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from meshclaw.sandbox.base import Command, CommandResult, Confinement, Sandbox
from meshclaw.sandbox.landlock import Landlock, missing
from meshclaw.sandbox.mounts import Machine, survey
from meshclaw.sandbox.unconfined import Unconfined

needs_landlock = pytest.mark.skipif(bool(missing()), reason=f"no Landlock for commands: {missing()}")

PATH = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
PYTHON = shlex.quote(sys.executable)
WRITE = ("out/**", "notes.md")


@dataclass
class Place:
    """A home with a secret, and a project in it."""

    home: Path
    project: Path
    sandbox: Landlock
    masked: list[Path]
    hidden: list[Path]

    async def run(self, script: str, **changes: object) -> CommandResult:
        return await self.sandbox.execute(self.command(script, **changes))

    def command(self, script: str, **changes: object) -> Command:
        confinement = Confinement(write=WRITE)
        command = Command(script, self.project, {"PATH": PATH}, 60, confinement=confinement)
        return replace(command, **changes)  # type: ignore[arg-type]

    async def reaches(self, script: str) -> tuple[bool, bool]:
        """Whether a script that says `reached` when it succeeds does so: uncontained, and held."""
        free: Sandbox = Unconfined()
        found = []
        for sandbox in (free, self.sandbox):
            self.fill()
            result = await sandbox.execute(self.command(script))
            found.append("reached" in result.output.splitlines())
        return found[0], found[1]

    def fill(self) -> None:
        """Puts everything as it was before the command."""
        for folder in (self.project / "src", self.project / "out", self.home / ".ssh"):
            folder.mkdir(parents=True, exist_ok=True)
        for path, text in (
            (self.home / ".ssh" / "id", "key\n"),
            (self.home / "plain", "mine\n"),
            (self.project / "src" / "a.py", "a = 1\n"),
            (self.project / "README", "read me\n"),
        ):
            path.unlink(missing_ok=True)
            path.write_text(text)
            path.chmod(0o600)
        for name in ("plain2", "new", "project/new", "project/out/link", "project/src/new"):
            (self.home / name).unlink(missing_ok=True)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    home = tmp_path / "home"
    project = home / "project"
    masked: list[Path] = []
    hidden: list[Path] = []

    def machine() -> Machine:
        found = survey({"PATH": PATH}, home, project)
        return replace(found, masked=(*found.masked, *masked), hidden=tuple(hidden))

    made = Place(home, project, Landlock(machine, tmp_path / "private"), masked, hidden)
    made.fill()
    yield made
    await made.sandbox.aclose()
    assert list((tmp_path / "private").glob("*")) == []


def python(code: str) -> str:
    return f"{PYTHON} -I -c {shlex.quote(code)}"
