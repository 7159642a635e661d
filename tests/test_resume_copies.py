"""A run that works in a copy and was killed goes on in that copy, which is gone when the run is over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_terminal import Cli
from contained import PROGRAMS, needs_bubblewrap
from wire_server import Recorded, Turn, WireServer

MODEL = ("--model", "anthropic/claude-haiku-5-5")
TASK = """\
prompt: Write three files.
tools: [write]
allow: {write: ["*.txt"]}
isolate: copy
accept:
  - run: test -f 0.txt && test -f 1.txt && test -f 2.txt
"""


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, server: WireServer) -> Cli:
    project = tmp_path / "project"
    project.mkdir()
    (project / "a.txt").write_text("a\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "begin"]):
        names = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        subprocess.run(["git", *names, *command], cwd=project, check=True)
    made = Cli(
        capsys,
        project,
        {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": server.url, "PATH": PROGRAMS},
    )
    made.task("work", TASK)
    return made


@needs_bubblewrap
@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 3])
def test_it_goes_on_in_its_copy_and_hands_back_one_patch(cli: Cli, server: WireServer, at: int) -> None:
    def answer(recorded: Recorded) -> Turn:
        said = sum(message["role"] == "assistant" for message in recorded.body["messages"])
        slow = 30.0 if len(server.requests) == at else 0.0
        if said < 3:
            return Turn(tool_calls=[("write", {"path": f"{said}.txt", "content": "x"})], latency=slow)
        return Turn(text="done", latency=slow)

    server.script(*[answer] * 9)
    process = subprocess.Popen(
        [sys.executable, "-m", "meshclaw", "run", "work", *MODEL],
        cwd=cli.project,
        env={**os.environ, **cli.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(server.requests) < at:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (folder,) = (Path.home() / ".local/share/meshclaw/runs").iterdir()
    assert (folder / "copy").is_dir()
    code, out, err = cli("runs", "resume", "last")
    assert (code, out) == (0, "done\n"), err
    assert len(server.requests) == 5
    left = {path.name for path in folder.iterdir()}
    assert left == {
        "git",
        "patch.diff",
        "patch.json",
        "result.txt",
        "run.json",
        "saved.json",
        "transcript.jsonl",
    }
    assert cli("runs", "apply", "last")[0] == 0
    names = sorted(path.name for path in cli.project.glob("*.txt"))
    assert names == ["0.txt", "1.txt", "2.txt", "a.txt"]


DRIVER = Path(__file__).with_name("delivery_kill_driver.py")


@pytest.mark.slow
def test_whenever_it_is_killed_its_patch_is_delivered_once(tmp_path: Path) -> None:
    command = [sys.executable, str(DRIVER), str(tmp_path)]
    done = subprocess.run(command, cwd=DRIVER.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    states = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(states) == 5
    for state in states:
        assert (state["code"], state["resumed"]) == (77, 0), (state, done.stderr)
        assert state["end"] == ["succeeded", "accepted", 0, ""], state
        assert (state["patch"], state["project"]) == ([True, "mc/fix"], "new\n"), state
        subjects = ["job", "Work in progress, as it was when run run-1 began"]
        assert (state["branch"], state["branches"]) == (subjects, 2), state
        assert (state["asked"], state["left"]) == (2, False), state
