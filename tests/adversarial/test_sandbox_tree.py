"""Ways out through what a command leaves in the tree for the next one: links, moves, repositories."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from contained import PYTHON, Bench, git, needs_bubblewrap
from landlock_place import place

from meshclaw.sandbox.base import Confinement, SandboxError
from meshclaw.sandbox.bubblewrap import find_bubblewrap
from meshclaw.sandbox.parts import Parts, Trees
from meshclaw.sandbox.shadow import WriteRules
from meshclaw.sandbox.tree import Found
from meshclaw.sandbox.turns import turn

__all__ = ["place"]
KEY = "TOP SECRET KEY"


@pytest.fixture
def secret(bench: Bench) -> Bench:
    (bench.home / ".ssh").mkdir(parents=True)
    (bench.home / ".ssh" / "id_rsa").write_text(f"{KEY}\n")
    (bench.project / "src" / "x").mkdir(parents=True)
    return bench


def up(bench: Bench, target: Path) -> str:
    """A relative link that leads from src/x to a place outside of the project."""
    return os.path.relpath(target, bench.project / "src" / "x")


@needs_bubblewrap
@pytest.mark.parametrize("globs", [("src/**",), ("**",), ("src/x/**",)])
@pytest.mark.parametrize("name", [".git", ".GIT"])
async def test_a_link_named_like_a_repository_opens_nothing(
    secret: Bench, globs: tuple[str, ...], name: str
) -> None:
    plant = f"mkdir -p ~/.ssh; ln -s {up(secret, secret.home / '.ssh')} src/x/{name}; echo done"
    read = f"cat ~/.ssh/id_rsa src/x/{name}/id_rsa; echo x >> src/x/{name}/id_rsa"
    sandbox = secret.sandbox()
    first = await sandbox.execute(secret.command(plant, globs))
    second = await sandbox.execute(secret.command(read, globs))
    await sandbox.aclose()
    assert "done" in first.output
    assert first.not_kept == (f"src/x/{name}",)
    assert KEY not in second.output
    assert (secret.home / ".ssh" / "id_rsa").read_text() == f"{KEY}\n"
    await secret.free(plant)
    assert KEY in (await secret.free(read)).output, "the probe itself does not work"
    # What a person has put there stays, and leads nowhere inside.
    assert KEY not in (await secret.contained(read, *globs)).output
    assert (secret.project / "src" / "x" / name).is_symlink()


@needs_bubblewrap
async def test_a_link_that_leads_nowhere_stops_no_later_command(secret: Bench) -> None:
    (secret.project / "src" / "x" / ".git").symlink_to("nowhere")
    assert (await secret.contained("echo fine", "src/**")).output == "fine\n"


@needs_bubblewrap
async def test_a_file_with_another_name_stays_closed_when_its_folder_is_moved(
    secret: Bench, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.write_text("safe\n")
    (secret.project / "src" / "dep").mkdir()
    os.link(store, secret.project / "src" / "dep" / "f")
    sandbox = secret.sandbox()
    for script in ("mv src/dep src/dep2; echo moved", "echo evil > src/dep2/f", "echo evil >> src/dep2/f"):
        await sandbox.execute(secret.command(script, ("src/**",)))
    await sandbox.aclose()
    assert (secret.project / "src" / "dep2").is_dir(), "the probe itself does not work"
    assert store.read_text() == "safe\n"
    await secret.free("echo evil > src/dep2/f")
    assert store.read_text() == "evil\n"


@needs_bubblewrap
async def test_a_link_in_place_of_what_was_kept_is_not_followed(secret: Bench, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.write_text("safe\n")
    (secret.project / "src" / "dep").mkdir()
    os.link(store, secret.project / "src" / "dep" / "f")
    link = up(secret, secret.home / ".ssh" / "id_rsa").removeprefix("../")
    plant = (
        f"mkdir ~/.ssh; touch ~/.ssh/id_rsa; mv src/dep src/dep2; mkdir src/dep; ln -s ../{link} src/dep/f"
    )
    sandbox = secret.sandbox()
    await sandbox.execute(secret.command(plant, ("src/**",)))
    second = await sandbox.execute(secret.command("cat ~/.ssh/id_rsa src/dep/f", ("src/**",)))
    await sandbox.aclose()
    assert KEY not in second.output
    assert KEY in (await secret.free("cat src/dep/f")).output, "the probe itself does not work"


@needs_bubblewrap
@pytest.mark.parametrize("deep", ["src/a/b/c/d/e", "src/node_modules/a", "src/x"])
async def test_a_repository_stays_closed_wherever_it_is_moved(secret: Bench, deep: str) -> None:
    inner, moved = secret.project / deep / "vendor", secret.project / "src" / "y" / "moved"
    moved.parent.mkdir()
    inner.mkdir(parents=True)
    git(inner, "init", "-q")
    script = PYTHON + ' -c \'import os; os.rename("{0}", "src/away")\'; '
    script += "echo evil > {0}/.git/hooks/pre-commit; rm -rf {0}/.git; echo x > {0}/f"
    sandbox = secret.sandbox()
    for folder in (inner, moved):
        if folder == moved:
            inner.rename(moved)
        result = await sandbox.execute(secret.command(script.replace("{0}", str(folder)), ("src/**",)))
        assert result.not_kept == ()
        assert not (folder / ".git" / "hooks" / "pre-commit").exists()
        assert git(folder, "status", "--short") == "?? f\n"
    await sandbox.aclose()
    await secret.free(script.replace("{0}", str(moved)))
    assert (secret.project / "src" / "away").exists(), "the probe itself does not work"


@needs_bubblewrap
@pytest.mark.parametrize("globs", [("src/**",), ("**",)])
async def test_a_masked_file_stays_masked_when_its_folder_is_moved(
    secret: Bench, globs: tuple[str, ...]
) -> None:
    key = secret.project / "src" / "keys" / "deep" / "key"
    key.parent.mkdir(parents=True)
    key.write_text(KEY)
    secret.hidden = (key,)
    move = shlex.join([sys.executable, "-c", "import os; os.rename('src/keys', 'src/moved')"])
    sandbox = secret.sandbox()
    for script in (move, "cat src/*/deep/key; echo looked"):
        result = await sandbox.execute(secret.command(script, globs))
    await sandbox.aclose()
    assert result.output == "looked\n"
    await secret.free(move)
    assert KEY in (await secret.free("cat src/*/deep/key")).output, "the probe itself does not work"


DEEP = """
import os
import sys
for _ in range(40):
    os.mkdir("d" * 200); os.chdir("d" * 200)
os.mkdir(".git")
"""


@needs_bubblewrap
async def test_what_lies_too_deep_to_be_seen_stops_all_commands(secret: Bench) -> None:
    with pytest.raises(SandboxError, match="looked into"):
        await secret.contained(f"cd src; {PYTHON} -c '{DEEP}'", "src/**")
    with pytest.raises(SandboxError, match="looked into"):
        await secret.contained("true", "src/**")
    assert (await secret.contained("echo fine")).output == "fine\n"


def mounted(bench: Bench, arguments: list[str], handed: list[int], script: str) -> None:
    argv = [str(find_bubblewrap()), "--unshare-user", "--ro-bind", "/", "/", *arguments, "sh", "-c", script]
    subprocess.run(argv, pass_fds=handed, check=False, capture_output=True)


@needs_bubblewrap
@pytest.mark.parametrize("by_descriptor", [True, False])
async def test_a_folder_that_is_swapped_before_it_is_mounted(secret: Bench, by_descriptor: bool) -> None:
    """As another run's command can do it that may write the folder above."""
    project, rules = secret.project, WriteRules(("src/x/deep/**",), ())
    parts = Parts(project, project, rules, Trees(), by_descriptor=lambda: by_descriptor)
    found, alone = parts.look()
    arguments = parts.arguments(found, project / "nothing", [])
    (project / "src" / "x" / "deep").rename(project / "src" / "x" / "was")
    (project / "src" / "x" / "deep").symlink_to(up(secret, secret.home / ".ssh"))
    mounted(secret, arguments, parts.handed, f"echo PWNED > {secret.home}/.ssh/id_rsa")
    parts.close()
    reached = (secret.home / ".ssh" / "id_rsa").read_text() == "PWNED\n"
    # By its path it leads outside: then the command must be alone, so that nobody can swap it.
    assert (reached, alone) == (not by_descriptor, not by_descriptor)


def test_a_folder_beneath_another_one_is_not_mounted_again() -> None:
    rules = WriteRules(("src/**", "src/x/deep/**", "docs/api/**", "src/a.txt"), ())
    assert rules.opened() == ["docs/api", "src"]
    assert rules.covers("src/a.txt")
    kept = WriteRules(("ops/**", "ops/jobs/x/**", "**", "tasks/a/**"), ("ops/jobs", "tasks"))
    assert kept.opened() == ["", "ops/jobs/x", "tasks/a"]
    assert WriteRules(("ops/**",), ("ops/jobs",)).kept_in("ops") == ["ops/jobs"]


@needs_bubblewrap
async def test_a_protected_folder_within_one_that_a_glob_names(secret: Bench) -> None:
    from dataclasses import replace

    script = "mkdir -p ops/jobs/x; echo x > ops/jobs/evil; echo x > ops/jobs/x/named; echo x > ops/fine"
    confinement = Confinement(("ops/**", "ops/jobs/x/**"), protected=("ops/jobs",))
    sandbox = secret.sandbox()
    await sandbox.execute(replace(secret.command(script, ()), confinement=confinement))
    await sandbox.aclose()
    assert not (secret.project / "ops" / "jobs" / "evil").exists()
    assert (secret.project / "ops" / "fine").exists()
    assert (secret.project / "ops" / "jobs" / "x" / "named").exists()


async def test_who_must_be_alone_waits_for_the_others(tmp_path: Path) -> None:
    quiet, moving = Found(), Found(settled=False)
    async with turn(tmp_path, lambda: (quiet, False), 1), turn(tmp_path, lambda: (quiet, False), 1):
        for found, alone in ((quiet, True), (moving, False)):
            with pytest.raises(SandboxError, match="at work"):
                async with turn(tmp_path, lambda found=found, alone=alone: (found, alone), 0.2):  # type: ignore[misc]
                    pass
    async with turn(tmp_path, lambda: (moving, True), 1):
        with pytest.raises(SandboxError, match="at work"):
            async with turn(tmp_path, lambda: (quiet, False), 0.2):
                pass


@needs_bubblewrap
async def test_two_runs_that_keep_something_apart_take_turns(secret: Bench) -> None:
    (secret.project / "src" / "vendor").mkdir()
    git(secret.project / "src" / "vendor", "init", "-q")
    order: list[str] = []

    async def run(name: str, script: str, *write: str) -> None:
        sandbox = secret.sandbox()
        assert (await sandbox.execute(secret.command(script, write))).exit_code == 0
        await sandbox.aclose()
        order.append(name)

    async with anyio.create_task_group() as group:
        waiting = "touch src/now; while [ ! -e src/go ]; do sleep 0.01; done"
        group.start_soon(run, "first", waiting, "src/**")
        with anyio.fail_after(30):
            while not (secret.project / "src" / "now").exists():
                await anyio.sleep(0.01)
        group.start_soon(run, "second", "cat src/go", "src/**")
        # One that writes nothing does not wait.
        await run("reading", "true")
        (secret.project / "src" / "go").touch()
    assert order == ["reading", "first", "second"]
