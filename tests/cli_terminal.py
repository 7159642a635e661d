"""Commands in-process with captured output, and real processes on a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from meshclaw.app import App
from meshclaw.app.trusting import all_powers, find_untrusted, trust_items
from meshclaw.cli.main import invoke

PATIENCE = 60.0
"""Seconds after which a process that should have said something counts as stuck."""


def trust_project(project: Path, environment: Mapping[str, str] | None = None) -> None:
    """Trusts what the project holds, as its user would; broken tasks are left out."""
    app = App({**os.environ, **(environment or {})}, project)
    trust_items(app, find_untrusted(app, all_powers(app, [])))


@dataclass
class Cli:
    """`cli("tasks", "list")` gives (exit code, standard output, standard error)."""

    capsys: pytest.CaptureFixture[str]
    project: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = invoke(arguments, {**os.environ, **self.environment}, self.project)
        out, err = self.capsys.readouterr()
        return code, out, err

    def task(self, name: str, text: str) -> Path:
        path = self.project / "tasks" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        trust_project(self.project, self.environment)
        return path


class Terminal:
    """A process whose three streams are a terminal of `columns`; Ctrl-C can be typed.

    `stdin` and `stdout` keep these apart, as `subprocess` takes them.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        cwd: Path,
        *,
        columns: int = 100,
        stdin: int | None = None,
        stdout: int | None = None,
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "meshclaw", *arguments],
            cwd=cwd,
            env={**os.environ, "TERM": "xterm-256color", **environment},
            stdin=slave if stdin is None else stdin,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            start_new_session=True,
            preexec_fn=partial(fcntl.ioctl, slave, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._master)

    def wait_for(self, text: str) -> None:
        """Reads until the screen has shown `text`."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            if not self._read(deadline):
                raise AssertionError(f"never saw {text!r} in:\n{self.seen[-2000:]}")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def kill(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def finish(self) -> int:
        """Reads to the end and returns the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(PATIENCE)

    def finish_by_ctrl_c(self) -> int:
        """Types Ctrl-C until the process ends, as a person would who sees nothing happen.

        A signal that comes just before a read begins to wait is not seen before that read returns.
        """
        for _ in range(round(PATIENCE)):
            self.type("\x03")
            deadline = time.monotonic() + 1
            while self._read(deadline):
                pass
            if self.process.poll() is not None:
                break
        return self.finish()

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._master, 65536) if ready else b""
        except OSError:
            data = b""  # Linux says EIO when the last process has closed its side.
        self.seen += data.decode(errors="replace")
        return bool(data) and time.monotonic() < deadline
