"""Lives a run's life with its copy and is killed in the midst of it, each time a little later.

Run as a program: PROJECT FOLDER STEP. An audit hook of the interpreter counts what changes the disk and
what starts git, and kills the process before the N-th. After each death the run goes on in one place and
is given up in another. Writes how often it was killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from anyio import to_thread

from meshclaw.isolation import KeptPatch, WorkCopy, clear

CHANGED = "changed\n"
MOST = 2_000
WHAT_STAYS = ["git", "patch.diff", "patch.json"]
COUNTED = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "subprocess.Popen"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Bomb:
    """Kills the process at the N-th event that counts."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if event in COUNTED or writes:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


async def live(project: Path, run: Path) -> None:
    """What a run does with a copy, from wherever an earlier process left off."""
    environment = dict(os.environ)
    if not (run / "patch.json").exists():
        if (run / "copy.json").exists():
            copy = await WorkCopy.reopen(run, environment)
        else:
            copy = await WorkCopy.make(project, run, environment=environment, include_dirty=True)
        (copy.path / "app.py").write_text(CHANGED)
        await copy.keep(await copy.patch(["**"]), for_branch=True)
    await give_up(project, run)
    kept = await KeptPatch.read(run)
    assert await kept.apply(environment, check=True) == ("app.py",)


async def give_up(project: Path, run: Path) -> None:
    await to_thread.run_sync(clear, run)


def apart(work: Callable[[Path, Path], Awaitable[None]], project: Path, run: Path, bomb: int = 0) -> int:
    """Does it in a process of its own; its exit code, negative for the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            sys.addaudithook(Bomb(bomb))
            anyio.run(work, project, run)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def names(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir())


def main(project: Path, folder: Path, step: int) -> None:
    killed = 0
    for number in range(1, MOST, step):
        run, other = folder / f"{number}", folder / f"{number}-given-up"
        run.mkdir()
        ended = apart(live, project, run, number)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        killed += 1
        shutil.copytree(run, other, symlinks=True)
        assert apart(live, project, run) == 0, f"it does not go on after {number}"
        assert names(run) == WHAT_STAYS
        assert f"+{CHANGED}" in (run / "patch.diff").read_text()
        kept = (other / "patch.json").exists()
        assert apart(give_up, project, other) == 0, f"it cannot be given up after {number}"
        assert names(other) == (WHAT_STAYS if kept else [])
    sys.stdout.write(f"{killed}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
