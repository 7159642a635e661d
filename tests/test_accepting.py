"""What counts as done, from the command line: shown, found wrong, and judged in whole runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_terminal import Cli
from contained import needs_bubblewrap
from wire_server import Turn, WireServer

from meshclaw.errors import ExitCode

MODEL = ("--model", "anthropic/claude-haiku-5-5")
REPORT = """\
prompt: Find the cause.
runner: prompt
accept:
  - matches: (?m)^Root cause
  - absent: TODO
    name: nothing is left open
  - judge: The cause is named.
    model: anthropic/claude-opus-5-5
"""
FIX = """\
prompt: Mend it.
params: {word: {default: mended}}
inputs: {log: stdin}
tools: [read, edit]
allow: {write: ["*.txt"]}
accept:
  - run: |
      grep -q "$MESHCLAW_PARAM_WORD" app.txt && grep -q broken "$MESHCLAW_INPUT_LOG"
    timeout: 1m
    name: it is mended
  - changed: ["*.txt"]
  - max_diff: 4
  - files: {app.txt: {min: 1, max: 1 KB}}
  - human: "app.txt: is it well said?"
"""
MENDS = Turn(tool_calls=[("edit", {"path": "app.txt", "old": "broken", "new": "mended"})])


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, server: WireServer) -> Cli:
    (tmp_path / "app.txt").write_text("it is broken\n")
    made = Cli(capsys, tmp_path, {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": server.url})
    made.task("report", REPORT)
    made.task("fix", FIX.replace("inputs: {log: stdin}", "inputs: {log: {file: app.txt}}"))
    return made


def run(cli: Cli, task: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(cli("run", task, *MODEL, "--json")[1])
    return record


def statuses(record: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["check"], one["status"]) for one in record["checks"]]


def test_checks_are_shown_before_anything_is_spent(cli: Cli, server: WireServer) -> None:
    assert (
        "done when:\n"
        '  run: grep -q "$MESHCLAW_PARAM_WORD" app.txt && grep -q broken "$MESHCLAW_INPUT_LOG"'
        " (timeout 60, name it is mended)\n"
        "  changed: *.txt\n"
        "  max_diff: 4\n"
        "  files: app.txt min 1, max 1000\n"
        "  human: app.txt: is it well said?\n"
    ) in cli("tasks", "show", "fix")[1]
    assert json.loads(cli("tasks", "show", "report", "--json")[1])["accept"][1] == {
        "kind": "absent",
        "argument": "TODO",
        "options": {"name": "nothing is left open"},
        "line": 5,
        "column": 5,
    }
    code, out, _ = cli("run", "report", *MODEL, "--dry-run")
    assert code == 0
    assert (
        "done when:\n  matches: (?m)^Root cause\n  nothing is left open\n"
        "  judge: The cause is named. (anthropic/claude-opus-5-5)\n"
    ) in out
    plan = json.loads(cli("run", "report", *MODEL, "--dry-run", "--json")[1])
    assert plan["checks"][1] == {"kind": "absent", "check": "nothing is left open"}
    cli.task("plain", "prompt: hi\nrunner: prompt\n")
    assert "done when: nothing is checked\n" in cli("run", "plain", *MODEL, "--dry-run")[1]
    assert server.requests == []


def test_what_makes_no_check_is_a_mistake_in_the_task(cli: Cli, server: WireServer) -> None:
    cli.task("wrong", "prompt: hi\naccept:\n  - matches: '('\n")
    expected = "tasks/wrong.yaml:3:5: 'matches': '(' is not a regular expression: missing ) at position 1\n"
    assert cli("tasks", "check", "wrong")[:2] == (ExitCode.USAGE, expected)
    code, _, err = cli("run", "wrong", *MODEL)
    assert (code, err) == (ExitCode.USAGE, expected)
    cli.task("wrong", "prompt: hi\nrunner: prompt\naccept:\n  - judge: good\n    model: stron\n")
    code, _, err = cli("run", "wrong", *MODEL)
    assert code == ExitCode.USAGE
    assert err.startswith("tasks/wrong.yaml:4:5: unknown model 'stron'")
    assert server.requests == []


def test_a_report_that_passes_is_accepted(cli: Cli, server: WireServer) -> None:
    server.script(Turn(text="Root cause: x"), Turn(text='{"reason": "It is.", "passed": true}'))
    record = run(cli, "report")
    assert (record["exit"], record["outcome"], record["calls"]) == (0, "accepted", 2)
    assert [status for _, status in statuses(record)] == ["passed", "passed", "passed"]
    assert [request.body["model"] for request in server.requests] == ["claude-haiku-5-5", "claude-opus-5-5"]


def test_a_judge_is_not_paid_for_what_has_failed(cli: Cli, server: WireServer) -> None:
    server.script(Turn(text="The cause is x. TODO: y"))
    record = run(cli, "report")
    assert (record["exit"], record["outcome"], record["calls"]) == (ExitCode.NOT_ACCEPTED, "rejected", 1)
    assert statuses(record) == [
        ("matches: (?m)^Root cause", "failed"),
        ("nothing is left open", "failed"),
        ("judge: The cause is named.", "skipped"),
    ]
    assert record["reason"].startswith("matches: (?m)^Root cause: the result does not match ")


@needs_bubblewrap
def test_work_on_files_is_judged_and_waits_for_a_person(cli: Cli, server: WireServer) -> None:
    server.script(MENDS, Turn(text="Mended."))
    record = run(cli, "fix")
    assert (record["exit"], record["outcome"]) == (ExitCode.NOT_ACCEPTED, "pending"), record
    assert statuses(record) == [
        ("it is mended", "passed"),
        ("changed: *.txt", "passed"),
        ("max_diff: 4", "passed"),
        ("files: app.txt", "passed"),
        ("human: app.txt: is it well said?", "pending"),
    ]


@needs_bubblewrap
def test_a_claim_without_work_is_rejected(cli: Cli, server: WireServer) -> None:
    server.script(Turn(text="Mended."))
    record = run(cli, "fix")
    assert (record["exit"], record["outcome"]) == (ExitCode.NOT_ACCEPTED, "rejected")
    assert record["reason"] == "it is mended: exit code 1 (and 2 more)"
    assert statuses(record)[1] == ("changed: *.txt", "failed")
    assert statuses(record)[-1][1] == "skipped"


LEAK = """\
prompt: Do it.
tools: [shell]
allow: {write: ["*.txt"], run: ["cp *"]}
attempts: 2
accept:
  - judge: It is good.
    model: anthropic/claude-opus-5-5
  - run: cat secret.txt; exit 1
"""


@needs_bubblewrap
def test_secrets_reach_neither_judge_nor_transcript_nor_the_next_attempt(
    cli: Cli, server: WireServer
) -> None:
    cli.environment["DEPLOY_TOKEN"] = secret = "hunter2-hunter2-hunter2"
    (cli.project / "secret.txt").write_text(f"the token is {secret}\n")
    cli.task("leak", LEAK)
    passes = Turn(text='{"reason": "It is.", "passed": true}')
    copies = Turn(tool_calls=[("shell", {"command": "cp secret.txt app.txt"})])
    server.script(copies, Turn(text="Done."), passes, Turn(text="Done again."), passes)
    record = run(cli, "leak")
    assert statuses(record)[1] == ("run: cat secret.txt; exit 1", "failed")
    sent = [json.dumps(request.body) for request in server.requests]
    assert len(sent) == 5
    assert "+the token is [redacted]" in sent[2]
    assert "the token is [redacted]" in sent[3]
    transcript = (Path(record["directory"]) / "transcript.jsonl").read_text()
    for text in (*sent, transcript, json.dumps(record)):
        assert secret not in text


def test_commands_of_checks_run_nowhere_unheld(cli: Cli, server: WireServer, home: Path) -> None:
    """They run what a model has written."""
    settings = home / ".config" / "meshclaw" / "config.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text("sandbox: {use: bubblewrap, bubblewrap: /nowhere/bwrap}\n")
    code, _, err = cli("run", "fix", *MODEL)
    assert (code, server.requests) == (ExitCode.REFUSED, [])
    assert "bubblewrap" in err
    code, _, err = cli("run", "fix", *MODEL, "--no-sandbox")
    assert (code, "a check that runs what the model may have written" in err) == (ExitCode.REFUSED, True)
    cli.task("fix", FIX.replace("inputs: {log: stdin}", "inputs: {log: {file: app.txt, trusted: true}}"))
    server.script(MENDS, Turn(text="Mended."))
    code, out, _ = cli("run", "fix", *MODEL, "--no-sandbox", "--json")
    assert json.loads(out)["outcome"] == "pending"
