"""Where a result goes: a parameter that leads out of the project, and folders that are links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_terminal import Cli
from wire_server import Turn, WireServer

MODEL = ("--model", "openai/gpt-6.1-terra")
TASK = """\
prompt: Sum up.
runner: prompt
params:
  name: {type: string}
output: {file: "reports/{{ name }}"}
"""
BARE = TASK.replace("reports/", "")


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, server: WireServer) -> Cli:
    project = tmp_path / "project"
    (project / "reports").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    made = Cli(capsys, project, {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": server.openai_url})
    made.task("sum", TASK)
    made.task("bare", BARE)
    return made


def everything(cli: Cli) -> set[Path]:
    """All there is beside the task's own folder of runs."""
    return {path for path in cli.project.parent.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("sum", "../../elsewhere/x"),
        ("sum", "../../../../../../tmp/meshclaw-x"),
        ("sum", "x/../../../elsewhere/x"),
        ("sum", ".."),
        ("bare", "/tmp/meshclaw-x"),
        ("bare", "//tmp/meshclaw-x"),
        ("bare", "."),
        ("bare", "../elsewhere/x"),
    ],
)
def test_a_parameter_that_leads_out_is_refused_before_anything_is_spent(
    cli: Cli, server: WireServer, task: str, name: str
) -> None:
    before = everything(cli)
    code, out, err = cli("run", task, "-p", f"name={name}", *MODEL)
    assert (code, out) == (2, "")
    assert "output.file leads out of the project" in err
    assert server.requests == []
    assert everything(cli) == before
    assert not Path("/tmp/meshclaw-x").exists()


@pytest.mark.parametrize("name", [".git/hooks/pre-commit", ".GIT/config", "x/.git/hooks/post-checkout"])
def test_a_repository_is_never_written(cli: Cli, server: WireServer, name: str) -> None:
    server.script(Turn(text="evil"))
    code, _, _ = cli("run", "bare", "-p", f"name={name}", *MODEL)
    assert code != 0
    assert not (cli.project / name).exists()


@pytest.mark.parametrize("link", ["folder", "file"])
def test_a_link_is_not_followed(cli: Cli, server: WireServer, link: str) -> None:
    outside = cli.project.parent / "elsewhere" / "x.md"
    outside.write_text("theirs")
    reports = cli.project / "reports"
    if link == "folder":
        reports.rmdir()
        reports.symlink_to(outside.parent)
    else:
        (reports / "x.md").symlink_to(outside)
    server.script(Turn(text="evil"))
    cli("run", "sum", "-p", "name=x.md", *MODEL)
    assert outside.read_text() == "theirs"


@pytest.mark.parametrize("name", ["x.md", "deeper/x.md", "./x.md"])
def test_beneath_the_project_control(cli: Cli, server: WireServer, name: str) -> None:
    server.script(Turn(text="fine"))
    code, out, _ = cli("run", "sum", "-p", f"name={name}", *MODEL)
    assert (code, out) == (0, "fine\n")
    assert (cli.project / "reports" / os.path.normpath(name)).read_text().strip() == "fine"
