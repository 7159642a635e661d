"""Code in the project that runs outside of the sandbox: MeshClaw's own, and virtual environments."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli_terminal import Cli
from contained import Bench, needs_bubblewrap
from wire_server import Turn, WireServer

from meshclaw.app import App
from meshclaw.app.guarded import protected_paths, refuse_in_home
from meshclaw.errors import PolicyError
from meshclaw.policies import Effects, TaskPolicy
from meshclaw.sandbox.base import Confinement

INSTALLED = ".venv/lib/python3/site-packages/meshclaw/cli/main.py"
EVERYTHING = ("**", "**/*.py", ".*/**", "*/*/**")


def environment_at(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\n")


def guarded(project: Path, **variables: str) -> TaskPolicy:
    app = App({**os.environ, **variables}, project, flags={"project": str(project)})
    return TaskPolicy(EVERYTHING, protected=protected_paths(app, app.config))


def may_write(policy: TaskPolicy, path: str) -> bool:
    return policy.review(Effects(writes=(path,))).allowed


@pytest.mark.parametrize("place", ["env", "services/api/env", "a/b/.venv"])
def test_an_environment_is_not_written_wherever_it_lies(tmp_path: Path, place: str) -> None:
    module = f"{place}/lib/python3/site-packages/meshclaw/__main__.py"
    assert may_write(guarded(tmp_path), module), "the probe itself does not work"
    environment_at(tmp_path / place)
    policy = guarded(tmp_path)
    assert not may_write(policy, module)
    assert not may_write(policy, f"{place}/bin/python")
    assert may_write(policy, "services/api/app.py")


def test_the_environment_that_is_active_is_not_written(tmp_path: Path) -> None:
    active = tmp_path / "deep" / "er" / "and" / "deeper" / "env"
    environment_at(active)
    assert may_write(guarded(tmp_path), "deep/er/and/deeper/env/x.pth"), "the probe itself does not work"
    assert not may_write(guarded(tmp_path, VIRTUAL_ENV=str(active)), "deep/er/and/deeper/env/x.pth")


def test_what_this_process_runs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project holds our own code: that of this test, and a folder that Python looks into."""
    project = Path(os.path.commonpath([sys.prefix, str(Path(__file__).parents[2])]))
    policy = guarded(project, HOME=str(tmp_path))
    ours = Path(sys.modules["meshclaw"].__file__ or "").relative_to(project).as_posix()
    assert not may_write(policy, ours)
    assert not may_write(policy, Path(sys.prefix, "lib", "x.pth").relative_to(project).as_posix())
    assert may_write(policy, "docs/guide.md")
    assert may_write(guarded(tmp_path), "vendor/anyio/__init__.py"), "the probe itself does not work"
    monkeypatch.syspath_prepend(str(tmp_path / "vendor"))
    assert not may_write(guarded(tmp_path), "vendor/anyio/__init__.py")


def test_an_example_task_cannot_change_the_code_that_runs_next(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in (INSTALLED, "src/app.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x = 1\n")
    edits = [("edit", {"path": name, "old": "x = 1", "new": "x = 2"}) for name in (INSTALLED, "src/app.py")]
    with WireServer() as server:
        server.script(Turn(tool_calls=edits), *[Turn(text="done")] * 6)
        cli = Cli(capsys, tmp_path, {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": server.url})
        cli("run", "fix-tests", "-p", "command=true", "--model", "anthropic/claude-haiku-5-5")
        told = str(server.requests[1].body["messages"][-1])
    assert (tmp_path / "src/app.py").read_text() == "x = 2\n", "the probe itself does not work"
    assert (tmp_path / INSTALLED).read_text() == "x = 1\n"
    assert "a pattern must name it" in told


@needs_bubblewrap
@pytest.mark.parametrize("name", [".venv", "api/env", "a/b/env"])
async def test_commands_cannot_change_an_environment(bench: Bench, name: str) -> None:
    """Nor put another in its place, by renaming it or a folder above it."""
    environment_at(bench.project / name)
    app = App(bench.environment(), bench.project, flags={"project": str(bench.project)})
    protected = protected_paths(app, app.config)
    moves = "\n".join(
        f"mv '{one}' '{one}-gone'" for one in (name, *map(str, Path(name).parents)) if one != "."
    )
    script = f"echo x > {name}/x.pth\n{moves}\nmkdir -p {name}; echo x > {name}/y.pth; echo x > fine"
    sandbox = bench.sandbox()
    held = Confinement(("**",), protected=protected)
    await sandbox.execute(replace(bench.command(script, ()), confinement=held))
    await sandbox.aclose()
    assert [path.name for path in (bench.project / name).iterdir()] == ["pyvenv.cfg"]
    assert (bench.project / "fine").is_file()
    await bench.free(script)
    assert (bench.project / name / "y.pth").is_file(), "the probe itself does not work"


@pytest.mark.parametrize("pattern", ["**", "*", "**/*.py", ".*", "me/**", "./me/*", "m*/**", "/**", "me/"])
def test_no_pattern_opens_the_home_that_a_project_holds(tmp_path: Path, pattern: str) -> None:
    home = tmp_path / "me"
    with pytest.raises(PolicyError, match="holds the home folder"):
        refuse_in_home(home, tmp_path, [pattern])
    refuse_in_home(home, home / "project", [pattern])
    refuse_in_home(home, tmp_path, ["me/notes/**", "you/**", "me/notes.md"])


def test_in_the_home_a_run_needs_folders_with_names(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    cli = Cli(capsys, home, {"ANTHROPIC_API_KEY": "key"})
    run = ("run", "job", "--model", "anthropic/claude-haiku-5-5", "--dry-run")
    cli.task("job", "prompt: Do it.\ntools: [write]\nallow: {write: ['notes/**']}\n")
    assert cli(*run)[0] == 0
    cli.task("job", "prompt: Do it.\ntools: [write]\nallow: {write: ['**']}\n")
    code, _, err = cli(*run)
    assert (code, "holds the home folder" in err) == (6, True), err
