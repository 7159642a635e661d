"""Whole jobs through the real command: a scripted model on loopback, and a real one behind llama.cpp."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from llama_server import LlamaServer, weights_of
from wire_server import Turn, WireServer

BUGGY = 'def add(a, b):\n    """The sum of a and b."""\n    return a - b\n'
CHECK = """\
import sys

import calc

print("1 passed" if calc.add(2, 3) == 5 else sys.exit(f"1 failed: add(2, 3) is {calc.add(2, 3)}"))
"""
FIX = ("fix-tests", "--no-sandbox", "-p", "command=python check.py", "--allow-run", "python check.py")
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


@pytest.fixture(params=["anthropic/claude-sonnet-5-5", "openai/gpt-6.1-terra", "vllm/some-model"])
def wire(request: pytest.FixtureRequest) -> str:
    """One model for each of the three wire formats."""
    return str(request.param)


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


def test_fix_tests_edits_a_file_and_turns_a_failing_test_green(tmp_path: Path, wire: str) -> None:
    with WireServer() as server:
        server.script(*SCRIPT)
        line = project(CommandLine(tmp_path, environment(server, tmp_path)))
        record = line.record(*FIX, "--model", wire)
    assert (record["status"], record["exit"], record["steps"]) == ("succeeded", 0, 5)
    assert (line.project / "calc.py").read_text() == BUGGY.replace("a - b", "a + b")
    results = [
        event["content"]
        for event in map_lines(Path(record["directory"]) / "transcript.jsonl")
        if event["event"] == "tool-result"
    ]
    assert "1 failed: add(2, 3) is -1" in results[0]
    assert "1 passed" in results[-1]
    assert len(line.entries("call")) == 5
    assert line.run("ledger", "verify").returncode == 0


def test_the_transcript_replays_byte_for_byte(tmp_path: Path, wire: str) -> None:
    with WireServer() as server:
        server.script(*SCRIPT)
        line = project(CommandLine(tmp_path / "first", environment(server, tmp_path)))
        recorded = Path(line.record(*FIX, "--model", wire)["directory"])
    again = project(CommandLine(tmp_path / "second"))
    record = again.record(*FIX, "--model", f"replay/{recorded}")
    assert (record["status"], record["cost_usd"]) == ("succeeded", "0.0")
    replayed = Path(record["directory"]) / "transcript.jsonl"
    assert replayed.read_bytes() == (recorded / "transcript.jsonl").read_bytes()
    assert (again.project / "calc.py").read_bytes() == (line.project / "calc.py").read_bytes()


def test_every_request_on_the_wire_begins_with_the_one_before(tmp_path: Path, wire: str) -> None:
    with WireServer() as server:
        server.script(*SCRIPT)
        line = project(CommandLine(tmp_path, environment(server, tmp_path)))
        line.record(*FIX, "--model", wire)
        bodies = [without_markers(request.body) for request in server.requests if request.body]
    assert len(bodies) == 5
    history = next(key for key in ("input", "messages") if key in bodies[0])
    for before, after in pairwise(bodies):
        assert after[history][: len(before[history])] == before[history]
        assert {key: value for key, value in after.items() if key != history} == {
            key: value for key, value in before.items() if key != history
        }


def test_without_the_flag_no_command_runs_and_the_denial_names_it(tmp_path: Path, wire: str) -> None:
    with WireServer() as server:
        server.script(*SCRIPT[:1], Turn(text="I may not run the tests."))
        line = project(CommandLine(tmp_path, environment(server, tmp_path)))
        done = line.run("run", "fix-tests", "--model", wire)
    assert "--no-sandbox" in done.stderr


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
            record = line.record("job.yaml", "--model", model, timeout=600)
            assert record["exit"] in (0, 1), record
            assert record["usage"]["total"] > 0, record
            assert record["cost_usd"] == "0.0"
            assert len(line.entries("call")) == record["calls"] >= 1
            assert line.run("ledger", "verify").returncode == 0
