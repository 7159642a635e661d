"""What a snapshot of the project holds, and what counts as a change of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from anyio import to_thread
from contained import git
from repository_place import Place

from meshclaw.isolation import Guard, Snapshot
from meshclaw.isolation.patch import MAX_FILE


async def test_what_a_snapshot_holds_of_what_git_ignores(tmp_path: Path) -> None:
    place = Place(tmp_path / "project", tmp_path / "run")
    place.make()
    (place.project / ".gitignore").write_text("*.log\n.npmrc\nout/\nbuilt/\n")
    for name in ("src/target/a.py", ".npmrc", "tests/t.log", "out/wanted/a.json", "built/b"):
        (place.project / name).parent.mkdir(parents=True, exist_ok=True)
        (place.project / name).write_text("before\n")
    place.commit()
    environment = dict(os.environ)
    ours = await Snapshot.take(place.project, place.run, environment)
    patch = await to_thread.run_sync(ours.patch)
    assert (patch.files, await ours.altered(Guard())) == ((), ())
    for name in ("src/target/a.py", ".npmrc", "tests/t.log", "out/wanted/a.json", "built/b"):
        (place.project / name).write_text("after\n")
    patch = await to_thread.run_sync(ours.patch)
    assert [one.path for one in patch.files] == [".npmrc", "src/target/a.py"]
    assert await ours.altered(Guard()) == (".npmrc",)
    stated = Guard(["out/wanted/**"])
    theirs = await Snapshot.take(place.project, place.run, environment, guard=stated)
    assert await theirs.altered(stated) == ()
    (place.project / "out/wanted/a.json").write_text("before\n")
    (place.project / "out/wanted/b.json").write_text("new\n")
    assert await theirs.altered(stated) == ("out/wanted/a.json", "out/wanted/b.json")


async def test_repositories_in_the_project_are_no_change_until_they_change(tmp_path: Path) -> None:
    place, environment = Place(tmp_path / "project", tmp_path / "run"), dict(os.environ)
    place.make()
    inner = tmp_path / "inner"
    git(tmp_path, "clone", "-q", str(place.project), str(inner))
    git(place.project, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "lib")
    place.commit()
    git(tmp_path, "clone", "-q", str(inner), str(place.project / "nested"))
    built = [place.project / name / "reports" / "a" for name in ("lib", "nested")]
    for path in built:
        path.parent.mkdir()
        path.write_text("built\n")
    snapshot = await Snapshot.take(place.project, place.run, environment)
    for path in built:
        path.write_text("built anew\n")
    patch = await to_thread.run_sync(snapshot.patch)
    assert (patch.files, await snapshot.altered(Guard())) == ((), ())
    (place.project / "lib" / "app.py").write_text("changed\n")
    (place.project / "lib" / "package.json").write_text("{}\n")
    (place.project / "nested" / "app.py").unlink()
    patch = await to_thread.run_sync(snapshot.patch)
    assert [(one.path, one.kind) for one in patch.files] == [
        *(("lib/app.py", "changed"), ("lib/package.json", "added"), ("nested/app.py", "deleted"))
    ]
    assert await snapshot.altered(Guard()) == ("lib/package.json",)


async def test_what_no_patch_can_hold_is_a_change_as_well(tmp_path: Path) -> None:
    project, run, environment = tmp_path / "project", tmp_path / "run", dict(os.environ)
    for folder in (project, run):
        folder.mkdir()
    (project / "test_a.py").write_text("as it was\n")
    snapshot = await Snapshot.take(project, run, environment)
    (project / "test_a.py").unlink()
    os.mkfifo(project / "test_a.py")
    with (project / "conftest.py").open("wb") as file:
        file.truncate(MAX_FILE + 1)
    assert await snapshot.altered(Guard()) == ("conftest.py", "test_a.py")
    (project / "conftest.py").write_text("smaller\n")
    altered = await snapshot.altered(Guard())
    tree = await snapshot.check_tree(run / "check", altered, environment, MAX_FILE)
    assert (tree.path / "test_a.py").read_text() == "as it was\n"
    assert not (tree.path / "conftest.py").exists()


CLOSED = """
import os, sys
from pathlib import Path
import anyio
from meshclaw.errors import WorkError
from meshclaw.isolation import Guard, Snapshot
from meshclaw.sandbox import kernel

async def main(project, run):
    environment = dict(os.environ)
    snapshot = await Snapshot.take(project, run, environment)
    tree = await snapshot.check_tree(run / "check", (), environment, 2**20)
    print(*tree.left_out, *sorted(path.name for path in tree.path.iterdir()))
    print(*await snapshot.altered(Guard(["**"])), *(await anyio.to_thread.run_sync(snapshot.patch)).files)
    (project / "own").mkdir(0)
    try:
        await snapshot.check_tree(run / "check", (), environment, 2**20)
    except WorkError as error:
        print(error)

kernel.give_up_rights()
anyio.run(main, *map(Path, sys.argv[1:]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("in_git", [True, False])
def test_what_others_have_closed_is_left_out_and_what_is_ours_is_not(tmp_path: Path, in_git: bool) -> None:
    place = Place(tmp_path / "project", tmp_path / "run")
    place.project.mkdir()
    place.run.mkdir()
    if in_git:
        place.make()
    (place.project / "test_a.py").write_text("x")
    for name, mode in (("pgdata", 0o700), ("listed", 0o744), ("log", 0o600)):
        (place.project / name).touch() if name == "log" else (place.project / name).mkdir()
        if name == "listed":
            (place.project / name / "in").touch()
        (place.project / name).chmod(mode)
        os.chown(place.project / name, 1, 1)
    done = subprocess.run(
        [sys.executable, "-c", CLOSED, str(place.project), str(place.run)],
        capture_output=True,
        text=True,
        check=False,
    )
    left_out, nothing, own = done.stdout.splitlines()
    made = [".git", ".gitignore", "app.py"] if in_git else []
    assert left_out.split() == [
        *("listed/in", "log", "pgdata"),
        *(*made, "listed", "pgdata", "test_a.py"),
    ]
    assert nothing == ""
    assert "Permission denied: 'own'" in own
