"""What a person at a terminal sees, and what Ctrl-C does: real processes on a pseudo-terminal."""

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
from cli_terminal import PATIENCE, Terminal, trust_project
from wire_server import Fault, Turn, WireServer

MODEL = ("--model", "openai/gpt-6.1-terra")
HOSTILE = "a\x1b[31mred\x1b]52;c;aGk=\x07\u202e [bold]b[/bold]"


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "meshclaw.yaml").write_text("budget: {steps: 10}\n")
    (tmp_path / "tasks" / "say.yaml").write_text("prompt: Say it.\nrunner: prompt\n")
    (tmp_path / "tasks" / "work.yaml").write_text(
        'prompt: Do it.\nrunner: agent\ntools: [edit]\nallow: {write: ["*.txt"]}\n'
    )
    trust_project(tmp_path)
    return tmp_path


@pytest.fixture
def environment(server: WireServer) -> dict[str, str]:
    return {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": server.openai_url}


def _entries(home: Path) -> list[dict[str, object]]:
    ledger = home / ".local" / "share" / "meshclaw" / "ledger.jsonl"
    return [json.loads(line) for line in ledger.read_text().splitlines()]


def _wait_for_request(server: WireServer) -> None:
    """Until the call is on the wire, and with it its reserve in the ledger."""
    deadline = time.monotonic() + PATIENCE
    while not server.requests:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_terminal_gets_no_control_characters_of_a_models(
    server: WireServer, project: Path, environment: dict[str, str]
) -> None:
    server.script(Turn(text=HOSTILE))
    with Terminal(["run", "say", *MODEL], environment, project) as terminal:
        assert terminal.finish() == 0
    assert "ared [bold]b[/bold]" in terminal.seen
    for forbidden in ("\x1b[31mred", "\x1b]52", "\u202e"):
        assert forbidden not in terminal.seen


def test_with_stdout_in_a_pipe_the_live_view_stays_on_the_terminal(
    server: WireServer, project: Path, environment: dict[str, str]
) -> None:
    server.script(Turn(text=HOSTILE, latency=0.3))
    with Terminal(["run", "say", *MODEL], environment, project, stdout=subprocess.PIPE) as terminal:
        assert terminal.finish() == 0
        assert terminal.process.stdout is not None
        assert terminal.process.stdout.read() == f"{HOSTILE}\n".encode()
    assert "waiting for the model" in terminal.seen
    assert "succeeded, unchecked" in terminal.seen


def test_the_live_view_shows_calls_and_diffs(
    server: WireServer, project: Path, environment: dict[str, str]
) -> None:
    (project / "a.txt").write_text("old line\n")
    edit = {"path": "a.txt", "old": "old line", "new": "new [red]line"}
    server.script(Turn(text="I mend it.", tool_calls=[("edit", edit)]), Turn(text="mended"))
    with Terminal(["run", "work", *MODEL], {**environment, "NO_COLOR": "1"}, project) as terminal:
        assert terminal.finish() == 0
    for part in ("I mend it.", "\u2192 edit a.txt", "-old line", "+new [red]line", "mended"):
        assert part in terminal.seen


def test_no_color_leaves_the_colours_out(
    server: WireServer, project: Path, environment: dict[str, str]
) -> None:
    server.script(Turn(text="plain"), Turn(text="plain"))
    with Terminal(["run", "say", *MODEL], environment, project) as coloured:
        coloured.finish()
    with Terminal(["run", "say", *MODEL], {**environment, "NO_COLOR": "1"}, project) as plain:
        plain.finish()
    assert "\x1b[32msucceeded" in coloured.seen
    assert "\x1b[32m" not in plain.seen


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_ends_a_run_cleanly(
    server: WireServer,
    project: Path,
    environment: dict[str, str],
    home: Path,
    number: signal.Signals,
    code: int,
) -> None:
    server.script(Fault.HANG)
    with Terminal(["run", "say", *MODEL], environment, project) as terminal:
        terminal.wait_for("waiting for the model")
        _wait_for_request(server)
        terminal.kill(number)
        assert terminal.finish() == code
    assert "stopping: the ledger is being brought up to date" in terminal.seen
    assert [entry["kind"] for entry in _entries(home)] == ["reserve", "call", "run"]
    assert _entries(home)[-1]["status"] == "interrupted"


def test_a_second_signal_leaves_at_once_and_the_next_run_closes_the_books(
    server: WireServer, project: Path, environment: dict[str, str], home: Path
) -> None:
    server.script(Fault.HANG, Turn(text="after"))
    with Terminal(["run", "say", *MODEL], environment, project) as terminal:
        terminal.wait_for("waiting for the model")
        _wait_for_request(server)
        # Stopped meanwhile, the process finds both at once: no clean end can come between them.
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            terminal.kill(number)
        # Which of the two comes second is the kernel's to say: each may be taken by another thread.
        assert terminal.finish() in (130, 143)
    assert terminal.seen.endswith("\x1b[?25h")
    assert [entry["kind"] for entry in _entries(home)] == ["reserve"]
    with Terminal(["run", "say", *MODEL], environment, project) as terminal:
        assert terminal.finish() == 0
    kinds = [entry["kind"] for entry in _entries(home)]
    assert (kinds.count("reserve"), kinds.count("call"), kinds.count("run")) == (2, 2, 2)


def test_a_found_model_is_used_named_and_offered_as_the_default(
    server: WireServer, project: Path, environment: dict[str, str], home: Path
) -> None:
    server.script(Turn(text="one"), Turn(text="two"))
    with Terminal(["run", "say"], environment, project) as terminal:
        terminal.wait_for("Make it your default")
        terminal.type("y\n")
        assert terminal.finish() == 0
    assert "OPENAI_API_KEY is set" in terminal.seen
    saved = (home / ".config" / "meshclaw" / "config.yaml").read_text()
    assert "default: openai/" in saved
    with Terminal(["run", "say"], environment, project) as terminal:
        assert terminal.finish() == 0
    assert "Make it your default" not in terminal.seen


def test_with_the_input_in_a_pipe_a_found_model_is_used_and_named_and_nothing_is_asked(
    server: WireServer, project: Path, environment: dict[str, str], home: Path
) -> None:
    """`git diff | meshclaw run summarize` in a terminal."""
    server.script(Turn(text="the summary"))
    (project / "tasks" / "short.yaml").write_text(
        "prompt: '{{ text }}'\nrunner: prompt\ninputs: {text: stdin}\n"
    )
    with Terminal(["run", "short"], environment, project, stdin=subprocess.PIPE) as terminal:
        assert terminal.process.stdin is not None
        terminal.process.stdin.write(b"a long text")
        terminal.process.stdin.close()
        assert terminal.finish() == 0
    assert "no model is set: using openai/" in terminal.seen
    assert "the summary" in terminal.seen
    assert not (home / ".config" / "meshclaw" / "config.yaml").exists()


def test_ctrl_c_at_a_question_ends_the_command_at_once(
    server: WireServer, project: Path, environment: dict[str, str]
) -> None:
    with Terminal(["run", "say"], environment, project) as terminal:
        terminal.wait_for("Make it your default")
        assert terminal.finish_by_ctrl_c() == 130
    assert server.requests == []


def test_missing_weights_are_offered_with_their_size_and_a_no_is_a_no(project: Path) -> None:
    with Terminal(["run", "say", "--model", "local/qwen2.5-coder-0.5b"], {}, project) as terminal:
        terminal.wait_for("Download 0.5 GB now?")
        terminal.type("n\n")
        assert terminal.finish() == 2
    assert "meshclaw models pull qwen2.5-coder-0.5b" in terminal.seen


@pytest.mark.parametrize("columns", [80, 140])
def test_tables_fit_the_terminal(
    server: WireServer, project: Path, environment: dict[str, str], columns: int
) -> None:
    server.script(Turn(text="x"))
    with Terminal(["run", "say", *MODEL], environment, project) as terminal:
        terminal.finish()
    for command in (
        ["report", "--by", "day,model"],
        ["runs", "list"],
        ["tasks", "list"],
        ["config", "show"],
    ):
        plain = {**environment, "NO_COLOR": "1", "TERM": "dumb"}
        with Terminal(command, plain, project, columns=columns) as terminal:
            assert terminal.finish() == 0
        table = [line.rstrip() for line in terminal.seen.splitlines() if "/" not in line]
        assert max(map(len, table)) <= columns


@pytest.mark.parametrize("columns", [20, 40, 60])
def test_a_terminal_too_narrow_gets_whole_figures(
    server: WireServer, project: Path, environment: dict[str, str], columns: int
) -> None:
    server.script(Turn(text="x"))
    with Terminal(["run", "say", *MODEL], environment, project) as terminal:
        terminal.finish()
    command = ["report", "--by", "day,model,project,runner"]
    with Terminal(command, {"NO_COLOR": "1", "TERM": "dumb"}, project, columns=columns) as terminal:
        assert terminal.finish() == 0
    total = next(line for line in terminal.seen.splitlines() if line.strip().startswith("total"))
    assert total.split() == ["total", "1", "1", "1", "100", "10", "$0"]
    assert [word for word in terminal.seen.split() if "unchecked" in word] == ["unchecked"]


def test_a_reader_that_goes_away_is_no_error(project: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "meshclaw", "tasks", "schema"],
        cwd=project,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
