"""Accepted work is handed back only where it still is so: checks, plug-ins and the project decide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_terminal import Cli
from contained import PROGRAMS, git, needs_bubblewrap
from test_accepted_runs import record_of
from test_plugins import install
from wire_server import Turn, WireServer

AGENT = "prompt: Mend it.\ntools: [write]\nallow: {write: ['**']}\nreuse: accepted\n"
CHECKS = 'accept: [{changed: ["app.py"]}, {matches: "x = 7", in: app.py}]\n'
MEND = Turn(tool_calls=[("write", {"path": "app.py", "content": "x = 7\n"})])


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, server: WireServer) -> Cli:
    """A repository with one commit, in which `tasks/mend.yaml` is ignored."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "app.py").write_text("x = 1\n")
    (project / ".gitignore").write_text("tasks/\n")
    git(project, "init", "-q")
    git(project, "add", "--all")
    git(project, "commit", "-qm", "begin")
    made = {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": server.url, "PATH": PROGRAMS}
    return Cli(capsys, project, made)


def mend(cli: Cli, server: WireServer, *, again: bool) -> dict[str, Any]:
    """Runs the task, which has to do the work `again` or not."""
    before = len(server.requests)
    if again:
        server.script(MEND, Turn(text="Done."))
    record = record_of(cli, "mend")
    assert record["outcome"] == "accepted", record["reason"]
    assert (len(server.requests) - before, record["reused"] is None) == ((2, True) if again else (0, False))
    return record


def test_work_in_the_project_counts_while_it_is_there(cli: Cli, server: WireServer) -> None:
    cli.task("mend", AGENT + CHECKS)
    mend(cli, server, again=True)
    mend(cli, server, again=False)
    (cli.project / "other.py").write_text("y = 1\n")
    mend(cli, server, again=False)
    git(cli.project, "checkout", "-q", "--", ".")
    mend(cli, server, again=True)
    assert (cli.project / "app.py").read_text() == "x = 7\n"


def test_checks_that_see_nothing_of_it_do_not_stand_for_it(cli: Cli, server: WireServer) -> None:
    cli.task("mend", AGENT + "accept: [{absent: foo}]\n")
    mend(cli, server, again=True)
    mend(cli, server, again=False)
    git(cli.project, "checkout", "-q", "--", ".")
    mend(cli, server, again=True)


def test_a_patch_counts_for_what_it_was_made_from(cli: Cli, server: WireServer) -> None:
    cli.task("mend", AGENT + CHECKS + "isolate: copy\n")
    first = mend(cli, server, again=True)
    second = mend(cli, server, again=False)
    assert second["patch"] == first["patch"]
    assert "+x = 7" in cli("runs", "diff", "last")[1]
    assert not (Path(second["directory"]) / "copy").exists()
    (cli.project / "app.py").write_text("x = 1\ny = 3\n")
    mend(cli, server, again=False)
    git(cli.project, "commit", "-qam", "other")
    mend(cli, server, again=True)
    assert "-y = 3" in cli("runs", "diff", "last")[1]


def test_a_copy_of_the_work_tree_is_made_from_that(cli: Cli, server: WireServer) -> None:
    cli.task("mend", AGENT + CHECKS + "isolate: copy\ninclude_dirty: true\n")
    mend(cli, server, again=True)
    mend(cli, server, again=False)
    (cli.project / "app.py").write_text("x = 1\ny = 3\n")
    mend(cli, server, again=True)
    assert cli("runs", "apply", "last")[0] == 0
    assert (cli.project / "app.py").read_text() == "x = 7\n"


@needs_bubblewrap
def test_a_patch_that_fails_its_checks_today_is_made_anew_in_a_clean_copy(
    cli: Cli, server: WireServer, tmp_path: Path
) -> None:
    (cli.project / ".venv").mkdir()
    (cli.project / ".venv" / "wanted").write_text("x = 7\n")
    cli.task("mend", AGENT + "isolate: copy\naccept: [{run: diff app.py .venv/wanted}]\n")
    mend(cli, server, again=True)
    mend(cli, server, again=False)
    (cli.project / ".venv" / "wanted").write_text("x = 1\n")
    server.script(Turn(text="There was nothing to do."))
    record = record_of(cli, "mend")
    assert (record["reused"], record["outcome"], record["patch"]["files"]) == (None, "accepted", [])


@needs_bubblewrap
def test_a_check_that_has_changed_decides_anew(cli: Cli, server: WireServer) -> None:
    cli.task("say", "prompt: Say it.\nrunner: prompt\naccept: [{run: sh check.sh}]\n")
    (cli.project / "check.sh").write_text("true\n")
    server.script(Turn(text="Hello."))
    first = record_of(cli, "say")
    assert record_of(cli, "say")["reused"] == first["run"]
    (cli.project / "check.sh").write_text("false\n")
    server.script(Turn(text="Hello again."))
    record = record_of(cli, "say")
    assert (record["outcome"], record["exit"], record["result"]) == ("rejected", 3, "Hello again.")


def test_a_plug_in_of_another_version_is_another_check(
    cli: Cli, server: WireServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    code = "class Lint:\n    kind = label = 'lint'\n    needs_changes = False\n    asks = True\n"
    code += "    def __init__(self, argument=None):\n        pass\n"
    code += "    async def judge(self, candidate, context):\n        return passed(self)\n"
    install(site, "lintplug", {"meshclaw.checks": {"lint": "lintplug_of_reuse:Lint"}})
    (site / "lintplug_of_reuse.py").write_text(f"from meshclaw.checks.base import passed\n\n{code}")
    monkeypatch.syspath_prepend(site)
    cli.task("say", "prompt: Say it.\nrunner: prompt\naccept: [lint]\n")
    server.script(Turn(text="Hello."), Turn(text="Hello again."))
    first = record_of(cli, "say")
    assert record_of(cli, "say")["reused"] == first["run"]
    (site / "lintplug-1.0.dist-info").rename(site / "gone")
    install(site, "lintplug", {"meshclaw.checks": {"lint": "lintplug_of_reuse:Lint"}}, "2.0")
    assert record_of(cli, "say")["result"] == "Hello again."
