"""`isolate: copy` from a task's file to `runs diff` and `runs apply`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_terminal import Cli, Terminal, trust_project
from contained import git
from repository_place import fingerprint
from wire_server import Turn, WireServer

TASK = """
prompt: Mend it.
runner: agent
tools: [edit, write]
allow: {write: ["**"]}
isolate: copy
"""
MODEL = ("--model", "anthropic/claude-haiku-5-5")
SNEAKY = "new \u202egnp.\n"


@pytest.fixture
def mended(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """A project of which an agent has mended a copy."""
    project = tmp_path / "project"
    project.mkdir()
    cli = Cli(capsys, project)
    (project / "meshclaw.yaml").write_text("")
    (project / "a.txt").write_text("old\nsame\n")
    cli.task("mend", TASK)
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "first")
    trust_project(project)
    before = fingerprint(project)
    edit = ("edit", {"path": f"{project}/a.txt", "old": "old\n", "new": SNEAKY})
    write = ("write", {"path": "tasks/more.yaml", "content": "prompt: More\n"})
    with WireServer() as server:
        server.script(Turn(text="I do.", tool_calls=[edit, write]), Turn(text="Mended."))
        cli.environment = {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": server.url}
        code, out, err = cli("run", "mend", "--json", *MODEL)
    assert code == 0, err
    record = json.loads(out)
    assert record["patch"]["files"] == ["a.txt"]
    assert not (Path(record["directory"]) / "copy").exists()
    assert fingerprint(project) == before
    return cli


def test_the_patch_is_printed_as_git_takes_it_and_applied(mended: Cli) -> None:
    code, out, _ = mended("runs", "diff", "last")
    assert code == 0
    assert f"-old\n+{SNEAKY} same\n" in out
    assert mended("runs", "apply", "last", "--check")[1] == "a.txt\n"
    assert (mended.project / "a.txt").read_text() == "old\nsame\n"
    (mended.project / "a.txt").write_text("old\nsame\nmine\n")
    code, out, err = mended("runs", "apply", "last")
    assert (code, out, err) == (0, "a.txt\n", f"changed 1 file in {mended.project}\n")
    assert (mended.project / "a.txt").read_text() == f"{SNEAKY}same\nmine\n"
    assert "has all of it already" in mended("runs", "apply", "last")[2]
    assert json.loads(mended("runs", "show", "last", "--json")[1])["patch"]["applied"] is True


def test_a_conflict_is_named_and_exits_with_1(mended: Cli) -> None:
    (mended.project / "a.txt").write_text("other\nsame\n")
    code, out, err = mended("runs", "apply", "last")
    assert (code, out) == (1, "")
    assert "a.txt:1: it was changed on both sides" in err
    assert (mended.project / "a.txt").read_text() == "other\nsame\n"


def test_a_pipe_gets_the_bytes_and_git_takes_them(mended: Cli) -> None:
    command = [sys.executable, "-m", "meshclaw", "runs", "diff", "last"]
    done = subprocess.run(command, cwd=mended.project, capture_output=True, check=True)
    subprocess.run(["git", "apply"], cwd=mended.project, input=done.stdout, check=True)
    assert (mended.project / "a.txt").read_text() == f"{SNEAKY}same\n"


def test_a_terminal_shows_what_could_not_be_seen(mended: Cli) -> None:
    with Terminal(["runs", "diff", "last"], dict(os.environ), mended.project) as terminal:
        assert terminal.finish() == 0
    assert "\x1b[32m+new \\u202egnp.\x1b[0m" in terminal.seen
    assert "\x1b[31m-old\x1b[0m" in terminal.seen
    assert "\u202e" not in terminal.seen


def test_a_run_without_a_copy_has_no_patch(mended: Cli) -> None:
    mended.task("plain", "prompt: Hello\nrunner: prompt\n")
    trust_project(mended.project)
    with WireServer() as server:
        server.script(Turn(text="Hello."))
        mended.environment["ANTHROPIC_BASE_URL"] = server.url
        assert mended("run", "plain", *MODEL)[0] == 0
    for command in ("diff", "apply"):
        code, _, err = mended("runs", command, "last")
        assert code == 2
        assert "there is no patch here" in err
