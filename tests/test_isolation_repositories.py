"""Copies of repositories of every kind: what they hold, and that a patch fits back in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from contained import git
from repository_place import Place, files, fingerprint
from repository_place import place as place

from meshclaw.errors import WorkError
from meshclaw.isolation import WorkCopy

ENVIRONMENT = dict(os.environ)
BASE = [".gitignore", "app.py"]


async def round_trip(place: Place, *, dirty: bool = False) -> WorkCopy:
    """Makes a copy, changes a file, applies the patch; the work tree gets exactly that."""
    before = fingerprint(place.project)
    copy = await place.copy(dirty=dirty)
    assert (await copy.patch(["**"])).text == b""
    with (copy.path / "app.py").open("ab") as file:
        file.write(b"four\n")
    patch = await copy.patch(["**"])
    assert [(one.path, one.added, one.removed) for one in patch.files] == [("app.py", 1, 0)]
    assert fingerprint(place.project) == before
    await copy.keep(patch)
    return copy


async def finish(place: Place, copy: WorkCopy) -> None:
    await copy.remove()
    kept = await place.read()
    assert await kept.apply(ENVIRONMENT) == ("app.py",)
    assert (place.project / "app.py").read_bytes().endswith(b"four\n")


async def test_a_linked_worktree(place: Place, tmp_path: Path) -> None:
    git(place.project, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    linked = Place(tmp_path / "side", place.run)
    copy = await round_trip(linked)
    assert git(copy.path, "branch", "--show-current") == "side\n"
    await finish(linked, copy)


async def test_a_detached_head_and_tags(place: Place) -> None:
    git(place.project, "tag", "-a", "v1", "-m", "one")
    git(place.project, "checkout", "-q", "--detach")
    git(place.project, "stash", "list")
    git(place.project, "remote", "add", "origin", "https://user:password@example.com/x")
    git(place.project, "update-ref", "refs/remotes/origin/main", "HEAD")
    copy = await round_trip(place)
    assert git(copy.path, "describe", "--tags") == "v1\n"
    assert git(copy.path, "branch", "--show-current") == ""
    assert git(copy.path, "for-each-ref", "--format=%(refname)") == "refs/tags/v1\n"
    assert "password" not in (copy.path / ".git" / "config").read_text()
    await finish(place, copy)


async def test_submodules_are_empty_folders(place: Place, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    git(tmp_path, "clone", "-q", str(place.project), str(inner))
    git(place.project, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "lib")
    place.commit()
    for dirty in (False, True):
        copy = await place.copy(dirty=dirty)
        assert (copy.path / "lib").is_dir()
        assert files(copy.path) == [".gitignore", ".gitmodules", "app.py"]
        (copy.path / "lib" / "planted").write_text("x")
        patch = await copy.patch(["**"])
        assert patch.files == ()
        assert [one.path for one in patch.left_out] == ["lib"]
        await copy.remove()


async def test_a_shallow_clone_and_one_that_borrows(place: Place, tmp_path: Path) -> None:
    place.write(**{"app.py": "one\ntwo\nthree\n3\n"})
    place.commit()
    for name, options in {"shallow": ["--depth=1", "--no-local"], "borrows": ["--shared"]}.items():
        clone = Place(tmp_path / name, tmp_path / f"run-{name}")
        clone.run.mkdir()
        git(tmp_path, "clone", "-q", *options, str(place.project), str(clone.project))
        copy = await round_trip(clone)
        count = git(copy.path, "rev-list", "--count", "HEAD")
        assert count == ("1\n" if name == "shallow" else "2\n")
        assert git(copy.path, "status", "--porcelain") == " M app.py\n"
        await finish(clone, copy)


async def test_a_partial_clone_says_what_is_missing(place: Place, tmp_path: Path) -> None:
    git(place.project, "config", "uploadpack.allowFilter", "true")
    clone = Place(tmp_path / "partial", place.run)
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{place.project}", str(clone.project))
    copy = await round_trip(clone)
    await copy.remove()
    (place.run / "patch.json").unlink()
    bare = Place(tmp_path / "bare", tmp_path / "other-run")
    bare.run.mkdir()
    options = ("--filter=blob:none", "--no-checkout")
    git(tmp_path, "clone", "-q", *options, f"file://{place.project}", str(bare.project))
    with pytest.raises(WorkError, match="does not hold"):
        await bare.copy()
    assert bare.left() == []


async def test_a_repository_with_sha256(tmp_path: Path) -> None:
    place = Place(tmp_path / "project", tmp_path / "run")
    for folder in (place.project, place.run):
        folder.mkdir()
    git(place.project, "init", "-q", "--object-format=sha256")
    place.write(**{"app.py": "one\n"})
    place.commit()
    copy = await round_trip(place)
    await finish(place, copy)


@pytest.mark.parametrize("setting", ["core.splitIndex", "index.sparse", "core.untrackedCache"])
async def test_other_forms_of_the_index(place: Place, setting: str) -> None:
    (place.project / "folder").mkdir()
    place.write(**{"folder/inner": "x\n", "top": "x\n"})
    place.commit()
    git(place.project, "config", setting, "true")
    if setting == "index.sparse":
        git(place.project, "sparse-checkout", "set", "--cone", "--sparse-index", "nothing")
    git(place.project, "update-index", "--force-write-index")
    git(place.project, "status")
    for dirty in (False, True):
        copy = await place.copy(dirty=dirty)
        assert files(copy.path) == [*BASE, "folder/inner", "top"]
        await copy.remove()
    await finish(place, await round_trip(place))


async def test_every_state_of_a_file_that_is_not_committed(place: Place) -> None:
    names = ("changed", "staged", "both", "deleted", "unstaged", "typed", "program", "folder")
    place.write(**dict.fromkeys(names, "old\n"))
    place.commit()
    project = place.project
    place.write(staged="new\n", both="staged\n", added="new\n")
    git(project, "add", "staged", "both", "added")
    git(project, "rm", "-q", "--cached", "unstaged")
    place.write(changed="new\n", both="work tree\n", intended="new\n", untracked="new\n", **{"x.pyc": "no"})
    git(project, "add", "--intent-to-add", "intended")
    (project / "deleted").unlink()
    (project / "typed").unlink()
    (project / "typed").symlink_to("changed")
    (project / "program").chmod(0o755)
    (project / "folder").unlink()
    (project / "folder").mkdir()
    (project / "folder" / "inner").write_text("new\n")
    os.mkfifo(project / "pipe")
    copy = await place.copy(dirty=True)
    expected = [name for name in files(project) if name not in ("pipe", "x.pyc")]
    assert files(copy.path) == expected
    for name in expected:
        assert (copy.path / name).read_bytes() == (project / name).read_bytes(), name
    assert (copy.path / "typed").is_symlink()
    assert os.access(copy.path / "program", os.X_OK)
    await copy.remove()
    (project / "pipe").unlink()
    await finish(place, await round_trip(place, dirty=True))


async def test_a_merge_with_conflicts_is_taken_as_it_stands(place: Place) -> None:
    git(place.project, "checkout", "-q", "-b", "other")
    place.write(**{"app.py": "one\n2\nthree\n"})
    place.commit()
    git(place.project, "checkout", "-q", "trunk")
    place.write(**{"app.py": "one\nII\nthree\n"})
    place.commit()
    with pytest.raises(Exception, match="merge"):
        git(place.project, "merge", "other")
    copy = await place.copy(dirty=True)
    assert "<<<<<<<" in (copy.path / "app.py").read_text()
    await copy.remove()
    copy = await place.copy()
    assert (copy.path / "app.py").read_text() == "one\nII\nthree\n"
    await copy.remove()


async def test_contents_are_those_of_the_work_tree_whatever_attributes_say(place: Place) -> None:
    place.write(
        **{
            ".gitattributes": "*.bat eol=crlf\n*.big filter=lfs\n*.id ident\n",
            "run.bat": "one\r\n",
            "model.big": "version of a pointer\n",
            "x.id": "$Id$\n",
        }
    )
    place.commit()
    for name in ("run.bat", "model.big", "x.id"):
        (place.project / name).unlink()
    filters = ("smudge=echo the large file", "clean=echo version of a pointer")
    settings = [text for one in filters for text in ("-c", f"filter.lfs.{one}")]
    git(place.project, *settings, "checkout", ".")
    later = (place.project / ".git" / "index").stat().st_mtime + 1
    os.utime(place.project / ".git" / "index", (later, later))
    assert (place.project / "model.big").read_text() == "the large file\n"
    copy = await place.copy()
    for name in ("run.bat", "model.big", "x.id"):
        assert (copy.path / name).read_bytes() == (place.project / name).read_bytes(), name
    assert (copy.path / "run.bat").read_bytes() == b"one\r\n"
    (copy.path / "run.bat").write_bytes(b"one\r\ntwo\r\n")
    kept = await place.kept(copy)
    assert [one.path for one in kept.patch.files] == ["run.bat"]
    await kept.apply(ENVIRONMENT)
    assert (place.project / "run.bat").read_bytes() == b"one\r\ntwo\r\n"


async def test_all_of_the_users_ignore_rules_count(place: Place, home: Path) -> None:
    (home / ".config" / "git").mkdir(parents=True)
    (home / ".config" / "git" / "ignore").write_text("*.mine\n")
    (place.project / ".git" / "info" / "exclude").write_text("*.private\n")
    place.write(**{"a.mine": "x", "b.private": "x", "c.new": "x"})
    copy = await place.copy(dirty=True)
    assert files(copy.path) == [*BASE, "c.new"]
    for name in ("d.mine", "e.private", "f.new"):
        (copy.path / name).write_text("x")
    patch = await copy.patch(["**"])
    assert [one.path for one in patch.files] == ["f.new"]
    git(place.project, "config", "core.excludesFile", "")
    await copy.remove()


async def test_files_that_are_tracked_although_ignored_are_kept(place: Place) -> None:
    place.write(**{"kept.pyc": "x\n"})
    git(place.project, "add", "-f", "kept.pyc")
    place.commit()
    copy = await place.copy()
    (copy.path / "kept.pyc").write_text("y\n")
    assert [one.path for one in (await copy.patch(["**"])).files] == ["kept.pyc"]
