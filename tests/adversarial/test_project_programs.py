"""Programs that a clone brings along: nothing outside of the sandbox starts them, wherever PATH leads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_terminal import Cli
from contained import git
from wire_server import Turn, WireServer

from meshclaw.app import App
from meshclaw.app.doctor import essentials, examine
from meshclaw.app.outputs import git_head
from meshclaw.app.sandboxes import git_identity
from meshclaw.models.mirror import OWN_PIP

PATHS = {"absolute": "{project}/bin", "relative": "./bin", "bare": "bin", "by a link": "{outside}/link"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with its own `git`, which leaves a mark and then does as git does; it is where we are."""
    folder = tmp_path / "project"
    (folder / "bin").mkdir(parents=True)
    git(folder, "init", "-q")
    git(folder, "commit", "-qm", "first", "--allow-empty")
    program = folder / "bin" / "git"
    program.write_text(
        f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/ran\nPATH={os.environ["PATH"]} exec git "$@"\n'
    )
    program.chmod(0o755)
    (tmp_path / "link").symlink_to(folder / "bin")
    monkeypatch.chdir(folder)
    return folder


def variables(project: Path, which: str) -> dict[str, str]:
    first = PATHS[which].format(project=project, outside=project.parent)
    return {**os.environ, "PATH": f"{first}:{os.environ['PATH']}"}


@pytest.mark.parametrize("which", PATHS)
async def test_a_clones_git_is_not_run(project: Path, which: str, home: Path) -> None:
    (home / ".gitconfig").write_text("[user]\n\tname = Ada\n\temail = ada@example.com\n")
    environment, ran = variables(project, which), project.parent / "ran"
    subprocess.run("git --version", shell=True, env=environment, check=True, capture_output=True)
    assert ran.exists(), "the probe itself does not work"
    ran.unlink()
    assert git_head(project, environment)[0] == git(project, "rev-parse", "HEAD").strip()
    assert git_identity(environment, project) == '[user]\n\tname = "Ada"\n\temail = "ada@example.com"\n'
    app = App(environment, project)
    found = await examine(app, {"git": essentials()["git"]})
    await app.aclose()
    assert [one.text.endswith(f"{project}/bin/git") for one in found] == [False]
    assert not ran.exists(), ran.read_text()


def test_a_projects_own_identity_goes_first_and_leads_nowhere(project: Path, home: Path) -> None:
    """A copy would else be without it. The project's settings may be anybody's."""
    (home / ".gitconfig").write_text("[user]\n\tname = Ada\n\temail = a@x\n[include]\n\tpath = more\n")
    (home / "more").write_text("[user]\n\tname = Ada L\n")
    secret, ran = home / "secret", project.parent / "ran"
    secret.write_text("[user]\n\temail = the-secret-1881\n")
    environment = dict(os.environ)

    def shown() -> str:
        return git_identity(environment, project)

    assert shown() == '[user]\n\tname = "Ada L"\n\temail = "a@x"\n'
    git(project, "config", "user.email", 'b"\\é;#@x')
    git(project, "config", "core.fsmonitor", f"touch {ran}")
    git(project, "config", "include.path", str(secret))
    assert "the-secret-1881" in git(project, "config", "--get-all", "user.email"), (
        "the probe itself does not work"
    )
    (home / "shown").write_text(shown())
    assert git(home, "config", "--file", "shown", "user.name") == "Ada L\n"
    assert git(home, "config", "--file", "shown", "user.email") == 'b"\\é;#@x\n'
    git(project, "config", "user.email", "b\n[core]\n\tpager = x")
    git(project, "config", "user.name", "\x01")
    assert shown() == '[user]\n\tname = "Ada L"\n\temail = "a@x"\n'
    (project / ".git" / "config").write_text("[[[")
    assert shown() == '[user]\n\tname = "Ada L"\n\temail = "a@x"\n'
    assert not ran.exists()


def test_nor_one_of_the_repository_around_the_project(project: Path) -> None:
    inner, ran = project / "services" / "api", project.parent / "ran"
    inner.mkdir(parents=True)
    environment = variables(project, "absolute")
    assert git_head(inner, environment)[0] == git(project, "rev-parse", "HEAD").strip()
    assert not ran.exists(), ran.read_text()
    (project / ".git").rename(project.parent / ".git")
    git_head(project.parent / "project" / "services", environment)
    assert not ran.exists(), ran.read_text()


def test_a_task_that_needs_no_trust_runs_nothing_of_a_clones(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "tasks").mkdir()
    (project / "tasks" / "plain.yaml").write_text("prompt: hello\nrunner: prompt\n")
    with WireServer() as server:
        server.script(Turn(text="done"))
        cli = Cli(capsys, project, variables(project, "relative"))
        cli.environment |= {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": server.url}
        code, out, err = cli("run", "plain", "--model", "anthropic/claude-haiku-5-5")
    assert (code, out) == (0, "done\n"), err
    assert not (project.parent / "ran").exists()


def test_pip_is_never_the_current_folders(project: Path) -> None:
    mark = project.parent / "ran"
    (project / "pip.py").write_text(f"open({str(mark)!r}, 'w')\n")
    subprocess.run([*OWN_PIP, "--version"], capture_output=True, check=False)
    assert not mark.exists()
    subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    assert mark.exists(), "the probe itself does not work"
