"""A project whose files are none: opening a FIFO or a link to standard input would wait for ever.

Standard input is a pipe that nobody writes to or closes; each command must end by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_terminal import Cli

from meshclaw.errors import ProblemsError
from meshclaw.providers.replay import ReplayProvider
from meshclaw.recordings import read_recording
from meshclaw.runs import Event, encode_line, read_transcript

PATIENCE = 60.0
"""Seconds after which a command counts as waiting."""
TRAPS = {
    "standard input": "/dev/stdin",
    "standard input by number": "/proc/self/fd/0",
    "a FIFO behind a link": "../fifo",
}
"""Where a link in the project leads."""
COMMANDS = {
    "config": ("config", "show"),
    "tasks": ("tasks", "check"),
    "trust": ("trust", "--yes"),
    "run": ("run", "hello", "--model", "openai/gpt-6.1-terra"),
}
REFUSED = "cannot be read: it is not a plain file"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for path in (folder / "tasks", folder / ".git"):
        path.mkdir(parents=True)
    (folder / "tasks" / "hello.yaml").write_text("prompt: hello\n")
    os.mkfifo(tmp_path / "fifo")
    return folder


@contextmanager
def silence() -> Iterator[int]:
    """The reading end of a pipe that says nothing and does not end."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def meshclaw(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    with silence() as nobody:
        return subprocess.run(
            [sys.executable, "-m", "meshclaw", *arguments],
            cwd=project,
            stdin=nobody,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_fifo_for_a_projects_settings(project: Path, command: str) -> None:
    os.mkfifo(project / "meshclaw.yaml")
    done = meshclaw(project, *COMMANDS[command])
    assert (done.returncode, f"meshclaw.yaml: {REFUSED}" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("trap", TRAPS)
def test_a_link_for_a_projects_settings(project: Path, trap: str) -> None:
    (project / "meshclaw.yaml").symlink_to(TRAPS[trap])
    done = meshclaw(project, "config", "show")
    assert (done.returncode, f"meshclaw.yaml: {REFUSED}" in done.stderr) == (2, True), done.stderr


def test_a_fifo_for_a_task(project: Path) -> None:
    os.mkfifo(project / "tasks" / "evil.yaml")
    done = meshclaw(project, "run", "evil", "--model", "openai/gpt-6.1-terra")
    assert (done.returncode, "unknown task 'evil'" in done.stderr) == (2, True), done.stderr


def test_a_fifo_that_the_operator_names(project: Path) -> None:
    done = meshclaw(project, "--config", "../fifo", "config", "show")
    assert (done.returncode, REFUSED in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("target", ["other.yaml", os.devnull])
def test_plain_files_and_the_null_device_control(project: Path, target: str) -> None:
    (project / "other.yaml").write_text("budget: {steps: 7}\n")
    (project / "meshclaw.yaml").symlink_to(target)
    done = meshclaw(project, "config", "show", "--json")
    assert (done.returncode, '"7"' in done.stdout) == (0, target != os.devnull), done.stderr


def test_the_trap_does_wait_control(project: Path) -> None:
    os.mkfifo(project / "meshclaw.yaml")
    with silence() as nobody, pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(["cat", "meshclaw.yaml"], cwd=project, stdin=nobody, timeout=0.3, check=False)


NO_TRANSCRIPTS = {
    "a FIFO": "cannot be read: it is not a plain file",
    "a link to zeros": "cannot be read: it is not a plain file",
    "a huge file": "this is longer than 256 MiB",
    "a long line": "this line is longer than 32 MiB",
    "a deep line": "this is not a line of a transcript",
}


def put(path: Path, what: str) -> None:
    """Something in the place of a transcript that would hang its reader, or fill the machine."""
    if what == "a FIFO":
        os.mkfifo(path)
    elif what == "a link to zeros":
        path.symlink_to("/dev/zero")
    elif what == "a deep line":
        path.write_text("[" * 1_000_000 + "\n")
    else:
        with path.open("wb") as file:
            file.truncate(257 * 2**20 if what == "a huge file" else 33 * 2**20)


@pytest.mark.parametrize("what", NO_TRANSCRIPTS)
def test_what_is_no_transcript_is_not_read(project: Path, what: str) -> None:
    path = project / "x.jsonl"
    put(path, what)
    for read in (lambda one: list(read_transcript(one)), ReplayProvider, read_recording):
        with pytest.raises((ProblemsError, OSError)) as caught:
            read(path)
        assert NO_TRANSCRIPTS[what].removeprefix("cannot be read: ") in str(caught.value)
    path.unlink()
    path.write_bytes(encode_line(Event("start", {})))
    assert [event.kind for event in read_transcript(path)] == ["start"]


PLAIN = "prompt: hello\nrunner: prompt\nmodel: replay/{}\n"


def test_a_task_that_needs_no_trust_opens_no_file_elsewhere(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = Cli(capsys, project)
    elsewhere = project.parent / "transcript.jsonl"
    for path in (elsewhere, project / "mine.jsonl"):
        path.write_bytes(encode_line(Event("start", {"model": "m"})))
    (project / "link.jsonl").symlink_to(elsewhere)
    for name in ("../transcript.jsonl", str(elsewhere), "link.jsonl", "/dev/zero"):
        (project / "tasks" / "hello.yaml").write_text(PLAIN.format(name))
        code, _, err = cli("run", "hello")
        assert (code, f"replay/{name} leads out of the project" in err) == (2, True), err
    (project / "tasks" / "hello.yaml").write_text(PLAIN.format("mine.jsonl"))
    for more in ((), ("--model", f"replay/{elsewhere}")):
        code, _, err = cli("run", "hello", *more)
        assert (code, "has no more responses" in err) != (2, True), err
        assert "leads out" not in err


def test_a_recording_of_zeros_is_not_played(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "tasks" / "hello.recording.jsonl").symlink_to("/dev/zero")
    code, out, err = Cli(capsys, project)("tasks", "test", "hello")
    assert code != 0
    assert "it is not a plain file" in out + err
