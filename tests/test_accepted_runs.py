"""Whole runs with checks, through the command: claims are judged, and what fails is mended or rejected."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_terminal import Cli
from contained import PROGRAMS, needs_bubblewrap
from landlock_place import needs_landlock
from wire_server import Turn, WireServer

from meshclaw.app.ladders import choose_judges
from meshclaw.errors import ProblemsError
from meshclaw.tasks import Acceptance, Task

MODEL = ("--model", "anthropic/claude-haiku-5-5")
JUDGE = "anthropic/claude-opus-5-5"
CHECK = "python -m unittest -q"
WORK = f"""\
prompt: Make the tests pass.
tools: [read, edit, write]
allow: {{write: ["**"]}}
accept:
  - run: {CHECK}
  - changed: ["*.py"]
"""
BROKEN = "def add(a, b):\n    return a - b\n"
TESTS = (
    "import unittest\nfrom sums import add\n\n\nclass Sums(unittest.TestCase):\n"
    "    def test_add(self):\n        self.assertEqual(add(2, 3), 5)\n"
)
GOOD = ("edit", {"path": "sums.py", "old": "a - b", "new": "a + b"})
NOT_YET = ("edit", {"path": "sums.py", "old": "a - b", "new": "a * b"})
GAMING = ("edit", {"path": "test_sums.py", "old": "add(2, 3), 5", "new": "add(2, 3), -1"})
CONFIG = ("write", {"path": "sitecustomize.py", "content": "import unittest\nunittest.main = print\n"})


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, server: WireServer) -> Cli:
    project = tmp_path / "project"
    project.mkdir()
    (project / "sums.py").write_text(BROKEN)
    (project / "test_sums.py").write_text(TESTS)
    made = Cli(
        capsys,
        project,
        {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": server.url, "PATH": PROGRAMS},
    )
    made.task("mend", WORK)
    return made


def record_of(cli: Cli, *arguments: str) -> dict[str, Any]:
    code, out, err = cli("run", *arguments, *MODEL, "--json")
    record: dict[str, Any] = json.loads(out) if out else {}
    assert record, err
    assert record["exit"] == code
    return record


def told(server: WireServer, number: int) -> str:
    return json.dumps(server.requests[number].body["messages"])


@needs_bubblewrap
@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([Turn(text=""), Turn(text="")], "the answer is empty"),
        ([Turn(text="I could not find the cause.")], "the work was not done"),
        ([Turn(text="All tests pass now.")], "exit"),
        ([Turn(tool_calls=[NOT_YET]), Turn(text="Done.")], "exit"),
        ([Turn(tool_calls=[GAMING]), Turn(text="Done.")], "exit"),
        ([Turn(tool_calls=[CONFIG]), Turn(text="Done.")], "exit"),
    ],
    ids=["empty", "excuse", "no-op", "wrong", "edited tests", "configuration"],
)
def test_a_claim_of_success_is_rejected(
    cli: Cli, server: WireServer, turns: list[Turn], reason: str
) -> None:
    server.script(*turns)
    record = record_of(cli, "mend")
    assert (record["outcome"], record["exit"]) == ("rejected", 3)
    assert reason in record["reason"]
    assert "\n" not in record["reason"]


def test_a_result_of_the_wrong_form_is_rejected(cli: Cli, server: WireServer) -> None:
    schema = "output: {schema: {type: object, required: [n]}}\n"
    cli.task("pick", f"prompt: Pick.\nrunner: prompt\n{schema}accept: [schema]\n")
    server.script(Turn(text="seven"), Turn(text='{"m": 7}'))
    record = record_of(cli, "pick")
    assert (record["outcome"], record["exit"]) == ("rejected", 3)
    assert "'n' is a required property" in record["reason"]


def test_a_patch_that_changes_nothing_is_rejected(cli: Cli, server: WireServer) -> None:
    cli.task("mend", 'prompt: Mend.\naccept: [{changed: ["*.py"]}]\n')
    server.script(Turn(text="Done."))
    record = record_of(cli, "mend")
    assert (record["outcome"], record["exit"], "changed" in record["reason"]) == ("rejected", 3, True)


@needs_bubblewrap
def test_honest_work_is_accepted(cli: Cli, server: WireServer) -> None:
    """The control: the very checks that reject claims let through what is so."""
    server.script(Turn(tool_calls=[GOOD]), Turn(text="Done."))
    record = record_of(cli, "mend")
    assert (record["outcome"], record["exit"], record["changed_by_agent"]) == ("accepted", 0, [])
    assert [check["status"] for check in record["checks"]] == ["passed", "passed"]


@needs_landlock
def test_checks_run_under_landlock_too(cli: Cli, server: WireServer, home: Path) -> None:
    config = home / ".config" / "meshclaw" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("sandbox: {use: landlock}\n")
    for change, outcome in ((NOT_YET, "rejected"), (GOOD, "accepted")):
        (cli.project / "sums.py").write_text(BROKEN)
        server.script(Turn(tool_calls=[change]), Turn(text="Done."))
        record = record_of(cli, "mend")
        assert (record["outcome"], record["sandbox"]) == (outcome, "landlock"), record


@needs_bubblewrap
def test_hosts_that_checks_ask_for_in_vain_are_in_the_record(cli: Cli, server: WireServer) -> None:
    ask = "from urllib.request import urlopen; urlopen('http://evil.example/')"
    work = WORK.replace(CHECK, f'python -c "{ask}"').replace("allow: {", "allow: {network: [example.com], ")
    cli.task("mend", work)
    server.script(Turn(tool_calls=[GOOD]), Turn(text="Done."))
    record = record_of(cli, "mend")
    assert record["outcome"] == "rejected"
    assert record["denied"] == ['add "evil.example:80" to allow.network in tasks/mend.yaml']


@needs_bubblewrap
def test_changed_tests_are_named_and_do_not_count(cli: Cli, server: WireServer) -> None:
    server.script(Turn(tool_calls=[GAMING]), Turn(text="Done."))
    code, _, err = cli("run", "mend", *MODEL)
    assert code == 3
    remedy = 'add to protect in tasks/mend.yaml: "!test_sums.py"'
    assert (remedy in err, remedy in cli("runs", "show", "last")[1]) == (True, True)
    server.script(Turn(tool_calls=[GAMING]), Turn(text="Done."))
    (cli.project / "test_sums.py").write_text(TESTS)
    cli.task("mend", WORK + "protect: []\n")
    assert record_of(cli, "mend")["outcome"] == "accepted"


@needs_bubblewrap
def test_checks_leave_no_trace_in_the_project(cli: Cli, server: WireServer) -> None:
    cli.task("mend", WORK.replace(CHECK, "touch made-by-check && false"))
    server.script(Turn(tool_calls=[GOOD]), Turn(text="Done."))
    record = record_of(cli, "mend")
    assert record["outcome"] == "rejected"
    assert not (cli.project / "made-by-check").exists()
    left = {path.name for path in Path(record["directory"]).iterdir()}
    assert left == {"run.json", "result.txt", "saved.json", "transcript.jsonl"}


@needs_bubblewrap
def test_the_failed_checks_output_is_what_mends_it(cli: Cli, server: WireServer) -> None:
    cli.task("mend", WORK + "attempts: 3\n")
    server.script(
        Turn(tool_calls=[NOT_YET]),
        Turn(text="Done."),
        Turn(tool_calls=[("edit", {"path": "sums.py", "old": "a * b", "new": "a + b"})]),
        Turn(text="Now it is done."),
    )
    record = record_of(cli, "mend")
    assert (record["outcome"], record["attempts"], record["steps"]) == ("accepted", 2, 4)
    assert "AssertionError: 6 != 5" in told(server, 2)
    assert "AssertionError" not in told(server, 1)


@needs_bubblewrap
def test_the_strong_model_is_asked_when_the_fast_one_fails(cli: Cli, server: WireServer) -> None:
    (cli.project / "meshclaw.yaml").write_text(
        "models: {fast: anthropic/claude-haiku-5-5, strong: anthropic/claude-opus-5-5}\n"
    )
    cli.task("mend", WORK + "model: [fast, strong]\n")
    server.script(
        Turn(text="Done."), Turn(tool_calls=[GOOD]), Turn(text="Done.", usage={"input": 7, "output": 3})
    )
    code, out, err = cli("run", "mend", "--json")
    record = json.loads(out)
    assert (code, record["outcome"], record["attempts"]) == (0, "accepted", 2), err
    asked = [request.body["model"] for request in server.requests]
    assert asked == ["claude-haiku-5-5", "claude-opus-5-5", "claude-opus-5-5"]
    assert record["model"] == "anthropic/claude-opus-5-5"
    ledger = Path(cli("ledger", "where")[1].strip())
    entries = [json.loads(line) for line in ledger.read_text().splitlines()]
    calls = [entry["cost_nusd"] for entry in entries if entry["kind"] == "call"]
    (end,) = [entry for entry in entries if entry["kind"] == "run"]
    assert (len(calls), end["cost_nusd"]) == (3, sum(calls))


def test_a_judge_is_another_model_and_its_calls_are_the_runs(cli: Cli, server: WireServer) -> None:
    (cli.project / "meshclaw.yaml").write_text("models: {strong: anthropic/claude-opus-5-5}\n")
    cli.task("say", "prompt: Say it.\nrunner: prompt\naccept: [{judge: It greets.}]\nattempts: 2\n")
    answer = '{{"reason": "{}", "passed": {}}}'
    server.script(
        Turn(text="Go away."),
        Turn(text=answer.format("it does not greet", "false")),
        Turn(text="Hello."),
        Turn(text=answer.format("it greets", "true")),
    )
    record = record_of(cli, "say")
    assert (record["outcome"], record["result"], record["calls"]) == ("accepted", "Hello.", 4)
    asked = [request.body["model"] for request in server.requests]
    assert asked == ["claude-haiku-5-5", "claude-opus-5-5"] * 2
    assert "it does not greet" in told(server, 2)
    shown = cli("runs", "show", "last")[1]
    assert f"check judge: It greets. ({JUDGE}): failed: it does not greet" in shown
    assert record["checks"][0]["model"] == JUDGE
    assert "attempt 2 on anthropic/claude-haiku-5-5" in shown
    assert shown.count("step 2") == shown.count("a judge") - 1 == 1
    server.script(Turn(text="Hello."), Turn(text=answer.format("it greets", "true")))
    code, _, err = cli("run", "say", *MODEL, "--fresh")
    assert (code, f"It greets. ({JUDGE}): passed" in err, "judge: 100 in" in err) == (0, True, True), err


def test_nobody_judges_their_own_work_unasked(cli: Cli, server: WireServer) -> None:
    cli.task("say", "prompt: Say it.\nrunner: prompt\naccept:\n  - judge: It greets.\n")
    code, _, err = cli("run", "say", *MODEL)
    assert (code, server.requests) == (2, [])
    assert "tasks/say.yaml:4:5: its judge would be anthropic/claude-haiku-5-5, which does the work" in err
    assert "set models.judge to another" in err
    named = f"prompt: Say it.\nrunner: prompt\naccept: [{{judge: It greets., model: {MODEL[1]}}}]\n"
    cli.task("own", named)
    shown = cli("run", "own", *MODEL, "--dry-run")[1]
    assert f"  judge: It greets. ({MODEL[1]})\n" in shown


@pytest.mark.parametrize(
    ("aliases", "worker", "judge"),
    [
        ({}, "w", None),
        ({"default": "a/w", "fast": "a/w"}, "w", None),
        ({"default": "a/w", "fast": "a/f"}, "w", "a/f"),
        ({"strong": "a/s", "fast": "a/f"}, "w", "a/s"),
        ({"judge": "fast", "strong": "a/s", "fast": "a/f"}, "w", "a/f"),
        ({"judge": "a/w", "strong": "a/s"}, "w", "a/s"),
        ({"judge": "a/s"}, "w s", "a/s"),
        ({"strong": "a/s"}, "w s", None),
    ],
)
def test_the_judge_is_the_operators_choice_or_another_model(
    aliases: dict[str, str], worker: str, judge: str | None
) -> None:
    task = Task("job", "", source="t.yaml", accept=(Acceptance("judge", "ok", {}, 1, 1),))
    workers = [f"a/{name}" for name in worker.split()]
    if judge is None:
        with pytest.raises(ProblemsError):
            choose_judges(task, aliases, workers)
    else:
        assert choose_judges(task, aliases, workers) == {"": judge}


def test_what_a_person_has_to_see_is_pending(cli: Cli, server: WireServer) -> None:
    cli.task("say", "prompt: Say it.\nrunner: prompt\noutput: {file: out.md}\naccept: [human]\n")
    server.script(Turn(text="Hello."))
    code, out, err = cli("run", "say", *MODEL)
    assert (code, out) == (3, "")
    assert "pending" in err
    assert not (cli.project / "out.md").exists()
    assert cli("runs", "accept", "last", "--why", "fine")[0] == 0
    assert (cli.project / "out.md").read_text() == "Hello.\n"


@needs_bubblewrap
def test_a_copy_is_worked_in_checked_and_handed_back(cli: Cli, server: WireServer) -> None:
    for command in (
        ["git", "init", "-q"],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "begin"],
    ):
        subprocess.run(command, cwd=cli.project, check=True)
    cli.task("mend", WORK + "isolate: copy\nbranch: meshclaw/mend\n")
    server.script(Turn(tool_calls=[GOOD]), Turn(text="Done."))
    record = record_of(cli, "mend")
    assert (record["outcome"], record["patch"]["files"], record["patch"]["branch"]) == (
        "accepted",
        ["sums.py"],
        "meshclaw/mend",
    )
    assert (cli.project / "sums.py").read_text() == BROKEN
    assert "+    return a + b" in cli("runs", "diff", "last")[1]
    assert not (Path(record["directory"]) / "copy").exists()
    server.script(Turn(tool_calls=[GOOD]), Turn(text="Done."))
    cli.task("mend", WORK + "isolate: copy\n")
    record = record_of(cli, "mend", "--apply-if-accepted")
    assert record["patch"]["applied"] is True
    assert "a + b" in (cli.project / "sums.py").read_text()


def test_accepted_work_is_not_paid_for_twice(cli: Cli, server: WireServer) -> None:
    cli.task("say", "prompt: Say it.\nrunner: prompt\naccept: [{matches: Hello}]\n")
    server.script(Turn(text="Hello."), Turn(text="Hello again."))
    first, second = record_of(cli, "say"), record_of(cli, "say")
    assert (second["reused"], second["result"], second["calls"]) == (first["run"], "Hello.", 0)
    code, out, err = cli("run", "say", *MODEL)
    assert (code, out, "accepted already in run" in err) == (0, "Hello.\n", True)
    assert record_of(cli, "say", "--fresh")["result"] == "Hello again."
    assert len(server.requests) == 2
