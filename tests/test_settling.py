"""What became of a run's patch, read from real repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from meshclaw.isolation import WorkCopy
from meshclaw.isolation.kept import KeptPatch, read_kept
from meshclaw.settling import Finding, Settling

NOW = datetime.now(UTC)
AFTER = NOW + timedelta(days=20)
PATIENCE = timedelta(days=14)
ENVIRONMENT = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull}


class Repository:
    """A project with one file of ten lines, and a run's patch that changes two of them and adds a file."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.run = folder / "runs" / "run-1"
        self.project.mkdir()
        self.run.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.write("a.py", *[f"line {number}" for number in range(10)])
        self.commit("begin")
        self.leave(_two_lines_and_a_file)

    def git(self, *arguments: str) -> str:
        names = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        done = subprocess.run(
            ["git", *names, *arguments], cwd=self.project, env=ENVIRONMENT, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    def write(self, name: str, *lines: str) -> None:
        (self.project / name).write_text("\n".join(lines) + "\n")

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def take_up(self, message: str = "Mend it") -> str:
        async def apply() -> None:
            await (await KeptPatch.read(self.run)).apply(ENVIRONMENT)

        anyio.run(apply)
        return self.commit(message)

    def judge(self, now: datetime = AFTER) -> Finding:
        def work() -> Finding:
            settling = Settling.open(ENVIRONMENT, self.project, "HEAD")
            kept = read_kept(self.run)
            before, after = kept.sides(ENVIRONMENT, 1_000_000)
            base = kept.origin.repository.commit
            return settling.judge("run-1", base, before, after, NOW, now, PATIENCE)

        async def judge() -> Finding:
            return await anyio.to_thread.run_sync(work)

        return anyio.run(judge)

    def leave(self, change: Callable[[Path], object]) -> None:
        """Makes the patch of a run that does this in a copy the only one."""

        async def work() -> None:
            copy = await WorkCopy.make(self.project, self.run, environment=ENVIRONMENT)
            change(copy.path)
            await copy.keep(await copy.patch(["**"]))
            await copy.remove()

        shutil.rmtree(self.run)
        self.run.mkdir(parents=True)
        anyio.run(work)


def _two_lines_and_a_file(copy: Path) -> None:
    lines = (copy / "a.py").read_text().replace("line 3", "mended 3").replace("line 7", "mended 7")
    (copy / "a.py").write_text(lines)
    (copy / "new.py").write_text("one\ntwo\nthree\nfour\n")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_what_was_taken_up_is_accepted_once_it_has_lived(repository: Repository) -> None:
    commit = repository.take_up()
    early, late = repository.judge(NOW + timedelta(days=3)), repository.judge()
    assert (early.standing, early.verdict) == ("merged", None)
    assert (late.standing, late.verdict, late.commit, late.share) == ("alive", "accepted", commit, 1.0)


def test_changes_of_others_around_it_do_not_matter(repository: Repository) -> None:
    repository.take_up()
    repository.write("b.py", "else")
    text = (repository.project / "a.py").read_text()
    (repository.project / "a.py").write_text(text.replace("line 0", "zero"))
    repository.commit("Work on")
    assert repository.judge().verdict == "accepted"


def test_a_squashed_commit_that_names_the_run_took_it_up(repository: Repository) -> None:
    repository.write("a.py", "all", "new")
    repository.write("new.py", "one", "two", "three", "four")
    commit = repository.commit("Mend it otherwise\n\nMeshClaw-Run: run-1")
    found = repository.judge()
    assert (found.standing, found.commit) == ("alive", commit)


def test_what_was_reverted_is_rejected_and_the_commit_named(repository: Repository) -> None:
    repository.take_up()
    repository.git("revert", "--no-edit", "HEAD")
    found = repository.judge(NOW + timedelta(days=1))
    assert (found.standing, found.verdict) == ("reverted", "rejected")
    assert repository.git("rev-parse", "HEAD")[:12] in found.why


def test_what_was_rewritten_is_rejected(repository: Repository) -> None:
    repository.take_up()
    repository.write("new.py", "one", "other")
    repository.write("a.py", "nothing", "of", "it", "mended 3")
    repository.commit("Do it otherwise")
    found = repository.judge()
    assert (found.standing, found.verdict) == ("rewritten", "rejected")
    assert 0.1 < found.share < 0.5


@pytest.mark.parametrize(
    ("days", "standing", "verdict"), [(3, "waiting", None), (15, "not taken up", "rejected")]
)
def test_what_nobody_takes_up_is_waited_for(
    repository: Repository, days: int, standing: str, verdict: str | None
) -> None:
    found = repository.judge(NOW + timedelta(days=days))
    assert (found.standing, found.verdict, found.share) == (standing, verdict, 0.0)


def test_a_removed_file_counts_as_taken_up_when_it_is_gone(repository: Repository) -> None:
    repository.leave(lambda copy: (copy / "a.py").unlink())
    assert repository.judge(NOW).standing == "waiting"
    (repository.project / "a.py").unlink()
    repository.commit("Remove it")
    assert repository.judge(NOW).standing == "merged"


def _with_an_empty_file(copy: Path) -> None:
    (copy / "new").mkdir()
    (copy / "new" / "__init__.py").write_text("")
    (copy / "new" / "code.py").write_text("a = 1\nb = 2\n")


def _as_it_was(copy: Path) -> None:
    (copy / "a.py").write_text("".join(f"line {number}\n" for number in range(10)))


@pytest.mark.parametrize("change", [_with_an_empty_file, _as_it_was])
def test_what_the_history_held_before_took_nothing_up(
    repository: Repository, change: Callable[[Path], object]
) -> None:
    (repository.project / "old").mkdir()
    (repository.project / "old" / "__init__.py").write_text("")
    repository.write("a.py", "all", "of", "it", "else")
    repository.commit("Work on")
    repository.leave(change)
    found = repository.judge(NOW)
    assert (found.standing, found.verdict, found.share) == ("waiting", None, 0.0)
    (repository.project / "more").mkdir()
    (repository.project / "more" / "__init__.py").write_text("")
    repository.commit("Add an empty file")
    assert repository.judge(NOW).standing == "waiting"
    repository.take_up()
    assert repository.judge(NOW).standing == "merged"
    repository.git("revert", "--no-edit", "HEAD")
    assert repository.judge(NOW).standing == "reverted"


def test_one_small_file_of_many_is_not_the_patch(repository: Repository) -> None:
    def change(copy: Path) -> None:
        _two_lines_and_a_file(copy)
        (copy / ".gitignore").write_text("*.pyc\n")

    repository.leave(change)
    repository.write(".gitignore", "*.pyc")
    repository.commit("Ignore caches")
    found = repository.judge(NOW)
    assert (found.standing, found.verdict) == ("waiting", None)
    assert 0 < found.share < 0.2


def _indented(copy: Path) -> None:
    (copy / "a.py").write_text("".join(f"  line {number}\n" for number in range(10)))


def _turned_round(copy: Path) -> None:
    (copy / "a.py").write_text("".join(f"line {number}\n" for number in reversed(range(10))))


def _spaced(copy: Path) -> None:
    (copy / "a.py").write_text("".join(f"line {number}\n\n" for number in range(10)))


@pytest.mark.parametrize(
    "change", [_indented, _turned_round, _spaced, lambda copy: (copy / "a.py").chmod(0o755)]
)
def test_a_change_of_form_alone_is_one(repository: Repository, change: Callable[[Path], object]) -> None:
    repository.leave(change)
    assert repository.judge(NOW).standing == "waiting"
    repository.take_up()
    found = repository.judge(NOW)
    assert (found.standing, found.share) == ("merged", 1.0)
    text = (repository.project / "a.py").read_text()
    (repository.project / "a.py").write_text(f"{text}line more\n")
    repository.commit("Work on")
    found = repository.judge()
    assert (found.standing, found.verdict, found.share > 0.9) == ("alive", "accepted", True)
    repository.git("checkout", "-q", "HEAD~2", "--", "a.py")
    repository.commit("Put it back")
    found = repository.judge()
    assert (found.standing, found.verdict) == ("reverted", "rejected")


def test_a_line_that_was_there_before_shows_nothing(repository: Repository) -> None:
    def change(copy: Path) -> None:
        text = (copy / "a.py").read_text()
        (copy / "a.py").write_text(f"{text}line 1\nline 2\n")

    repository.leave(change)
    assert repository.judge(NOW).share == 0.0
