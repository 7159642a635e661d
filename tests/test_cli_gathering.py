"""A signal while inputs are gathered, before there is a run: nothing is left running, and it is said."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from cli_terminal import PATIENCE, trust_project

TASK = """\
runner: prompt
prompt: "{{ slow }}"
inputs: {slow: {command: "echo $$ > pid; exec sleep 600"}}
"""


def _wait(condition: Path) -> str:
    deadline = time.monotonic() + PATIENCE
    while not (condition.exists() and condition.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return condition.read_text().strip()


def _runs(pid: str) -> bool:
    """A zombie has no command line: it has ended."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_while_gathering_ends_the_command_and_is_told(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "meshclaw.yaml").write_text("budget: {steps: 10}\n")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "slow.yaml").write_text(TASK)
    trust_project(tmp_path)
    command = [sys.executable, "-m", "meshclaw", "run", "slow", "--model", "ollama/none", "--no-sandbox"]
    with subprocess.Popen(
        [*command, "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_heed_signals,
    ) as process:
        # At once: it may still be about to be started, as far as its parent knows.
        pid = _wait(tmp_path / "pid")
        assert Path(f"/proc/{pid}").exists()
        process.send_signal(number)
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert (json.loads(out)["status"], json.loads(out)["exit"]) == ("interrupted", code)
    assert not _runs(pid)


@pytest.mark.parametrize("source", ["a pipe", "a FIFO"])
def test_a_signal_ends_the_wait_for_input_that_never_comes(tmp_path: Path, source: str) -> None:
    (tmp_path / "ask.yaml").write_text("runner: prompt\nprompt: '{{ text }}'\ninputs: {text: stdin}\n")
    os.mkfifo(tmp_path / "fifo")
    command = [sys.executable, "-m", "meshclaw", "run", "ask.yaml", "--model", "ollama/none", "--json"]
    with subprocess.Popen(
        command if source == "a pipe" else [*command, "--input", "text=fifo"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_heed_signals,
    ) as process:
        assert process.stdin is not None
        writing = process.stdin.fileno() if source == "a pipe" else _partner(tmp_path / "fifo")
        os.write(writing, b"a beginning")
        _drained(writing)
        process.send_signal(signal.SIGTERM)
        out = process.stdout.read() if process.stdout else b""
        told = process.stderr.read() if process.stderr else b""
        assert process.wait(PATIENCE) == 143
        if source == "a FIFO":
            os.close(writing)
    assert json.loads(out)["status"] == "interrupted"
    assert told.endswith(b"interrupted\n")


def _partner(fifo: Path) -> int:
    """The FIFO open for writing, once somebody reads it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _drained(writing: int) -> None:
    """Until all that was written has been read."""
    deadline = time.monotonic() + PATIENCE
    while int.from_bytes(fcntl.ioctl(writing, termios.FIONREAD, bytes(4)), sys.byteorder):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _heed_signals() -> None:
    # Whoever runs the tests in the background may have had them ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
