"""What lies in a copy, or in the user's repository, makes nothing run and changes nothing of the user's."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from contained import git
from planted_programs import PLANTS
from repository_place import Place, fingerprint
from repository_place import place as place

from meshclaw.isolation import KeptPatch, Patch, WorkCopy

ENVIRONMENT = dict(os.environ)
WHEN = datetime(2026, 11, 2, tzinfo=UTC)
RUNS = 20


async def patch_of(copy: WorkCopy) -> Patch:
    """Changes something and does all that can be done with a copy, but for removing it."""
    with (copy.path / "app.py").open("a") as file:
        file.write("four\n")
    patch = await copy.patch(["app.py", "new/**", "sub/**"])
    await copy.keep(patch)
    assert patch.text.count(b"\n+four\n") == 1
    return patch


async def bring(folder: Path, project: Path, branch: str) -> None:
    """Checks, branches and applies a kept patch."""
    kept = await KeptPatch.read(folder)
    await kept.apply(ENVIRONMENT, check=True)
    await kept.branch(branch, "Change", "0198", environment=ENVIRONMENT, when=WHEN)
    await kept.apply(ENVIRONMENT)
    assert (project / "app.py").read_text().endswith("three\nfour\n")


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


def left_marks(marks: Path) -> list[str]:
    return sorted(path.name for path in marks.iterdir() if path.suffix != ".sh")


@pytest.mark.parametrize("name", PLANTS)
async def test_nothing_planted_in_a_copy_runs(place: Place, marks: Path, name: str) -> None:
    copy = await place.copy()
    PLANTS[name].put(name, copy.path / ".git", copy.path, marks)
    before = fingerprint(place.project)
    await patch_of(copy)
    again = await WorkCopy.reopen(place.run, ENVIRONMENT)
    (place.run.parent / "check").mkdir()
    await again.add_repository(place.run.parent / "check")
    assert fingerprint(place.project) == before
    await bring(place.run, place.project, "made")
    assert left_marks(marks) == []
    PLANTS[name].run_control(copy.path)
    assert left_marks(marks) == [name], "plain git does not run it: the plant itself does not work"
    await copy.remove()


@pytest.mark.parametrize("name", PLANTS)
async def test_nothing_that_the_users_repository_names_runs(place: Place, marks: Path, name: str) -> None:
    PLANTS[name].put(name, place.project / ".git", place.project, marks)
    before = fingerprint(place.project)
    copy = await place.copy(dirty=True)
    await patch_of(copy)
    await copy.remove()
    assert fingerprint(place.project) == before
    await bring(place.run, place.project, "made")
    assert left_marks(marks) == []
    PLANTS[name].run_control(place.project)
    assert left_marks(marks) == [name], "plain git does not run it: the plant itself does not work"


async def test_twenty_runs_side_by_side_leave_the_project_as_it_was(
    place: Place, marks: Path, tmp_path: Path
) -> None:
    before = fingerprint(place.project)
    texts = {}

    async def run(number: int) -> None:
        mine = Place(place.project, tmp_path / f"run-{number}")
        mine.run.mkdir()
        copy = await mine.copy(dirty=number % 2 == 0)
        for name, plant in PLANTS.items():
            plant.put(name, copy.path / ".git", copy.path, marks)
        (copy.path / "new").mkdir()
        (copy.path / "new" / f"{number}.txt").write_text(f"{number}\n")
        await patch_of(copy)
        await copy.remove()
        assert mine.left() == ["git", "patch.diff", "patch.json"]
        texts[number] = (await KeptPatch.read(mine.run)).patch.text

    async with anyio.create_task_group() as tasks:
        for number in range(RUNS):
            tasks.start_soon(run, number)
    assert all(f"new/{number}.txt".encode() in text for number, text in texts.items())
    assert len(texts) == RUNS
    assert fingerprint(place.project) == before
    assert left_marks(marks) == []


@pytest.mark.parametrize(
    "lie", ["replace", "graft", "alternates", "worktree", "file", "commondir", "index"]
)
async def test_what_a_copys_repository_says_does_not_count(place: Place, tmp_path: Path, lie: str) -> None:
    copy = await place.copy()
    inside = copy.path / ".git"
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", str(place.project), str(other))
    (other / "app.py").write_text("LIES\n")
    git(other, "commit", "-qam", "lies")
    if lie == "replace":
        blobs = [git(one, "rev-parse", "HEAD:app.py").strip() for one in (copy.path, other)]
        (inside / "refs" / "replace").mkdir(parents=True)
        (inside / "refs" / "replace" / blobs[0]).write_text(f"{blobs[1]}\n")
        (inside / "objects" / "info" / "alternates").write_text(f"{other}/.git/objects\n")
    elif lie == "graft":
        (inside / "info" / "grafts").write_text(f"{copy.commit}\n")
    elif lie == "alternates":
        (inside / "objects" / "info" / "alternates").write_text("/nowhere\n")
    elif lie == "worktree":
        git(copy.path, "config", "core.worktree", str(other))
    elif lie == "file":
        inside.rename(tmp_path / "aside")
        inside.write_text(f"gitdir: {other}/.git\n")
    elif lie == "commondir":
        (inside / "commondir").write_text(f"{other}/.git\n")
    else:
        git(copy.path, "rm", "-q", "--cached", "app.py")
    patch = await patch_of(copy)
    assert [one.path for one in patch.files] == ["app.py"]
    assert b"LIES" not in patch.text
    await bring(place.run, place.project, "made")
    await copy.remove()


async def test_odd_entries_spoil_no_patch_and_hold_nothing_up(place: Place) -> None:
    copy = await place.copy()
    top = os.fsencode(copy.path)
    names = [b":(top)x", b":!y", b"-z", b'"q"', b"a\nb", b"\xff\xfe", b"a\\b", b" ", b"*?[", b"x" * 255]
    for name in names:
        with open(os.path.join(top, name), "wb") as file:  # noqa: PTH118
            file.write(b"text\n")
    for hidden in (".GIT", "git~1", ".git ", ".g\u200cit"):
        (copy.path / hidden).mkdir()
        (copy.path / hidden / "config").write_text("[core]\n")
    os.mkfifo(copy.path / "pipe")
    os.mkfifo(copy.path / "app.py.fifo")
    (copy.path / "sub").mkdir()
    os.mkfifo(copy.path / "sub" / ".gitignore")
    (copy.path / "sub" / "kept").write_text("text\n")
    (copy.path / ".gitmodules").symlink_to("/etc/passwd")
    (copy.path / "loop").symlink_to("loop")
    with (copy.path / "huge").open("wb") as huge:
        huge.truncate(2**40)
    (copy.path / "locked").mkdir()
    (copy.path / "locked" / "file").write_text("text\n")
    (copy.path / "locked" / "file").chmod(0)
    (copy.path / "locked").chmod(0)
    deep = copy.path / "deep"
    for _ in range(200):
        deep.mkdir()
        deep = deep / "d"
    patch = await copy.patch(["**"])
    paths = {os.fsencode(one.path) for one in patch.files}
    assert paths >= {*names, b"sub/kept", b"loop", b"locked/file"}
    why = {one.path: one.why for one in patch.left_out}
    assert why["huge"] == "it is larger than 128 MiB"
    assert why["pipe"] == "it is not a file"
    assert why[".gitmodules"] == "git cannot hold it"
    assert {".GIT", "git~1", ".git ", ".g\u200cit"} <= set(why)
    assert any(reason == "more than 128 folders deep" for reason in why.values())
    await copy.keep(patch)
    await copy.remove()
    kept = await KeptPatch.read(place.run)
    await kept.branch("made", "Odd", "0198", environment=ENVIRONMENT, when=WHEN)
    assert git(place.project, "fsck", "--strict") == ""
    assert stat.S_ISREG((place.project / "app.py").lstat().st_mode)


async def test_what_a_link_leads_to_is_never_in_a_patch(place: Place, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("SECRET\n")
    (place.project / "folder").mkdir()
    (place.project / "folder" / "a").write_text("a\n")
    place.commit()
    copy = await place.copy()
    (copy.path / "app.py").unlink()
    (copy.path / "app.py").symlink_to(secret / "key")
    (copy.path / "folder" / "a").unlink()
    (copy.path / "folder").rmdir()
    (copy.path / "folder").symlink_to(secret)
    patch = await copy.patch(["**"])
    assert b"SECRET" not in patch.text
    assert {(one.path, one.kind) for one in patch.files} == {
        ("app.py", "changed"),
        ("folder", "added"),
        ("folder/a", "deleted"),
    }
    await copy.remove()
    assert (secret / "key").read_text() == "SECRET\n"
