"""A matrix of a thousand items, killed at a third and interrupted at two: each is done exactly once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from cli_terminal import PATIENCE, trust_project

from meshclaw.ledger.chain import verify
from meshclaw.ledger.entry import Call, RunEnd
from meshclaw.ledger.file import read_entries
from meshclaw.messages import Message, Response, StopReason, Text, encode_response
from meshclaw.runs import Event, encode_line
from meshclaw.usage import Usage, UsageSource

ITEMS = 1_000
TASK = """\
runner: prompt
params: {n: {type: integer}}
matrix: {n: {file: numbers.txt}}
prompt: "Say {{ n }}"
"""
ANSWER = Response(
    Message("assistant", (Text("said"),)), StopReason.ANSWER, Usage(10, 0, {}, 1), UsageSource.FINAL
)


@pytest.mark.slow
def test_a_thousand_items_are_done_once_whatever_comes_between(tmp_path: Path, home: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "many.yaml").write_text(TASK)
    (tmp_path / "numbers.txt").write_text("".join(f"{number}\n" for number in range(ITEMS)))
    events = [
        Event("start", {"model": "m"}),
        Event("request", {"call": "1.1.0", "digest": "any"}),
        Event("response", {"call": "1.1.0", "response": encode_response(ANSWER)}),
    ]
    (tmp_path / "recording.jsonl").write_bytes(b"".join(map(encode_line, events)))
    trust_project(tmp_path)
    data = home / ".local" / "share" / "meshclaw"

    stop_at(tmp_path, data, ["run", "many", "-m", "replay/recording.jsonl"], ITEMS // 3, signal.SIGKILL)
    (batch,) = (folder.name for folder in (data / "batches").iterdir())
    code = stop_at(tmp_path, data, ["runs", "resume", batch], 2 * ITEMS // 3, signal.SIGINT)
    assert code == 130
    assert len(ended(data)) < ITEMS, "it was stopped before it was done"
    done = meshclaw(tmp_path, ["runs", "resume", batch, "--json", "--jobs", "16"])
    out, _ = done.communicate(timeout=2 * PATIENCE)
    assert done.returncode == 0

    record = json.loads(out)
    assert record["counts"] == {"unchecked": ITEMS}
    assert [item["params"]["n"] for item in record["items"]] == list(range(ITEMS))
    entries = list(read_entries(data / "ledger.jsonl"))
    runs = {entry.run for entry in entries if isinstance(entry, RunEnd)}
    good = [entry for entry in entries if isinstance(entry, RunEnd) and entry.status == "succeeded"]
    assert runs == {item["run"] for item in record["items"]}, "no item had a second run"
    assert len({entry.params_digest for entry in good}) == len(good) == ITEMS
    assert {entry.batch for entry in good} == {batch}
    answered = Counter(entry.run for entry in entries if isinstance(entry, Call) and entry.status == "ok")
    assert set(answered.values()) == {1}
    assert len(answered) == ITEMS, "no answer was asked for twice"
    assert verify(data / "ledger.jsonl").ok
    assert list((data / "active").iterdir()) == []
    assert sorted(ended(data)) == list(range(1, ITEMS + 1))


def stop_at(project: Path, data: Path, arguments: list[str], items: int, how: signal.Signals) -> int:
    """Begins a command and sends it a signal as soon as so many items have ended; its exit code."""
    process = meshclaw(project, [*arguments, "--jobs", "16"])
    deadline = time.monotonic() + 2 * PATIENCE
    while len(ended(data)) < items:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    process.communicate(timeout=PATIENCE)
    return process.returncode


def meshclaw(project: Path, arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "meshclaw", *arguments],
        cwd=project,
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(data: Path) -> list[int]:
    """The numbers of the items that the batch's log calls done, in order."""
    logs = list((data / "batches").glob("*/log.jsonl"))
    lines = logs[0].read_text().splitlines(keepends=True) if logs else []
    found = (json.loads(line) for line in lines if line.endswith("\n"))
    return [event["item"] for event in found if event["event"] == "item-end" and event["done"]]
