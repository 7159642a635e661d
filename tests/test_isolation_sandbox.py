"""Commands of a run that works in a copy: they see the copy as the project, and what is shared with it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from contained import Bench, git, needs_bubblewrap
from landlock_place import needs_landlock
from repository_place import Place

from meshclaw.isolation import WorkCopy
from meshclaw.sandbox.base import CommandResult, Sandbox
from meshclaw.sandbox.landlock import Landlock
from meshclaw.sandbox.unconfined import Unconfined

SHARE = (".venv", "web/node_modules", "linked")


@pytest.fixture
async def copy(bench: Bench, tmp_path: Path) -> WorkCopy:
    project = bench.project
    (project / "src").mkdir()
    (project / "web").mkdir()
    (project / "src" / "app.py").write_text("first\n")
    (project / "web" / "page").write_text("page\n")
    (project / ".gitignore").write_text(".venv/\nnode_modules/\nlinked/\n")
    git(project, "init", "-q", "-b", "trunk")
    git(project, "add", ".")
    git(project, "commit", "-qm", "first")
    tool = project / ".venv" / "bin" / "tool"
    tool.parent.mkdir(parents=True)
    tool.write_text(f"#!{project}/.venv/bin/sh\necho from the environment\n")
    tool.chmod(0o755)
    (project / ".venv" / "bin" / "sh").symlink_to("/bin/sh")
    (project / "web" / "node_modules" / "lib").mkdir(parents=True)
    (project / "web" / "node_modules" / "lib" / "index.js").write_text("1\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("secret\n")
    (project / "linked").symlink_to(tmp_path / "elsewhere")
    (project / "uncommitted").write_text("mine alone\n")
    run = tmp_path / "run"
    run.mkdir()
    return await WorkCopy.make(project, run, environment=dict(os.environ), share=SHARE)


async def run(bench: Bench, sandbox: Sandbox, copy: WorkCopy, script: str, *write: str) -> CommandResult:
    command = bench.command(script, write)
    confinement = copy.confine(command.confinement)
    command = replace(command, directory=copy.path, workspace=copy.path, confinement=confinement)
    result = await sandbox.execute(command)
    close = getattr(sandbox, "aclose", None)
    if close:
        await close()
    return result


WORKS = """
set -e
.venv/bin/tool
cat web/node_modules/lib/index.js
git log --format=%s
git status --porcelain
echo second >> src/app.py
git -c user.name=A -c user.email=a@b commit -qam second
git log --format=%s -1
"""
EXPECTED = ["from the environment", "1", "first", "second"]


@needs_bubblewrap
async def test_the_copy_is_seen_at_the_projects_path(bench: Bench, copy: WorkCopy) -> None:
    project = bench.project
    result = await run(bench, bench.sandbox(), copy, f"pwd; cd {project}; {WORKS}", "src/**")
    assert result.output.splitlines() == [str(project), *EXPECTED]
    assert (copy.path / "src" / "app.py").read_text() == "first\nsecond\n"
    assert (project / "src" / "app.py").read_text() == "first\n"
    assert git(project, "log", "--all", "--format=%s") == "first\n"
    patch = await copy.patch(["src/**"])
    assert [one.path for one in patch.files] == ["src/app.py"]
    assert patch.left_out == ()


@needs_bubblewrap
async def test_the_original_is_neither_seen_nor_changed(bench: Bench, copy: WorkCopy) -> None:
    objects = copy.folder / "objects"
    script = f"""
    cat uncommitted linked/secret .git/config
    ls {copy.folder} {copy.folder}/git
    for place in .venv .venv/bin web/node_modules web/node_modules/lib {objects} {objects}/pack
    do touch "$place/planted" && echo "PLANTED in $place"
    done
    rm -rf .venv web/node_modules {objects}/??
    ls .venv/bin
    """
    result = await run(bench, bench.sandbox(), copy, script, "**")
    assert "mine alone" not in result.output
    assert "secret\n" not in result.output
    assert "PLANTED" not in result.output
    assert "tool" in result.output.splitlines()
    assert not list(bench.project.rglob("planted"))
    assert git(bench.project, "fsck") == ""
    free = await run(bench, Unconfined(), copy, script, "**")
    assert "PLANTED in .venv" in free.output, "the probe itself does not work"


@needs_bubblewrap
async def test_a_linked_worktree_has_its_history(bench: Bench, copy: WorkCopy, tmp_path: Path) -> None:
    git(bench.project, "worktree", "add", "-q", str(tmp_path / "other"), "-b", "other")
    place = Place(tmp_path / "other", tmp_path / "second")
    place.run.mkdir()
    linked = await place.copy()
    bench = replace(bench, project=place.project)
    result = await run(
        bench, bench.sandbox(), linked, "pwd; git log --format=%s; git branch --show-current"
    )
    assert result.output.splitlines() == [str(place.project), "first", "other"]


@needs_landlock
async def test_landlock_runs_it_where_it_lies(bench: Bench, copy: WorkCopy) -> None:
    sandbox = Landlock(bench.machine, bench.private)
    result = await run(bench, sandbox, copy, WORKS, "src/**")
    assert result.output.splitlines() == EXPECTED
    script = (
        f"cat linked/secret; cat {bench.project}/uncommitted; touch .venv/planted {copy.folder}/planted"
    )
    held = await run(bench, Landlock(bench.machine, bench.private), copy, script, "src/**")
    assert "mine alone" not in held.output
    assert "secret\n" not in held.output
    assert not list(bench.project.rglob("planted"))


async def test_without_a_sandbox_it_works_where_it_lies(bench: Bench, copy: WorkCopy) -> None:
    result = await run(bench, Unconfined(), copy, f"pwd; {WORKS}", "src/**")
    assert result.output.splitlines() == [str(copy.path), *EXPECTED]


@needs_bubblewrap
async def test_a_copy_that_was_mounted_on_goes_on_without_mounts(bench: Bench, copy: WorkCopy) -> None:
    await run(bench, bench.sandbox(), copy, "true", "src/**")
    again = await WorkCopy.reopen(copy.folder, dict(os.environ))
    result = await run(bench, Unconfined(), again, "cat web/node_modules/lib/index.js")
    assert result.output == "1\n"
