"""Every example task is loaded and run: with a scripted model on the wire, some with the embedded model."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from command_line import CommandLine
from conftest import MODELS_VARIABLE
from llama_server import TESTED, weights_of
from wire_server import Turn, WireServer

TASKS = Path(__file__).parent.parent / "tasks"
MODEL = "openai/gpt-6.1-terra"
MAIL = (
    "Subject: Outage\nHi Priya, checkout was down on 19 November. "
    "Please write a load test by Friday.\nMarek\n"
)
FACTS = {
    "subject": "Outage",
    "people": ["Priya", "Marek"],
    "dates": ["19 November", "Friday"],
    "todos": [{"who": "Priya", "what": "write a load test"}],
}
LOG = "step 1 ok\nTraceback:\n  File 'app.py', line 3\nZeroDivisionError: division by zero\n"
NOTES = (
    "The team met on Monday. The release of version 2.0 moves from May to June, because the payment tests "
    "fail. Ana repairs them. Customers will be told on Friday by the support desk.\n"
)

# The arguments, what stands on standard input, the model's turns, and what the result must be.
JOBS: dict[str, tuple[list[str], str | None, list[Turn], object]] = {
    "commit-message": ([], None, [Turn(text="Greet the world in capitals")], "Greet the world in capitals"),
    "review-diff": (
        [],
        None,
        [Turn(tool_calls=[("read", {"path": "app.py"})]), Turn(text="No findings. I read app.py.")],
        "No findings. I read app.py.",
    ),
    "summarize": ([], NOTES, [Turn(text="Version 2.0 moves to June.")], "Version 2.0 moves to June."),
    "explain-failure": (
        [],
        LOG,
        [
            Turn(tool_calls=[("search", {"pattern": "print"}), ("list", {})]),
            Turn(text="Root cause: app.py"),
        ],
        "Root cause: app.py",
    ),
    "extract": ([], MAIL, [Turn(text=json.dumps(FACTS))], FACTS),
    "changelog": (
        ["-p", "range=HEAD~1..HEAD"],
        None,
        [Turn(text="### Added\n\n- A greeting")],
        "### Added\n\n- A greeting",
    ),
    "fix-tests": (
        ["-p", "command=grep -q hello app.py"],
        None,
        [
            Turn(tool_calls=[("edit", {"path": "app.py", "old": "HELLO", "new": "hello"})]),
            Turn(tool_calls=[("shell", {"command": "python -m pytest --version"})]),
            Turn(text="It greets in lower case again."),
        ],
        "It greets in lower case again.",
    ),
}
IN_THE_PROMPT = {
    "commit-message": "+print('HELLO')",
    "review-diff": "+print('HELLO')",
    "summarize": "Ana repairs them",
    "explain-failure": "ZeroDivisionError",
    "extract": "checkout was down",
    "changelog": "second commit",
    "fix-tests": "grep -q hello app.py",
}


def repository(folder: Path) -> None:
    """A project with two commits and a staged change."""

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    for number, text in ((1, "first commit"), (2, "second commit")):
        (folder / "app.py").write_text(f"print('hello {number}')\n")
        git("add", "-A")
        git("commit", "-q", "-m", text)
    (folder / "app.py").write_text("print('HELLO')\n")
    git("add", "-A")


def test_every_example_has_a_job_here() -> None:
    assert {path.stem for path in TASKS.glob("*.yaml")} == set(JOBS) == set(IN_THE_PROMPT)


@pytest.mark.parametrize("name", JOBS)
def test_examples_run(tmp_path: Path, name: str) -> None:
    arguments, stdin, turns, result = JOBS[name]
    with WireServer() as server:
        server.script(*turns)
        line = CommandLine(tmp_path, {"OPENAI_BASE_URL": server.openai_url, "OPENAI_API_KEY": "sk-test"})
        repository(line.project)
        record = line.record(name, *arguments, "--model", MODEL, stdin=stdin)
    assert (record["exit"], record["status"], record["denied"]) == (0, "succeeded", []), record
    assert record["result"] == result
    assert record["calls"] == len(turns)
    assert IN_THE_PROMPT[name] in json.dumps(server.requests[0].body, ensure_ascii=False)


@pytest.mark.parametrize("name", JOBS)
def test_every_example_says_what_it_is_for_and_states_its_limits(name: str, tmp_path: Path) -> None:
    text = (TASKS / f"{name}.yaml").read_text()
    assert f"# meshclaw run {name}" in text
    line = CommandLine(tmp_path)
    assert line.run("tasks", "check", str(TASKS / f"{name}.yaml")).returncode == 0
    shown = line.run("tasks", "show", name)
    assert shown.returncode == 0
    assert "usd" in shown.stdout.lower()


def test_a_changelog_needs_no_range_in_a_young_repository(tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    repository(line.project)
    done = line.run("run", "changelog", "--model", "ollama/none", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "second commit" in done.stdout
    assert "first commit" in done.stdout


def test_nothing_staged_is_said_and_nothing_is_spent(tmp_path: Path) -> None:
    with WireServer() as server:
        line = CommandLine(tmp_path, {"OPENAI_BASE_URL": server.openai_url, "OPENAI_API_KEY": "sk-test"})
        repository(line.project)
        subprocess.run(["git", "reset", "-q", "--hard"], cwd=line.project, check=True)
        done = line.run("run", "commit-message", "--model", MODEL)
    assert done.returncode == 2
    assert "input 'diff' is empty" in done.stderr
    assert server.requests == []
    assert line.entries() == []


@pytest.mark.slow
@pytest.mark.model
class TestOnTheEmbeddedModel:
    """Real answers of a real model: checked for their form, and for facts that even a small one keeps."""

    @pytest.fixture
    def line(self, tmp_path: Path) -> CommandLine:
        weights_of()
        line = CommandLine(tmp_path, {"MESHCLAW_MODELS": os.environ[MODELS_VARIABLE]})
        repository(line.project)
        return line

    def record(self, line: CommandLine, name: str, stdin: str | None = None) -> dict[str, object]:
        record = line.record(name, "--model", f"local/{TESTED}", stdin=stdin, timeout=900)
        assert (record["exit"], record["cost_usd"], record["cost_state"]) == (0, "0.0", "priced"), record
        assert record["usage"]["output"] > 0
        assert line.run("ledger", "verify").returncode == 0
        return record

    def test_extract(self, line: CommandLine) -> None:
        result = self.record(line, "extract", MAIL)["result"]
        assert isinstance(result, dict)
        assert "Priya" in result["people"]
        assert set(result) == set(FACTS)

    def test_summarize(self, line: CommandLine) -> None:
        result = str(self.record(line, "summarize", NOTES)["result"])
        assert "June" in result
        assert len(result) < 2 * len(NOTES)

    def test_commit_message(self, line: CommandLine) -> None:
        result = str(self.record(line, "commit-message")["result"])
        first, _, rest = result.partition("\n")
        assert 0 < len(first) <= 100
        assert len(rest) < 1_000
