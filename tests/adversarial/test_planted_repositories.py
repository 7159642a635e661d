"""Repositories that a command makes, in a folder or of the whole project: a person's git obeys them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from contained import Bench, asked, git, needs_bubblewrap
from landlock_place import Place, needs_landlock, place

from meshclaw.sandbox.base import Confinement, SandboxError
from meshclaw.workspace.repositories import is_repository

__all__ = ["place"]


@pytest.fixture
def tree(bench: Bench) -> Bench:
    (bench.project / "src" / "x").mkdir(parents=True)
    return bench


PLANTED = {
    "a repository": "git init -q {0}; git -C {0} config core.fsmonitor '{1}'",
    "one far down": "mkdir -p {0}/a/b/c/d/e; git init -q {0}/a/b/c/d/e; "
    "git -C {0}/a/b/c/d/e config core.fsmonitor '{1}'",
    "without the name": "git init -q --bare {0}/bare; cd {0}/bare; git config core.bare false; "
    "git config core.worktree .; git config core.fsmonitor '{1}'",
    "behind a file": "git init -q --separate-git-dir {0}/data {0}/work; "
    "git -C {0}/work config core.fsmonitor '{1}'",
    "one in another": "git init -q --bare {0}/bare; git init -q {0}/bare/x; "
    "git -C {0}/bare/x config core.fsmonitor '{1}'",
}
"""Repositories in a folder, and a program that git starts for whoever asks for the status there."""


@needs_bubblewrap
@pytest.mark.parametrize("globs", [("src/**",), ("**",)])
@pytest.mark.parametrize("what", PLANTED)
async def test_a_repository_that_a_command_makes_is_none_outside(
    tree: Bench, tmp_path: Path, what: str, globs: tuple[str, ...]
) -> None:
    mark = tmp_path / "mark"
    git(tree.project, "init", "-q")
    place = "src/new" if globs == ("src/**",) else "made"
    script = f"mkdir -p {place}; {PLANTED[what].format(place, f'touch {mark} #')}"
    result = await tree.contained(script, *globs)
    assert (tree.project / place).is_dir(), result.output
    assert not await asked(tree, place, mark)
    assert all(name.startswith(f"{place}/") for name in result.not_kept)
    assert result.not_kept
    await tree.free(f"rm -rf {place}; {script}")
    assert await asked(tree, place, mark), "the probe itself does not work"


def test_what_git_takes_for_a_repository() -> None:
    assert is_repository(["HEAD", "objects", "refs", "config"])
    assert is_repository(["HEAD", "commondir"])
    assert not is_repository(["HEAD", "objects", "config"])
    assert not is_repository(["objects", "refs", "config"])


@needs_bubblewrap
async def test_what_was_put_aside_is_still_there(tree: Bench) -> None:
    script = "git init -q src/x; echo mine > src/x/.git/mine"
    result = await tree.contained(script, "src/**")
    assert result.not_kept == ("src/x/.git",)
    assert (tree.project / "src" / "x" / ".git.not-kept" / "mine").read_text() == "mine\n"
    again = await tree.contained(script, "src/**")
    assert again.not_kept == ("src/x/.git",)
    assert not (tree.project / "src" / "x" / ".git").exists()


@needs_landlock
async def test_under_landlock_a_repository_is_put_aside_too(place: Place) -> None:
    git_init = "git init -q out/r && git init -q --bare out/s && echo made"
    result = await place.run(git_init)
    assert "made" in result.output
    assert {"out/r/.git", "out/s/HEAD"} <= set(result.not_kept)
    assert not (place.project / "out" / "r" / ".git").exists()
    assert (await place.run("echo more")).output == "more\n"
    (place.project / "out" / "r" / ".git").mkdir()
    with pytest.raises(SandboxError, match="repository in out/r"):
        await place.run("true")


@needs_bubblewrap
@pytest.mark.parametrize("globs", [("src/**",), ("**",)])
async def test_the_writable_folder_itself_does_not_become_one(
    tree: Bench, tmp_path: Path, globs: tuple[str, ...]
) -> None:
    mark = tmp_path / "mark"
    folder = "src" if globs == ("src/**",) else "."
    script = "git init -q --bare {0}; cd {0}; git config core.bare false; git config core.worktree .; "
    script = script.replace("{0}", folder) + f"git config core.fsmonitor 'touch {mark} #'"
    result = await tree.contained(script, *globs)
    assert "HEAD" in " ".join(result.not_kept)
    assert not await asked(tree, folder, mark)
    await tree.free(script)
    assert await asked(tree, folder, mark), "the probe itself does not work"


REPLACED = """
import os
inode = os.lstat("src/x/.git").st_ino
os.unlink("src/x/.git")
for number in range(2_000):
    os.mkdir(f"src/x/{number}")
    if os.lstat(f"src/x/{number}").st_ino == inode:
        os.rename(f"src/x/{number}", "src/x/.git"); break
else:
    os.mkdir("src/x/.git")
"""


@needs_bubblewrap
async def test_a_repository_with_the_inode_of_a_link_that_was_there(tree: Bench) -> None:
    (tree.project / "src" / "x" / ".git").symlink_to("nowhere")
    script = shlex.join([sys.executable, "-c", REPLACED])
    assert (await tree.contained(script, "src/**")).not_kept == ("src/x/.git",)
    assert not (tree.project / "src" / "x" / ".git").exists()


LOCKED = """
import sys
from pathlib import Path
from meshclaw.sandbox import kernel
from meshclaw.sandbox.planted import put_aside
from meshclaw.sandbox.tree import Found, Tree
root = Path(sys.argv[1])
kernel.give_up_rights()
tree = Tree()
before = tree.look([root / "old"])
assert list(before.locked) == [root / "old"], before
found, moved = put_aside(root, [root / "new"], tree, Found())
print(moved, list(found.locked))
"""


def test_a_folder_that_is_locked_hides_nothing(tmp_path: Path) -> None:
    """As an ordinary account, which root's rights are given up for."""
    for name in ("old", "new/a/b"):
        (tmp_path / name).mkdir(parents=True)
    git(tmp_path / "new" / "a" / "b", "init", "-q")
    for path in (tmp_path / "old", tmp_path / "new" / "a" / "b", tmp_path / "new" / "a"):
        path.chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", LOCKED, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("['new/a/b/.git'] []\n", "")
    (tmp_path / "old").chmod(0o700)


COMMON = """echo 'ref: refs/heads/main' > HEAD; mkdir -p src/objects src/refs/heads; echo src > commondir
printf '[core]\\n\\trepositoryformatversion = 1\\n\\tfsmonitor = "touch {mark}; false"\\n' > src/config
printf '[extensions]\\n\\tworktreeConfig = true\\n' >> src/config
printf '[core]\\n\\tbare = false\\n\\tworktree = {root}\\n' > config.worktree; echo made"""
BARE = """echo 'ref: refs/heads/main' > HEAD; mkdir -p objects refs/heads
git config -f config core.repositoryformatversion 0
git config -f config core.worktree .; git config -f config core.bare false
git config -f config core.fsmonitor 'touch {mark}; false'; echo made"""
WAYS = {
    "a common folder": (COMMON, ("*", "src/**")),
    "a common folder, all open": (COMMON, ("**",)),
    "its own folders": (BARE, ("*", "objects/**", "refs/**")),
    "its own folders, all open": (BARE, ("**",)),
}


@needs_bubblewrap
@pytest.mark.parametrize("above", ["a repository above", "none above"])
@pytest.mark.parametrize("way", WAYS)
async def test_the_project_itself_does_not_become_one(
    bench: Bench, tmp_path: Path, way: str, above: str
) -> None:
    script, globs = WAYS[way]
    if above == "a repository above":
        git(tmp_path, "init", "-q")
    mark = tmp_path / "mark"
    script = script.format(mark=mark, root=bench.project)
    result = await bench.contained(script, *globs)
    assert result.output == "made\n"
    assert "HEAD" in result.not_kept
    assert not (bench.project / "HEAD.not-kept").exists()
    assert not await asked(bench, ".", mark)
    await bench.free(script)
    assert await asked(bench, ".", mark), "the probe itself does not work"


@needs_bubblewrap
async def test_nor_does_it_when_its_parts_come_one_by_one(bench: Bench, tmp_path: Path) -> None:
    """What the globs of a later command are for may be all that was missing."""
    git(tmp_path, "init", "-q")
    mark = tmp_path / "mark"
    script = BARE.format(mark=mark).replace("mkdir -p objects refs/heads", "")
    assert (await bench.contained(script, "*")).not_kept == ()
    assert (await bench.contained("true", "objects/**", "refs/**")).not_kept == ("HEAD",)
    assert not await asked(bench, ".", mark)
    (bench.project / "HEAD.not-kept").rename(bench.project / "HEAD")
    assert await asked(bench, ".", mark), "the probe itself does not work"
    # What a person has made one stays one, as it is.
    script = "echo x > src/f; echo x > new; echo x > config"
    assert (await bench.contained(script, "*", "src/**")).not_kept == ("config",)
    assert (bench.project / "HEAD").exists()
    assert await asked(bench, ".", mark)


@needs_bubblewrap
async def test_folders_with_the_names_of_a_repository_s_parts(bench: Bench) -> None:
    """One that is called HEAD makes no repository."""
    (bench.project / "src").mkdir()
    script = "mkdir -p {0}/HEAD {0}/objects {0}/refs; touch {0}/HEAD/f {0}/objects/f {0}/refs/f; "
    names = ("src/pk", "new")
    result = await bench.contained("".join(map(script.format, names)), "**")
    assert result.not_kept == ()
    assert all((bench.project / name / "HEAD" / "f").exists() for name in names)


@needs_landlock
async def test_under_landlock_the_project_itself_does_not_become_one(place: Place, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = COMMON.format(mark=mark, root=place.project)
    globs = Confinement(("HEAD", "commondir", "config.worktree", "src/**"))
    result = await place.run(script, confinement=globs)
    assert "made" in result.output
    assert result.not_kept == ("HEAD",)
    bench = Bench(place.project, place.home, tmp_path / "private")
    assert not await asked(bench, ".", mark)
    assert (await place.run("echo more", confinement=globs)).not_kept == ()
    await bench.free(script)
    assert await asked(bench, ".", mark), "the probe itself does not work"
