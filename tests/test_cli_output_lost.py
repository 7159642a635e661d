"""Standard output that cannot be written, and a current folder that is gone: said, never a defect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from wire_server import Turn, WireServer

MODEL = "openai/gpt-6.1-terra"


def _shell(folder: Path, script: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs `script` in sh, with `"$PYTHON" -m meshclaw` as the command."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHON": sys.executable,
        "MESHCLAW_LEDGER": str(folder / "ledger.jsonl"),
        **more,
    }
    return subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("target", ["1>/dev/full", "1>&-"])
@pytest.mark.parametrize("command", ["tasks list", "report --json", "tasks schema", "--version"])
def test_a_standard_output_that_cannot_be_written_is_said(
    tmp_path: Path, command: str, target: str
) -> None:
    done = _shell(tmp_path, f'"$PYTHON" -m meshclaw {command} {target}')
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write to standard output: ")
    assert "defect" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_whose_events_cannot_be_written_is_stopped_and_closed(tmp_path: Path) -> None:
    with WireServer() as server:
        server.script(Turn(text="an answer that nobody reads"))
        done = _shell(
            tmp_path,
            f'echo text | "$PYTHON" -m meshclaw run summarize --model {MODEL} --stream-json >/dev/full',
            OPENAI_API_KEY="key",
            ANTHROPIC_BASE_URL=server.url,
        )
    assert done.returncode == 130
    assert "cannot write to standard output: No space left on device" in done.stderr
    entries = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [entry["status"] for entry in entries if entry["kind"] == "run"] == ["interrupted"]


@pytest.mark.parametrize("command", ["tasks list", "report --json"])
def test_a_current_folder_that_is_gone_is_said(tmp_path: Path, command: str) -> None:
    (tmp_path / "gone").mkdir()
    done = _shell(tmp_path, f'cd gone && rmdir ../gone && "$PYTHON" -m meshclaw {command}')
    assert done.returncode == 2
    assert done.stderr.startswith("current folder: is gone: ")
    if "--json" in command:
        assert json.loads(done.stdout)["exit"] == 2
