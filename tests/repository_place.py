"""A repository and the folder of a run in it."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
from contained import git

from meshclaw.isolation import KeptPatch, WorkCopy


@dataclass
class Place:
    """`write` and `commit` change the project, `copy` copies it; `left`: what the run's folder holds."""

    project: Path
    run: Path

    def make(self) -> None:
        """A repository with one commit."""
        for folder in (self.project, self.run):
            folder.mkdir(exist_ok=True)
        git(self.project, "init", "-q", "-b", "trunk")
        self.write(**{"app.py": "one\ntwo\nthree\n", ".gitignore": "*.pyc\nreports/\n.venv\n"})
        self.commit()

    async def copy(self, *, dirty: bool = False, share: tuple[str, ...] = (".venv",)) -> WorkCopy:
        environment = dict(os.environ)
        return await WorkCopy.make(
            self.project, self.run, environment=environment, include_dirty=dirty, share=share
        )

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.project / name).write_text(text)

    async def kept(self, copy: WorkCopy, *write: str) -> KeptPatch:
        """The patch of a copy that is removed then."""
        await copy.keep(await copy.patch(write or ("**",)))
        await copy.remove()
        return await self.read()

    async def read(self) -> KeptPatch:
        return await KeptPatch.read(self.run)

    def left(self) -> list[str]:
        return sorted(path.name for path in self.run.iterdir())

    def commit(self) -> str:
        git(self.project, "add", "--all")
        git(self.project, "commit", "-qm", "change")
        return git(self.project, "rev-parse", "HEAD").strip()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path / "project", tmp_path / "run")
    found.make()
    return found


def files(folder: Path) -> list[str]:
    found = (
        path.relative_to(folder) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    )
    return sorted(str(path) for path in found if path.parts[0] != ".git")


def fingerprint(folder: Path) -> dict[str, tuple[int, str]]:
    """Everything beneath `folder`, `.git` included: rights, and what is there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            content = str(path.readlink())
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (status.st_mode, content)
    return found
