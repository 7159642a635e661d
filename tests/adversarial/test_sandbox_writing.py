"""What a contained command cannot change, in the project and outside of it."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from contained import PYTHON, Bench, git, needs_bubblewrap

from meshclaw.policies import PROTECTED as TABLE
from meshclaw.sandbox.base import SandboxError

pytestmark = needs_bubblewrap

SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/run")


def content(folder: Path) -> dict[str, bytes | str | None]:
    """Everything beneath a folder, by name: a file's bytes, where a link leads, None for a folder."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


@pytest.fixture
def repository(bench: Bench) -> Bench:
    for name in ("src/app.py", "docs/guide.md", "tasks/triage.yaml", "meshclaw.yaml", "top.txt"):
        path = bench.project / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{name}\n")
    git(bench.project, "init", "-q")
    git(bench.project, "add", ".")
    git(bench.project, "commit", "-qm", "first")
    return bench


PROTECTED = (
    "meshclaw.yaml",
    "tasks/triage.yaml",
    "tasks/new.yaml",
    ".envrc",
    ".bashrc",
    ".profile",
    ".zshenv",
    ".vscode/tasks.json",
    ".idea/workspace.xml",
    ".husky/pre-commit",
    ".claude/settings.json",
    ".mcp.json",
    ".gitmodules",
    ".gitattributes",
    ".git/hooks/pre-commit",
    ".git/config",
    ".git/info/attributes",
    ".git/info/exclude",
    ".git/commondir",
    ".git/config.worktree",
    ".git/modules/x/config",
    ".git/worktrees/x/gitdir",
    ".git/gitk.cache",
)


@pytest.mark.parametrize("name", PROTECTED)
async def test_what_programs_obey_is_not_written(repository: Bench, name: str) -> None:
    (repository.project / ".git" / "logs").mkdir(exist_ok=True)
    before = content(repository.project)
    script = f"mkdir -p '{Path(name).parent}'; echo PLANTED > '{name}'; echo kept > fine.txt"
    await repository.contained(script, "**", ".git/**")
    after = content(repository.project)
    assert after.pop("fine.txt") == b"kept\n"
    assert after == before
    await repository.free(script)
    assert (repository.project / name).read_text() == "PLANTED\n", "the probe itself does not work"


async def test_no_name_of_the_table_is_made(repository: Bench) -> None:
    names = [name for name in TABLE if not (repository.project / name).exists()]
    script = "\n".join(f"mkdir '{name}'; echo x > '{name}/x'; echo x > kept-'{name}'" for name in names)
    await repository.contained(script, "**")
    assert not [name for name in names if (repository.project / name).exists()]
    assert all((repository.project / f"kept-{name}").is_file() for name in names)
    await repository.free(script)
    assert all((repository.project / name / "x").is_file() for name in names), "the probe does not work"


async def test_a_pattern_that_names_a_protected_path_opens_it(repository: Bench) -> None:
    script = "echo named > meshclaw.yaml; echo named > tasks/new.yaml; echo named > .envrc"
    await repository.contained(script, "tasks/**", "meshclaw.yaml", ".envrc")
    assert (repository.project / "meshclaw.yaml").read_text() == "named\n"
    assert (repository.project / "tasks" / "new.yaml").read_text() == "named\n"
    assert (repository.project / ".envrc").read_text() == "named\n"


async def test_the_settings_own_folder_of_tasks_is_protected(repository: Bench) -> None:
    from dataclasses import replace

    from meshclaw.sandbox.base import Confinement

    script = "echo x > ops/jobs/evil.yaml; echo y > ops/fine"
    (repository.project / "ops").mkdir()
    command = replace(
        repository.command(script, ()), confinement=Confinement(("**",), protected=("ops/jobs",))
    )
    sandbox = repository.sandbox()
    await sandbox.execute(command)
    await sandbox.aclose()
    assert not (repository.project / "ops" / "jobs" / "evil.yaml").exists()
    assert (repository.project / "ops" / "fine").read_text() == "y\n"


async def test_a_repository_in_a_protected_folder_opens_nothing(repository: Bench) -> None:
    (repository.project / "tasks" / "x" / ".git").mkdir(parents=True)
    (repository.project / "lib" / "x" / ".git").mkdir(parents=True)
    script = "echo x > tasks/x/evil; echo x > tasks/x/.git/config; echo x > lib/x/fine; mv lib/x lib/y"
    await repository.contained(script, "**")
    assert list((repository.project / "tasks" / "x").iterdir()) == [repository.project / "tasks/x/.git"]
    assert not list((repository.project / "tasks" / "x" / ".git").iterdir())
    assert (repository.project / "lib" / "x" / "fine").is_file()
    await repository.free(script)
    assert (repository.project / "tasks/x/evil").is_file(), "the probe itself does not work"
    assert (repository.project / "lib/y/fine").is_file(), "the probe itself does not work"


async def test_without_a_glob_nothing_is_written(repository: Bench) -> None:
    before = content(repository.project)
    script = "echo x > top.txt; echo x > new; echo x > src/app.py; rm -rf src .git top.txt; mkdir made"
    result = await repository.contained(script)
    assert content(repository.project) == before
    assert "Read-only file system" in result.output
    await repository.free(script)
    assert content(repository.project) != before


async def test_a_glob_opens_its_folder_and_no_other(repository: Bench) -> None:
    script = "echo x >> src/app.py; mkdir -p src/a/b; echo x > docs/guide.md; echo x > top.txt"
    await repository.contained(script, "src/**")
    assert (repository.project / "src" / "app.py").read_text() == "src/app.py\nx\n"
    assert (repository.project / "src" / "a" / "b").is_dir()
    assert (repository.project / "docs" / "guide.md").read_text() == "docs/guide.md\n"
    assert (repository.project / "top.txt").read_text() == "top.txt\n"


async def test_a_folder_that_is_not_there_yet(repository: Bench) -> None:
    await repository.contained("echo x > reports/week/a.md", "reports/week/**")
    assert (repository.project / "reports" / "week" / "a.md").read_text() == "x\n"


async def test_single_files_and_finer_globs(repository: Bench) -> None:
    script = (
        "echo x > top.txt; echo x > NOTES.md; echo x > other; echo x > docs/guide.md; echo x > src/app.py"
    )
    result = await repository.contained(script, "top.txt", "*.md", "docs/guide.md", "src/*.py")
    project = repository.project
    assert (project / "top.txt").read_text() == (project / "NOTES.md").read_text() == "x\n"
    assert (project / "docs" / "guide.md").read_text() == "x\n"
    assert (project / "src" / "app.py").read_text() == "src/app.py\n"
    assert not (project / "other").exists()
    assert result.not_kept == ("other",)


async def test_top_level_changes_of_every_kind_come_back(repository: Bench) -> None:
    project = repository.project
    (project / "gone.txt").write_text("x")
    (project / "run.sh").write_text("x")
    (project / "lnk").symlink_to("top.txt")
    script = "rm gone.txt lnk; chmod 755 run.sh; sed -i s/top/changed/ top.txt; mkdir -p made/deep"
    script += "; echo x > made/deep/f"
    result = await repository.contained(script, "**")
    assert not (project / "gone.txt").exists()
    assert not (project / "lnk").is_symlink()
    assert stat.S_IMODE((project / "run.sh").stat().st_mode) == 0o755
    assert (project / "top.txt").read_text() == "changed.txt\n"
    assert (project / "made" / "deep" / "f").read_text() == "x\n"
    assert result.not_kept == ()


async def test_links_fifos_and_setuid_programs_do_not_come_back(repository: Bench, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    script = (
        f"ln -s {victim} a; ln -s /etc b; mkfifo c; cp /bin/true d; chmod 4755 d; mkdir e; mkfifo e/f; "
        f"rm top.txt; ln -s {victim} top.txt"
    )
    result = await repository.contained(script, "**")
    project = repository.project
    for name in ("a", "b", "c"):
        assert not os.path.lexists(project / name)
    assert stat.S_IMODE((project / "d").stat().st_mode) == 0o755
    assert not os.path.lexists(project / "e" / "f")
    assert not (project / "top.txt").is_symlink()
    assert set(result.not_kept) == {"a", "b", "c", "top.txt"}
    assert victim.read_text() == "safe"


WAYS_TO_WRITE = (
    "echo x > {}",
    "echo x >> {}",
    "cp /dev/null {}",
    "mv {} a; echo x > a",
    "ln {} b; echo x > b",
)


@pytest.mark.parametrize("globs", [("**",), ("src/**",), ("src/deep/**", "linked")])
@pytest.mark.parametrize("place", ["linked", "src/deep/linked"])
async def test_a_file_with_another_hard_link_is_not_written(
    repository: Bench, tmp_path: Path, place: str, globs: tuple[str, ...]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    (repository.project / "src" / "deep").mkdir()
    os.link(victim, repository.project / place)
    for way in WAYS_TO_WRITE:
        await repository.contained(way.format(place), *globs)
        assert victim.read_text() == "safe", way
    await repository.free(f"echo x > {place}")
    assert victim.read_text() == "x\n"


async def test_of_many_files_with_other_names_none_is_written(repository: Bench, tmp_path: Path) -> None:
    store, packages = tmp_path / "store", repository.project / "src" / "node_modules" / "deep"
    store.mkdir()
    packages.mkdir(parents=True)
    for number in range(120):
        (store / str(number)).write_text("safe")
        os.link(store / str(number), packages / str(number))
    script = "for one in src/node_modules/deep/*; do echo x > $one; done; echo fine > src/it; cat src/it"
    result = await repository.contained(script, "src/**")
    assert result.output.endswith("fine\n")
    assert {path.read_text() for path in store.iterdir()} == {"safe"}
    await repository.free(script)
    assert {path.read_text() for path in store.iterdir()} == {"x\n"}


async def test_files_all_of_whose_names_are_writable_are_written(repository: Bench) -> None:
    (repository.project / "src" / "one").write_text("safe")
    os.link(repository.project / "src" / "one", repository.project / "src" / "two")
    await repository.contained("echo x > src/one", "src/**")
    assert (repository.project / "src" / "two").read_text() == "x\n"


async def test_somebody_elses_change_meanwhile_is_not_overwritten(repository: Bench) -> None:
    import anyio

    (repository.project / "src" / "go").mkdir()
    script = "echo theirs > top.txt; touch src/go/now; while [ ! -e src/go/done ]; do sleep 0.01; done"
    results = []

    async def work() -> None:
        results.append(await repository.contained(script, "**"))

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        with anyio.fail_after(30):
            while not (repository.project / "src" / "go" / "now").exists():
                await anyio.sleep(0.01)
        (repository.project / "top.txt").write_text("the user's\n")
        (repository.project / "src" / "go" / "done").touch()
    assert (repository.project / "top.txt").read_text() == "the user's\n"
    assert results[0].not_kept == ("top.txt",)


async def test_a_writable_folder_that_is_a_link_is_refused(bench: Bench) -> None:
    (bench.home / "keep").write_text("x")
    (bench.project / "out").symlink_to(bench.home)
    with pytest.raises(SandboxError, match="symlink"):
        await bench.contained("rm -f out/keep", "out/**")
    assert (bench.home / "keep").exists()
    (bench.project / "out").unlink()
    assert (await bench.contained("echo x > out/keep", "out/**")).exit_code == 0


async def test_a_nested_repository_keeps_its_own_settings(repository: Bench) -> None:
    inner = repository.project / "src" / "vendored"
    inner.mkdir()
    git(inner, "init", "-q")
    script = "echo x > src/vendored/.git/hooks/pre-commit; echo x > src/vendored/file"
    await repository.contained(script, "src/**")
    assert not (inner / ".git" / "hooks" / "pre-commit").exists()
    assert (inner / "file").exists()


async def test_git_commits_and_nothing_else_of_it_changes(repository: Bench) -> None:
    hooks = content(repository.project / ".git" / "hooks")
    config = (repository.project / ".git" / "config").read_bytes()
    script = "echo more >> src/app.py && git add -A && git commit -qm second && git log --format=%an:%ae:%s"
    result = await repository.contained(script, "src/**", ".git/**")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0] == "Ada:ada@example.com:second"
    assert git(repository.project, "status", "--short") == ""
    assert git(repository.project, "log", "--format=%s") == "second\nfirst\n"
    assert git(repository.project, "fsck", "--strict") == ""
    assert content(repository.project / ".git" / "hooks") == hooks
    assert (repository.project / ".git" / "config").read_bytes() == config


async def test_git_reads_without_being_allowed_to_write(repository: Bench) -> None:
    (repository.project / "src" / "app.py").write_text("changed\n")
    before = content(repository.project)
    result = await repository.contained(
        "git status --short; git diff --stat; git log --oneline; git commit -qam no", "src/**"
    )
    assert " M src/app.py" in result.output
    assert "first" in result.output
    assert result.exit_code != 0
    assert content(repository.project) == before


@pytest.mark.parametrize("folder", SHARED)
async def test_nothing_is_left_in_shared_folders(bench: Bench, folder: str) -> None:
    mark = Path(folder) / f"meshclaw-{os.getpid()}-probe"
    script = f"echo x > {mark}"
    await bench.contained(script, "**")
    assert not mark.exists()
    await bench.free(script)
    assert mark.exists() or not os.access(folder, os.W_OK), "the probe itself does not work"
    mark.unlink(missing_ok=True)


@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp"])
async def test_a_project_that_lies_in_one(bench: Bench, folder: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as made:
        bench.project = Path(made)
        result = await bench.contained("echo x > new; echo y > /var/tmp/y; cat /tmp/y new", "*")
        assert result.output == "y\nx\n"
        assert (bench.project / "new").read_text() == "x\n"


async def test_temporary_files_last_as_long_as_the_run(bench: Bench) -> None:
    sandbox = bench.sandbox()
    await sandbox.execute(bench.command("echo here > /tmp/kept-a-while; echo there > ~/y", ()))
    again = await sandbox.execute(bench.command("cat /tmp/kept-a-while ~/y", ()))
    await sandbox.aclose()
    assert again.output == "here\nthere\n"
    assert not (bench.home / "y").exists()
    assert not Path("/tmp/kept-a-while").exists()


@pytest.mark.parametrize(
    "path", ["/etc/probe", "/usr/bin/probe", "/probe", "/proc/sys/kernel/hostname", "/bin/sh"]
)
async def test_the_system_cannot_be_changed(bench: Bench, path: str) -> None:
    before = Path(path).read_bytes() if Path(path).exists() else None
    result = await bench.contained(f"echo changed > {path} && echo DONE; echo y > ok && echo WORKS", "**")
    assert "WORKS" in result.output
    assert "DONE" not in result.output
    assert (Path(path).read_bytes() if Path(path).exists() else None) == before


MACHINE_WIDE = ("sys/kernel/core_pattern", "sys/vm/overcommit_memory", "sys/kernel/printk")


@pytest.mark.parametrize("name", MACHINE_WIDE)
async def test_the_kernels_settings_are_read_only(bench: Bench, name: str) -> None:
    """To root as well: opening for writing is all that is tried."""
    code = "import os, sys; os.close(os.open(sys.argv[1], os.O_WRONLY)); print('OPE' + 'NED')"
    (bench.project / "open.py").write_text(code)
    script = f"{PYTHON} open.py /proc/{name}"
    if os.getuid() == 0:
        assert "OPENED" in (await bench.free(script)).output, "the probe itself does not work"
    assert "OPENED" not in (await bench.contained(script)).output
    assert "OPENED" in (await bench.contained(f"{PYTHON} open.py /proc/self/oom_score_adj")).output


async def test_removing_everything_removes_nothing_but_what_may_be(repository: Bench) -> None:
    (repository.home / "precious").write_text("x")
    await repository.contained("rm -rf --no-preserve-root / 2>/dev/null; rm -rf ~ /tmp", "src/**")
    assert (repository.home / "precious").exists()
    assert (repository.project / "docs" / "guide.md").exists()
    assert (repository.project / ".git" / "HEAD").exists()
    assert not (repository.project / "src" / "app.py").exists()


async def test_scratch_folders_are_private_and_last_for_the_run(bench: Bench) -> None:
    bench.scratch = ("generated",)
    (bench.project / "target").mkdir()
    (bench.project / "target" / "theirs").write_text("x")
    sandbox = bench.sandbox()
    script = "for name in target build .pytest_cache generated; do echo y > $name/ours || exit 1; done"
    first = await sandbox.execute(bench.command(script, ()))
    second = await sandbox.execute(bench.command("cat target/ours build/ours; ls target", ()))
    await sandbox.aclose()
    assert first.exit_code == 0, first.output
    assert second.output == "y\ny\nours\n"
    assert content(bench.project) == {"target": None, "target/theirs": b"x"}


async def test_the_home_folder_is_no_project(bench: Bench) -> None:
    bench.project = bench.home
    with pytest.raises(SandboxError, match="home"):
        await bench.contained("true")
    bench.project = bench.home / "work"
    bench.project.mkdir()
    assert (await bench.contained("true")).exit_code == 0
