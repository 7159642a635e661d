"""Whole jobs through the real command: a scripted model on loopback, and a real one behind llama.cpp."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from llama_server import LlamaServer, weights_of
from made_once import Once
from wire_server import Turn, WireServer

pytestmark = pytest.mark.xdist_group("delegated jobs")

BUGGY = 'def add(a, b):\n    """The sum of a and b."""\n    return a - b\n'
CHECK = """\
import sys

import calc

print("1 passed" if calc.add(2, 3) == 5 else sys.exit(f"1 failed: add(2, 3) is {calc.add(2, 3)}"))
"""
FIX = ("fix-tests", "-p", "command=python check.py", "--allow-run", "python check.py")
SCRIPT = (
    Turn(text="Let me run the tests.", tool_calls=[("shell", {"command": "python check.py"})]),
    Turn(tool_calls=[("read", {"path": "calc.py"}), ("search", {"pattern": "add"})]),
    Turn(tool_calls=[("edit", {"path": "calc.py", "old": "a - b", "new": "a + b"})]),
    Turn(tool_calls=[("shell", {"command": "python check.py"})]),
    Turn(
        text="add subtracted; it adds now. 1 passed", usage={"input": 50, "cache_read": 900, "output": 20}
    ),
)


def project(line: CommandLine) -> CommandLine:
    (line.project / "calc.py").write_text(BUGGY)
    (line.project / "check.py").write_text(CHECK)
    return line


@dataclass(frozen=True, slots=True)
class Job:
    """One whole run of the job on one wire format; `bodies` are the requests' JSON."""

    wire: str
    line: CommandLine
    record: Mapping[str, Any]
    bodies: Sequence[Any]

    @property
    def transcript(self) -> Path:
        return Path(self.record["directory"]) / "transcript.jsonl"


@pytest.fixture(params=["anthropic/claude-sonnet-5-5", "openai/gpt-6.1-terra", "vllm/some-model"])
def job(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, once: Once) -> Job:
    """One model for each of the three wire formats."""
    wire = str(request.param)
    return once.made(("delegated job", wire), lambda: _job(tmp_path_factory.mktemp("job"), wire))


def _job(folder: Path, wire: str) -> Job:
    with WireServer() as server:
        server.script(*SCRIPT)
        line = project(CommandLine(folder, environment(server, folder)))
        record = line.record(*FIX, "--model", wire)
        bodies = [without_markers(request.body) for request in server.requests if request.body]
    return Job(wire, line, record, bodies)


def environment(server: WireServer | LlamaServer, folder: Path) -> dict[str, str]:
    config = folder / "config.yaml"
    config.write_text(f"providers:\n  vllm: {{base_url: '{server.openai_url}'}}\n")
    return {
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "sk-test",
        "OPENAI_BASE_URL": server.openai_url,
        "OPENAI_API_KEY": "sk-test",
        "MESHCLAW_CONFIG": str(config),
    }


def test_fix_tests_edits_a_file_and_turns_a_failing_test_green(job: Job) -> None:
    record = job.record
    assert (record["status"], record["exit"], record["steps"]) == ("succeeded", 0, 5)
    assert (record["outcome"], record["attempts"]) == ("accepted", 1)
    assert (job.line.project / "calc.py").read_text() == BUGGY.replace("a - b", "a + b")
    results = [event["content"] for event in map_lines(job.transcript) if event["event"] == "tool-result"]
    assert "1 failed: add(2, 3) is -1" in results[0]
    assert "1 passed" in results[-1]
    assert len(job.line.entries("call")) == 5
    assert job.line.run("ledger", "verify").returncode == 0


def test_the_transcript_replays_byte_for_byte(tmp_path: Path, job: Job) -> None:
    again = project(CommandLine(tmp_path))
    record = again.record(*FIX, "--model", f"replay/{job.record['directory']}")
    assert (record["status"], record["cost_usd"]) == ("succeeded", "0.0")
    assert {entry["model"] for entry in again.entries()} == {f"replay/{job.wire.partition('/')[2]}"}
    replayed = Path(record["directory"]) / "transcript.jsonl"
    assert replayed.read_bytes() == job.transcript.read_bytes()
    assert (again.project / "calc.py").read_bytes() == (job.line.project / "calc.py").read_bytes()


def test_every_request_on_the_wire_begins_with_the_one_before(job: Job) -> None:
    bodies = job.bodies
    assert len(bodies) == 5
    history = next(key for key in ("input", "messages") if key in bodies[0])
    for before, after in pairwise(bodies):
        assert after[history][: len(before[history])] == before[history]
        assert {key: value for key, value in after.items() if key != history} == {
            key: value for key, value in before.items() if key != history
        }


def test_where_nothing_can_hold_commands_the_run_does_not_start(tmp_path: Path) -> None:
    with WireServer() as server:
        server.script(*SCRIPT)
        line = project(CommandLine(tmp_path, environment(server, tmp_path)))
        with (tmp_path / "config.yaml").open("a") as config:
            config.write("sandbox: {use: bubblewrap, bubblewrap: /nowhere/bwrap}\n")
        refused = line.run("run", *FIX, "--model", "vllm/some-model")
        asked = len(server.requests)
        allowed = line.record(*FIX, "--model", "vllm/some-model", "--no-sandbox")
    assert (refused.returncode, asked) == (6, 0)
    assert "bubblewrap is not installed" in refused.stderr
    assert allowed["exit"] == 0


def map_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_markers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_markers(item) for key, item in value.items() if key != "cache_control"}
    return [without_markers(item) for item in value] if isinstance(value, list) else value


REAL_TASK = """\
description: A job that a small model can do with a tool.
prompt: Read the file secret.txt with the read tool and answer with the word in it, and nothing else.
tools: [read]
budget: {steps: 6, time: 10m}
max_output: 200
"""


@pytest.mark.model
@pytest.mark.slow
def test_the_same_agent_job_runs_on_a_real_llama_server_through_both_sdks(tmp_path: Path) -> None:
    with LlamaServer(weights_of()) as server:
        for model in ("anthropic/qwen", "openai/qwen", "vllm/qwen"):
            folder = tmp_path / model.partition("/")[0]
            folder.mkdir()
            line = CommandLine(folder, environment(server, folder))
            (line.project / "secret.txt").write_text("zebra\n")
            (line.project / "job.yaml").write_text(REAL_TASK)
            assert line.run("trust", "job.yaml", "--yes").returncode == 0
            record = line.record("job.yaml", "--model", model, timeout=600)
            assert record["exit"] in (0, 1), record
            assert record["usage"]["total"] > 0, record
            assert record["cost_usd"] == "0.0"
            assert len(line.entries("call")) == record["calls"] >= 1
            assert line.run("ledger", "verify").returncode == 0
