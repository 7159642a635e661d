"""A kept patch comes into the work tree whole or not at all, or onto a branch of its own."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from contained import git
from repository_place import Place, files, fingerprint
from repository_place import place as place

from meshclaw.errors import ProblemsError, WorkError
from meshclaw.isolation import ConflictError, KeptPatch

ENVIRONMENT = dict(os.environ)
TEN = "".join(f"line {number}\n" for number in range(1, 11))


async def change(place: Place, *write: str, **texts: str) -> KeptPatch:
    """A patch that puts `texts` into files."""
    copy = await place.copy()
    for name, text in texts.items():
        (copy.path / name).parent.mkdir(parents=True, exist_ok=True)
        (copy.path / name).write_text(text)
    return await place.kept(copy, *write)


async def test_a_patch_comes_into_a_work_tree_that_has_moved_on(place: Place) -> None:
    place.write(**{"a.txt": TEN})
    place.commit()
    kept = await change(place, **{"a.txt": TEN.replace("line 2", "LINE 2"), "new/b.txt": "b\n"})
    place.write(**{"a.txt": TEN.replace("line 9", "line nine"), "other.txt": "mine\n"})
    place.commit()
    assert await kept.apply(ENVIRONMENT, check=True) == ("a.txt", "new/b.txt")
    assert not (place.project / "new").exists()
    assert await kept.apply(ENVIRONMENT) == ("a.txt", "new/b.txt")
    assert (place.project / "a.txt").read_text() == TEN.replace("line 2", "LINE 2").replace(
        "line 9", "line nine"
    )
    assert await kept.apply(ENVIRONMENT) == (), "what is there already stays"


async def test_a_conflict_is_named_by_its_line_and_nothing_is_changed(place: Place) -> None:
    place.write(**{"a.txt": TEN, "gone.txt": "x\n"})
    place.commit()
    kept = await change(
        place,
        **{"a.txt": TEN.replace("line 8", "theirs"), "b.txt": "b\n", "c.txt": "c\n", "gone.txt": "y\n"},
    )
    place.write(**{"a.txt": "first\n" + TEN.replace("line 8", "ours"), "c.txt": "another\n"})
    (place.project / "gone.txt").unlink()
    before = fingerprint(place.project)
    for check in (True, False):
        with pytest.raises(ConflictError) as raised:
            await kept.apply(ENVIRONMENT, check=check)
        assert [str(one) for one in raised.value.conflicts] == [
            "a.txt:9: it was changed on both sides",
            "c.txt: it is there already, and is another",
            "gone.txt: it was removed",
        ]
    assert fingerprint(place.project) == before


async def test_patches_that_come_side_by_side_are_all_there_in_the_end(place: Place) -> None:
    lines = [f"line {number}\n\n\n" for number in range(8)]
    place.write(**{"a.txt": "".join(lines)})
    place.commit()
    patches = []
    for number, line in enumerate(lines):
        mine = Place(place.project, place.run.parent / f"run-{number}")
        mine.run.mkdir()
        patches.append(await change(mine, **{"a.txt": "".join(lines).replace(line, line.upper())}))
    async with anyio.create_task_group() as group:
        for kept in patches:
            group.start_soon(kept.apply, ENVIRONMENT)
    assert (place.project / "a.txt").read_text() == "".join(lines).upper()


@pytest.mark.parametrize("always", [False, True])
async def test_a_file_that_is_saved_meanwhile_is_looked_at_again(
    place: Place, tmp_path: Path, always: bool
) -> None:
    """A git of our own stands for an editor: it saves the file while the changes are worked out."""
    place.write(**{"a.txt": TEN})
    place.commit()
    kept = await change(place, **{"a.txt": TEN.replace("line 2", "LINE 2")})
    target = place.project / "a.txt"
    target.write_text(TEN.replace("line 9", "nine"))
    (tmp_path / "bin").mkdir()
    editor = tmp_path / "bin" / "git"
    once = "true" if always else f"mkdir {tmp_path}/saved 2>/dev/null"
    editor.write_text(
        f'#!/bin/sh\ncase "$*" in *merge-file*) {once} && echo more >> {target};; esac\n'
        f'exec {shutil.which("git")} "$@"\n'
    )
    editor.chmod(0o755)
    environment = ENVIRONMENT | {"PATH": f"{editor.parent}:{ENVIRONMENT['PATH']}"}
    if always:
        with pytest.raises(WorkError, match=r"a\.txt was changed in the meantime, so nothing was changed"):
            await kept.apply(environment)
        assert "LINE 2" not in target.read_text()
    else:
        assert await kept.apply(environment) == ("a.txt",)
        expected = TEN.replace("line 9", "nine").replace("line 2", "LINE 2") + "more\n"
        assert target.read_text() == expected


async def test_files_become_folders_links_and_programs(place: Place) -> None:
    (place.project / "folder").mkdir()
    place.write(**{"folder/a": "a\n", "file": "f\n", "plain": "p\n", "link": "l\n", "bin": "\0"})
    place.commit()
    copy = await place.copy()
    (copy.path / "folder" / "a").unlink()
    (copy.path / "folder").rmdir()
    (copy.path / "folder").write_text("now a file\n")
    (copy.path / "file").unlink()
    (copy.path / "file").mkdir()
    (copy.path / "file" / "b").write_text("b\n")
    (copy.path / "plain").chmod(0o755)
    (copy.path / "link").unlink()
    (copy.path / "link").symlink_to("plain")
    (copy.path / "bin").write_bytes(b"\0\xff")
    kept = await place.kept(copy)
    place.write(plain="changed since\n")
    await kept.apply(ENVIRONMENT)
    assert files(place.project) == [".gitignore", "app.py", "bin", "file/b", "folder", "link", "plain"]
    assert os.access(place.project / "plain", os.X_OK)
    assert (place.project / "link").read_text() == "changed since\n"
    assert (place.project / "bin").read_bytes() == b"\0\xff"


async def test_line_ends_of_the_work_tree_are_kept(place: Place) -> None:
    kept = await change(place, **{"app.py": "one\n2\nthree\n"})
    (place.project / "app.py").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    await kept.apply(ENVIRONMENT)
    assert (place.project / "app.py").read_bytes() == b"one\r\n2\r\nthree\r\n"


async def test_nothing_is_written_through_a_link(place: Place, tmp_path: Path) -> None:
    kept = await change(place, **{"src/a.txt": "a\n", "b.txt": "b\n"})
    outside = tmp_path / "outside"
    outside.mkdir()
    (place.project / "src").symlink_to(outside)
    with pytest.raises(ConflictError, match=r"src/a\.txt"):
        await kept.apply(ENVIRONMENT)
    assert list(outside.iterdir()) == []
    assert not (place.project / "b.txt").exists()


async def test_a_link_that_leads_out_is_not_made(place: Place) -> None:
    copy = await place.copy()
    (copy.path / "app.py").write_text("changed\n")
    (copy.path / "zz").symlink_to("../../etc")
    kept = await place.kept(copy)
    before = fingerprint(place.project)
    with pytest.raises(ConflictError, match="leads out"):
        await kept.apply(ENVIRONMENT)
    assert fingerprint(place.project) == before


async def test_what_cannot_be_written_undoes_the_rest(place: Place) -> None:
    place.write(**{"z.txt": "z\n"})
    place.commit()
    kept = await change(place, **{"a.txt": "a\n", "app.py": "changed\n", "z.txt": "changed\n"})
    os.link(place.project / "z.txt", place.run / "second")
    before = fingerprint(place.project)
    with pytest.raises(WorkError, match=r"z.txt: has another hard link, .* nothing was changed"):
        await kept.apply(ENVIRONMENT)
    assert fingerprint(place.project) == before


async def test_a_branch_holds_one_commit_and_nothing_else_changes(place: Place) -> None:
    hook = place.project / ".git" / "hooks" / "reference-transaction"
    hook.write_text(f"#!/bin/sh\ntouch {place.run}/hooked\n")
    hook.chmod(0o755)
    git(place.project, "config", "user.name", "Ada")
    git(place.project, "config", "user.email", "ada@example.com")
    kept = await change(place, **{"app.py": "one\n2\nthree\n", "new/x": "x\n"})
    place.write(**{"app.py": "moved on\n"})
    head = place.commit()
    git(place.project, "branch", "taken")
    place.write(**{"app.py": "not committed\n"})
    before = fingerprint(place.project)
    (place.run / "hooked").unlink()
    when = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)

    async def branch(name: str) -> str:
        return await kept.branch(name, "Say 2\n", "0198", environment=ENVIRONMENT, when=when)

    oid = await branch("meshclaw/0198")
    after = fingerprint(place.project)
    new = {name for name in after if name not in before}
    assert all(name.startswith((".git/objects/", ".git/refs/", ".git/logs/refs/heads/")) for name in new)
    assert {name: after[name] for name in before} == before
    assert not (place.run / "hooked").exists()
    assert git(place.project, "rev-parse", "HEAD").strip() == head
    shown = git(place.project, "log", "-1", "--format=%an <%ae> %aI%n%B", "meshclaw/0198")
    assert shown == "Ada <ada@example.com> 2026-11-02T08:00:00+00:00\nSay 2\n\nMeshClaw-Run: 0198\n\n"
    assert git(place.project, "rev-parse", f"{oid}^").strip() == kept.origin.repository.commit
    assert git(place.project, "diff", "--name-only", f"{oid}^", oid) == "app.py\nnew/x\n"
    assert git(place.project, "fsck", "--strict") == ""
    for name, why in (
        ("taken", "already"),
        ("a..b", "no branch"),
        ("-x", "no branch"),
        ("@{-1}", "no branch"),
    ):
        with pytest.raises(ProblemsError, match=why):
            await branch(name)


async def make_branch(kept: KeptPatch, name: str, run: str = "0198", reused: str | None = None) -> str:
    when = datetime(2026, 11, 2, tzinfo=UTC)
    return await kept.branch(name, "Change", run, environment=ENVIRONMENT, when=when, reused=reused)


async def test_a_branch_that_holds_the_runs_own_commit_stays_as_it_is(place: Place) -> None:
    kept = await change(place, **{"app.py": "one\n2\nthree\n"})
    oid = await make_branch(kept, "b")
    assert await make_branch(kept, "b") == oid
    assert await make_branch(kept, "b", "0199", reused="0198") == oid
    git(place.project, "checkout", "-q", "b")
    place.write(**{"more.txt": "more\n"})
    tip = place.commit()
    assert await make_branch(kept, "b") == oid, "and has been gone on with"
    assert git(place.project, "rev-parse", "b").strip() == tip
    with pytest.raises(ProblemsError, match=r"already - delete it \(`git branch -D b`\)"):
        await make_branch(kept, "b", "0199")
    git(place.project, "commit", "-q", "--amend", "-m", "MeshClaw-Run: 0199")
    with pytest.raises(ProblemsError, match="already"):
        await make_branch(kept, "b", "0199")


async def test_uncommitted_work_goes_onto_the_branch_before_the_runs_own(place: Place) -> None:
    files = {"a.txt": TEN, "gone.txt": "x\n", "dos.txt": "a\nb\n", "same.txt": "s\n", "staged.txt": "1\n"}
    place.write(**files)
    place.commit()
    place.write(**{"a.txt": TEN.replace("line 1\n", "mine\n"), "new.txt": "n\n", "staged.txt": "2\n"})
    (place.project / "dos.txt").write_bytes(b"a\r\nb\r\n")
    (place.project / "gone.txt").unlink()
    git(place.project, "add", "staged.txt")
    before = fingerprint(place.project)
    copy = await place.copy(dirty=True)
    (copy.path / "a.txt").write_text((copy.path / "a.txt").read_text().replace("mine", "mine, mended"))
    (copy.path / "new.txt").write_text("n\nmore\n")
    (copy.path / "gone.txt").write_text("back\n")
    await copy.keep(await copy.patch(["**"]), for_branch=True)
    await copy.remove()
    kept = await place.read()
    assert place.left() == ["git", "patch.diff", "patch.json"]
    oid = await make_branch(kept, "b")
    assert await make_branch(kept, "b") == oid
    subjects = git(place.project, "log", "--format=%s", "HEAD..b").splitlines()
    assert subjects == ["Change", "Work in progress, as it was when run 0198 began"]
    assert git(place.project, "diff", "--name-status", "HEAD", "b~1").splitlines() == [
        "M\ta.txt",
        "D\tgone.txt",
        "A\tnew.txt",
        "M\tstaged.txt",
    ]
    assert git(place.project, "diff", "--name-only", "b~1", "b").split() == ["a.txt", "gone.txt", "new.txt"]
    assert git(place.project, "show", "b:a.txt") == TEN.replace("line 1\n", "mine, mended\n")
    assert "MeshClaw-Run" not in git(place.project, "log", "-1", "--format=%B", "b~1")
    after = fingerprint(place.project)
    assert {name: after[name] for name in before} == before
    assert git(place.project, "fsck", "--strict") == ""


async def test_a_branch_from_a_clean_work_tree_has_one_commit(place: Place) -> None:
    copy = await place.copy(dirty=True)
    (copy.path / "app.py").write_text("mended\n")
    await copy.keep(await copy.patch(["**"]), for_branch=True)
    oid = await make_branch(await place.read(), "b")
    assert git(place.project, "rev-list", "--count", f"HEAD..{oid}").strip() == "1"


async def test_a_patch_outlives_the_repository_it_came_from(place: Place, tmp_path: Path) -> None:
    kept = await change(place, **{"app.py": "one\n2\nthree\n"})
    other = tmp_path / "other"
    other.mkdir()
    (other / "app.py").write_text("one\ntwo\nthree\n")
    place.project.rename(tmp_path / "moved")
    assert await kept.apply(ENVIRONMENT, project=other) == ("app.py",)
    assert (other / "app.py").read_text() == "one\n2\nthree\n"


async def test_a_project_below_the_top_gets_its_patch_and_its_branch(place: Place) -> None:
    (place.project / "pkg").mkdir()
    place.write(**{"pkg/a.txt": TEN})
    place.commit()
    inner = Place(place.project / "pkg", place.run)
    kept = await change(inner, **{"a.txt": TEN.replace("line 2", "LINE 2"), "b.txt": "b\n"})
    oid = await kept.branch(
        "b", "Change", "0198", environment=ENVIRONMENT, when=datetime(2026, 11, 2, tzinfo=UTC)
    )
    assert git(place.project, "diff", "--name-only", "HEAD", oid) == "pkg/a.txt\npkg/b.txt\n"
    place.write(**{"pkg/a.txt": TEN.replace("line 9", "nine")})
    assert await kept.apply(ENVIRONMENT) == ("a.txt", "b.txt")
    assert (inner.project / "a.txt").read_text() == TEN.replace("line 2", "LINE 2").replace(
        "line 9", "nine"
    )
