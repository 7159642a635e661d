"""Runs the real command in a process of its own, with a project, a home and a ledger of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class CommandLine:
    """`run("report", "--by", "day")` gives the finished process; `environment` is added to a bare one.

    `within` are the words of another command that runs it.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    within: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.project = self.folder / "project"
        self.project.mkdir(parents=True, exist_ok=True)
        self.ledger = self.folder / "ledger.jsonl"

    def run(
        self, *arguments: str, stdin: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.within, sys.executable, "-m", "meshclaw", *arguments],
            cwd=self.project,
            env=self._environment(),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The command while it runs; what it says is thrown away."""
        return subprocess.Popen(
            [*self.within, sys.executable, "-m", "meshclaw", *arguments],
            cwd=self.project,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def record(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> dict[str, Any]:
        """`meshclaw run ... --json`, decoded."""
        done = self.run("run", *arguments, "--json", stdin=stdin, timeout=timeout)
        try:
            record: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"exit {done.returncode}\n{done.stdout}\n{done.stderr}") from None
        assert record["exit"] == done.returncode
        return record

    def entries(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The ledger's lines, decoded."""
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        entries = [json.loads(line) for line in lines]
        return [entry for entry in entries if kind in (None, entry["kind"])]

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "MESHCLAW_LEDGER": str(self.ledger),
            "MESHCLAW_DATA_DIR": str(self.folder / "data"),
            **self.environment,
        }
