"""What a run's copy holds, what its patch says, and that nothing of it stays."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from contained import git
from repository_place import Place, files
from repository_place import place as place

from meshclaw.errors import ProblemsError, WorkError
from meshclaw.isolation import KeptPatch, LeftOut, WorkCopy, copy_tree, remove_tree
from meshclaw.workspace import RefusedError


async def test_a_copy_holds_what_head_holds(place: Place) -> None:
    place.write(**{"app.py": "changed\n", "new.txt": "new\n"})
    copy = await place.copy()
    assert files(copy.path) == [".gitignore", "app.py"]
    assert (copy.path / "app.py").read_text() == "one\ntwo\nthree\n"
    assert git(copy.path, "status", "--porcelain") == ""
    assert git(copy.path, "rev-parse", "HEAD").strip() == copy.commit


async def test_a_copy_holds_what_the_work_tree_holds_when_asked(place: Place) -> None:
    place.write(**{"app.py": "changed\n", "new.txt": "new\n", "left.pyc": "ignored"})
    (place.project / ".gitignore").unlink()
    (place.project / ".git" / "info" / "exclude").write_text("*.pyc\n")
    copy = await place.copy(dirty=True)
    assert files(copy.path) == ["app.py", "new.txt"]
    assert (copy.path / "app.py").read_text() == "changed\n"
    assert (await copy.patch(["**"])).text == b""


async def test_the_patch_is_what_git_applies(place: Place) -> None:
    (place.project / "old.bin").write_bytes(b"\0old" * 50)
    (place.project / "run.sh").write_text("true\n")
    (place.project / "gone").write_text("x\n")
    place.commit()
    copy = await place.copy()
    odd = os.fsdecode(b'odd "name"\n\xff \xc3\xa9')
    (copy.path / odd).write_text("a\r\nb")
    (copy.path / "empty").touch()
    (copy.path / "old.bin").write_bytes(b"\0new" * 50)
    (copy.path / "run.sh").chmod(0o755)
    (copy.path / "gone").unlink()
    (copy.path / "link").symlink_to("/etc/passwd")
    patch = await copy.patch(["**"])
    (place.run / "p").write_bytes(patch.text)
    git(place.project, "apply", "--index", str(place.run / "p"))
    assert files(place.project) == files(copy.path)
    assert (place.project / odd).read_bytes() == b"a\r\nb"
    assert (place.project / "old.bin").read_bytes() == b"\0new" * 50
    assert os.access(place.project / "run.sh", os.X_OK)
    assert str((place.project / "link").readlink()) == "/etc/passwd"
    assert b"root:" not in patch.text
    kinds = {one.path: one.kind for one in patch.files}
    assert kinds["gone"] == "deleted"
    assert kinds["old.bin"] == "changed"
    assert kinds[odd] == "added"


async def test_the_patch_holds_what_the_task_may_write(place: Place) -> None:
    copy = await place.copy()
    for name in ("src/ok.py", "src/x.pyc", "cache/a.pyc", "other.txt", "tasks/new.yaml", "reports/r.md"):
        (copy.path / name).parent.mkdir(exist_ok=True)
        (copy.path / name).write_text("text\n")
    patch = await copy.patch(["src/**", "reports/**", "tasks*/**"])
    assert [one.path for one in patch.files] == ["reports/r.md", "src/ok.py"]
    assert patch.lines == 2
    assert patch.left_out == (
        LeftOut("cache/a.pyc", "git ignores it"),
        LeftOut("other.txt", "allow.write does not name it"),
        LeftOut("src/x.pyc", "git ignores it"),
        LeftOut("tasks/new.yaml", "allow.write does not name it"),
    )
    everything = await copy.patch(["**"])
    assert LeftOut("reports", "git ignores it") in everything.left_out


async def test_a_copy_is_found_again_and_leaves_only_its_patch(place: Place) -> None:
    copy = await place.copy()
    (copy.path / "app.py").write_text("one\nTWO\nthree\n")
    again = await WorkCopy.reopen(place.run, dict(os.environ))
    assert again.commit == copy.commit
    patch = await again.patch(["**"])
    await again.keep(patch)
    await again.remove()
    await again.remove()
    assert place.left() == ["git", "patch.diff", "patch.json"]
    assert (await KeptPatch.read(place.run)).patch == patch
    with pytest.raises(ProblemsError, match="no copy"):
        await WorkCopy.reopen(place.run, dict(os.environ))
    with pytest.raises(WorkError, match="patch already"):
        await place.copy()


async def test_a_run_that_changed_nothing_has_an_empty_patch(place: Place) -> None:
    kept = await place.kept(await place.copy())
    assert kept.patch.text == b""
    assert kept.patch.files == ()
    assert kept.patch.lines == 0
    assert await kept.apply(dict(os.environ)) == ()
    with pytest.raises(WorkError, match="no branch to make"):
        await kept.branch(
            "b", "x", "0198", environment=dict(os.environ), when=datetime(2026, 11, 2, tzinfo=UTC)
        )


async def test_a_copy_that_is_given_up_leaves_nothing(place: Place) -> None:
    copy = await place.copy()
    deep = copy.path
    for _ in range(300):
        deep = deep / "d"
        deep.mkdir()
    (copy.path / "d").chmod(0)
    await copy.remove()
    assert place.left() == []
    with pytest.raises(ProblemsError, match="no patch"):
        await KeptPatch.read(place.run)


async def test_what_is_shared_is_linked_and_never_in_the_patch(place: Place) -> None:
    (place.project / ".venv").mkdir()
    (place.project / ".venv" / "pyvenv.cfg").write_text("home = /usr\n")
    copy = await place.copy(share=(".venv", "node_modules"))
    assert copy.origin.shares == (".venv",)
    assert (copy.path / ".venv" / "pyvenv.cfg").read_text() == "home = /usr\n"
    (copy.path / ".venv").unlink()
    (copy.path / ".venv").write_text("mine")
    assert (await copy.patch(["**"])).files == ()


@pytest.mark.parametrize("name", ["..", "../x", "/etc", ".git", "a/.GIT/b", "*.x", ""])
async def test_only_places_in_the_project_can_be_shared(place: Place, name: str) -> None:
    with pytest.raises(ProblemsError, match="cannot be shared"):
        await place.copy(share=(name,))


async def test_paths_in_the_original_mean_the_copy(place: Place) -> None:
    copy = await place.copy()
    workspace = copy.workspace()
    assert workspace.read_bytes(str(place.project / "app.py")) == b"one\ntwo\nthree\n"
    with pytest.raises(RefusedError):
        workspace.read_bytes(f"{place.project}2/app.py")


async def test_a_project_without_a_repository_or_a_commit_is_a_problem(tmp_path: Path) -> None:
    place = Place(tmp_path / "plain", tmp_path / "run")
    place.project.mkdir()
    place.run.mkdir()
    with pytest.raises(ProblemsError, match="no git repository"):
        await place.copy()
    git(place.project, "init", "-q")
    with pytest.raises(ProblemsError, match="no commit"):
        await place.copy()
    assert place.left() == []


async def test_a_project_below_the_top_has_paths_of_its_own(place: Place) -> None:
    (place.project / "pkg").mkdir()
    (place.project / "pkg" / "a.py").write_text("a\n")
    place.commit()
    inner = Place(place.project / "pkg", place.run)
    copy = await inner.copy()
    assert files(copy.path) == ["a.py"]
    (copy.path / "a.py").write_text("b\n")
    (copy.path.parent / "app.py").write_text("no\n")
    patch = await copy.patch(["**"])
    assert [one.path for one in patch.files] == ["a.py"]
    assert b"+++ b/pkg/a.py" in patch.text
    assert patch.left_out == (LeftOut("../app.py", "it lies outside of the project"),)


async def test_a_plain_copy_follows_no_link(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep" / "empty").mkdir(parents=True)
    (source / "deep" / "run").write_text("x")
    (source / "deep" / "run").chmod(0o755)
    (source / "link").symlink_to("/etc")
    os.mkfifo(source / "pipe")
    (source / "skipped").mkdir()
    done = await copy_tree(source, tmp_path / "target", skip={"skipped"})
    assert done.left_out == ("pipe",)
    assert files(tmp_path / "target") == ["deep/run", "link"]
    assert str((tmp_path / "target" / "link").readlink()) == "/etc"
    assert os.access(tmp_path / "target" / "deep" / "run", os.X_OK)
    with pytest.raises(WorkError, match="more than 0 bytes"):
        await copy_tree(source, tmp_path / "other", max_bytes=0)
    assert not (tmp_path / "other").exists()


def test_what_an_interrupted_removal_left_goes_with_the_next(tmp_path: Path) -> None:
    left, tree = tmp_path / ".tree.removing", tmp_path / "tree"
    for folder in (left / "0" / "in", left / "7" / "0", tree / "0" / "1", tree / "1" / "0", tree / "8"):
        folder.mkdir(parents=True)
        (folder / "f").touch()
    remove_tree(tree)
    assert list(tmp_path.iterdir()) == []


def test_removing_many_folders_lists_each_but_once(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / "tree" / str(number)).mkdir(parents=True)
    listed: list[str] = []

    def count(_frame: object, event: str, called: object) -> None:
        if event == "c_call" and getattr(called, "__name__", "") == "listdir":
            listed.append(event)

    sys.setprofile(count)
    try:
        remove_tree(tmp_path / "tree")
    finally:
        sys.setprofile(None)
    assert 100 < len(listed) < 110
