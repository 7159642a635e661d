"""A clone makes nothing happen before it is trusted: in a terminal, and as cron would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cli_terminal import Cli, Terminal, trust_project
from made_once import Once
from recorded_answers import record_answers
from wire_server import Turn, WireServer

from meshclaw.app import App, RunOptions
from meshclaw.app.trusting import all_powers, find_untrusted, powers_to_run
from meshclaw.tasks.model import Allow, Input, Output, Param, Task
from meshclaw.trust import TrustStore, UntrustedError, digest

MODES = ("terminal", "cron")
MODEL = ("--model", "scripted")
EVIL = """\
prompt: 'Sum up: {{ log }}'
runner: prompt
inputs:
  log: {command: touch pwned; echo gathered}
"""
SETTINGS = "ledger: theirs.jsonl\nbudget: {steps: 3}\n"
RUN = ("run", "evil", *MODEL, "--no-sandbox")


@dataclass
class Clone:
    """A repository that somebody else wrote, and the account of whoever cloned it."""

    mode: str
    folder: Path

    def __post_init__(self) -> None:
        self.project, self.data = self.folder / "project", self.folder / "data"
        for path in ("project/tasks", "project/.git", "project/src", "home"):
            (self.folder / path).mkdir(parents=True)
        (self.project / "tasks" / "evil.yaml").write_text(EVIL)
        (self.project / "meshclaw.yaml").write_text(SETTINGS)
        (self.folder / "link").symlink_to(self.project)
        (self.folder / "link.yaml").symlink_to(self.project / "tasks" / "evil.yaml")
        scripted = record_answers(self.folder / "recorded", "fine")
        (self.folder / "config" / "meshclaw").mkdir(parents=True)
        (self.folder / "config" / "meshclaw" / "config.yaml").write_text(
            json.dumps({"models": {"scripted": scripted}})
        )
        self.environment = {
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_DATA_HOME": str(self.folder / "elsewhere"),
            "MESHCLAW_DATA_DIR": str(self.data),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }

    @property
    def store(self) -> Path:
        return self.data / "trust.json"

    def __call__(
        self, *arguments: str, answer: str = "n", cwd: Path | None = None, **environment: str
    ) -> tuple[int, str]:
        """The exit code, and all that was shown. `answer` is for whoever asks in a terminal."""
        cwd, extra = cwd or self.project, {**self.environment, **environment}
        if self.mode == "terminal":
            home = {"HOME": str(self.folder / "home"), "NO_COLOR": "1"}
            with Terminal(arguments, {**home, **extra}, cwd, columns=400) as terminal:
                terminal.type(f"{answer}\n")
                return terminal.finish(), terminal.seen
        done = subprocess.run(
            [sys.executable, "-m", "meshclaw", *arguments],
            cwd=cwd,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", **extra},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).decode()

    def trust(self) -> None:
        trust_project(self.project, self.environment)

    def runs(self, *arguments: str, cwd: Path | None = None) -> bool:
        """Whether `arguments`, which must succeed, let the project's command run."""
        code, told = self(*arguments, cwd=cwd)
        assert code == 0, told
        return self.pwned

    @property
    def pwned(self) -> bool:
        return (self.project / "pwned").exists()


@pytest.fixture(params=MODES)
def clone(request: pytest.FixtureRequest, tmp_path: Path) -> Clone:
    return Clone(request.param, tmp_path)


RUNS: dict[str, tuple[Sequence[str], str]] = {
    "by name": (RUN, "project"),
    "dry": ((*RUN, "--dry-run"), "project"),
    "dry, as JSON": ((*RUN, "--dry-run", "--json"), "project"),
    "as JSON": ((*RUN, "--json"), "project"),
    "quietly": ((*RUN, "-q"), "project"),
    "by its file": (("run", "tasks/evil.yaml", *RUN[2:]), "project"),
    "by a crooked path": (("run", "src/../tasks/./evil.yaml", *RUN[2:]), "project"),
    "from a folder in it": (RUN, "project/src"),
    "through a link to the project": (RUN, "link"),
    "through a link to the file": (("run", "../link.yaml", *RUN[2:]), "project"),
    "from elsewhere": (("--project", "project", *RUN), "."),
    "from elsewhere, by a link": (("--project", "link", "run", "project/tasks/evil.yaml", *RUN[2:]), "."),
}


@pytest.mark.parametrize("name", RUNS)
def test_no_run_starts_before_the_project_is_trusted(clone: Clone, name: str) -> None:
    arguments, folder = RUNS[name]
    code, told = clone(*arguments, cwd=clone.folder / folder)
    assert code == 6, told
    assert "not trusted: " in told
    assert "tasks/evil.yaml" in told
    assert "meshclaw.yaml" in told
    assert not clone.pwned
    assert not (clone.data / "runs").exists(), "no run has begun"
    assert not (clone.project / "theirs.jsonl").exists()
    clone.trust()
    assert clone.runs(*arguments, cwd=clone.folder / folder)


LOOKS: dict[str, Sequence[str]] = {
    "list": ("tasks", "list"),
    "list as JSON": ("tasks", "list", "--json"),
    "show": ("tasks", "show", "evil"),
    "show as JSON": ("tasks", "show", "evil", "--json"),
    "check": ("tasks", "check"),
    "settings": ("config", "show"),
    "settings as JSON": ("config", "show", "--json"),
    "report": ("report",),
    "runs": ("runs", "list"),
    "ledger": ("ledger", "where"),
    "trusted": ("trust", "--list"),
    "revoke": ("trust", "--revoke"),
}


@pytest.fixture
def runs_when_trusted(clone: Clone, once: Once, tmp_path_factory: pytest.TempPathFactory) -> bool:
    """The control for what looks only: the same command of the same project does run once it is trusted."""

    def run() -> bool:
        other = Clone(clone.mode, tmp_path_factory.mktemp("trusted"))
        other.trust()
        return other.runs(*RUN)

    return once.made(("trusted", clone.mode), run)


@pytest.mark.parametrize("name", LOOKS)
def test_looking_runs_nothing_and_needs_no_trust(
    clone: Clone, name: str, *, runs_when_trusted: bool
) -> None:
    before = sorted(clone.project.rglob("*"))
    code, told = clone(*LOOKS[name])
    assert code == 0, told
    assert "trust this" not in told.lower()
    assert sorted(clone.project.rglob("*")) == before
    assert runs_when_trusted


@pytest.mark.parametrize("words", ["meshclaw run ev", "meshclaw tasks show ev", "meshclaw trust ev"])
def test_completion_runs_nothing(clone: Clone, words: str, *, runs_when_trusted: bool) -> None:
    number = str(len(words.split()) - 1)
    code, told = clone(_MESHCLAW_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=number)
    assert (code, told.split()[-1]) == (0, "evil")
    assert not clone.pwned
    assert runs_when_trusted


def test_the_projects_settings_do_not_hold_for_tasks_of_ones_own_either(clone: Clone) -> None:
    mine = clone.folder / "config" / "meshclaw" / "tasks" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text(EVIL)
    own = ("run", "mine", *RUN[2:])
    code, told = clone(*own)
    assert code == 6
    assert "not trusted: meshclaw.yaml\r\n" in told or "not trusted: meshclaw.yaml\n" in told
    assert not (clone.project / "theirs.jsonl").exists()
    assert not clone.pwned
    (clone.project / "meshclaw.yaml").write_text("# nothing is set here\n")
    assert clone.runs(*own)


def test_a_task_that_only_asks_needs_no_trust(clone: Clone) -> None:
    (clone.project / "meshclaw.yaml").unlink()
    (clone.project / "tasks" / "ask.yaml").write_text(
        "prompt: 'Sum up: {{ log }}'\nrunner: prompt\ninputs: {log: {file: ok.txt}}\n"
    )
    (clone.project / "ok.txt").write_text("some text")
    assert not clone.runs("run", "ask", *MODEL)
    assert not clone.store.exists()


def test_a_yes_trusts_and_a_change_shows_its_difference_and_asks_again(
    tmp_path: Path,
) -> None:
    clone = Clone("terminal", tmp_path)
    code, told = clone(*RUN, answer="y")
    assert (code, clone.pwned) == (0, True)
    assert "command: touch pwned; echo gathered" in told
    assert "ledger: theirs.jsonl" in told
    assert "Trust" not in clone(*RUN, "--dry-run")[1]
    task = clone.project / "tasks" / "evil.yaml"
    task.write_text(EVIL.replace("pwned", "worse"))
    code, told = clone(*RUN, answer="n")
    assert (code, (clone.project / "worse").exists()) == (6, False)
    assert "-    command: touch pwned; echo gathered" in told
    assert "+    command: touch worse; echo gathered" in told
    assert "theirs.jsonl" not in told
    assert clone(*RUN, answer="y")[0] == 0
    assert (clone.project / "worse").exists()


def test_what_a_terminal_is_shown_hides_nothing(tmp_path: Path) -> None:
    clone = Clone("terminal", tmp_path)
    hostile = '"true \\e]0; touch pwned; \\a \\u202e\\u200b"'
    (clone.project / "tasks" / "evil.yaml").write_text(EVIL.replace("touch pwned; echo gathered", hostile))
    told = clone("trust")[1]
    assert "\\u001b]0; touch pwned; \\u0007 \\u202e\\u200b" in told
    assert not any(forbidden in told for forbidden in ("\x1b", "\u202e", "\u200b", "\x07"))


def test_the_command_trusts_what_it_shows(clone: Clone) -> None:
    code, told = clone("trust")
    assert code == 6
    assert "command: touch pwned; echo gathered" in told
    assert clone(*RUN)[0] == 6
    assert clone("trust", "--yes")[0] == 0
    assert not clone.pwned
    assert clone.runs(*RUN)
    assert clone("trust")[1].strip().endswith("nothing here needs to be trusted")
    assert str(clone.project) in clone("trust", "--list")[1]
    assert clone("trust", "--revoke")[0] == 0
    (clone.project / "pwned").unlink()
    assert clone(*RUN)[0] == 6
    assert not clone.pwned


def test_trusting_one_task_does_not_trust_another(clone: Clone) -> None:
    (clone.project / "tasks" / "other.yaml").write_text(EVIL.replace("pwned", "other"))
    assert clone("trust", "other", "--yes")[0] == 0
    code, told = clone(*RUN)
    assert code == 6
    assert "meshclaw.yaml" not in told
    assert not clone.pwned
    assert not clone.runs("run", "other", *RUN[2:])
    assert (clone.project / "other").exists()


def _elsewhere(clone: Clone) -> None:
    clone.store.rename(clone.data / "elsewhere.json")
    clone.store.symlink_to("elsewhere.json")


def _of_another_path(clone: Clone) -> None:
    text = clone.store.read_text()
    assert str(clone.project) in text
    clone.store.write_text(text.replace(str(clone.project), f"{clone.project}2"))


def _folder(clone: Clone) -> None:
    clone.store.unlink()
    clone.store.mkdir()


STORES: dict[str, tuple[Callable[[Clone], Any], str]] = {
    "a symlink": (_elsewhere, "is a symlink"),
    "writable by others": (lambda clone: clone.store.chmod(0o666), "others may write"),
    "in a folder writable by others": (lambda clone: clone.data.chmod(0o777), "may write the folder"),
    "of another path": (_of_another_path, "`meshclaw trust`"),
    "broken": (lambda clone: clone.store.write_text("{}"), "is no trust store"),
    "a folder": (_folder, "is not a regular file"),
}


@pytest.mark.parametrize("name", STORES)
def test_a_store_that_cannot_be_believed_trusts_nothing(clone: Clone, name: str) -> None:
    spoil, reason = STORES[name]
    clone.trust()
    assert clone.runs(*RUN)
    (clone.project / "pwned").unlink()
    spoil(clone)
    code, told = clone(*RUN, answer="n" if name == "of another path" else "y")
    assert (code, clone.pwned) == (6, False)
    assert reason in told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_store_of_somebody_else_trusts_nothing(clone: Clone) -> None:
    clone.trust()
    assert clone.runs(*RUN)
    (clone.project / "pwned").unlink()
    os.chown(clone.store, 12_345, -1)
    code, told = clone(*RUN, answer="y")
    assert (code, clone.pwned) == (6, False)
    assert "belongs to user 12345" in told


def test_a_moved_project_is_another(clone: Clone) -> None:
    clone.trust()
    assert clone.runs(*RUN)
    moved = clone.project.rename(clone.folder / "moved")
    (moved / "pwned").unlink()
    assert clone(*RUN, cwd=moved)[0] == 6
    assert not (moved / "pwned").exists()
    moved.rename(clone.project)
    assert clone.runs(*RUN)


def test_a_store_that_the_clone_brings_is_not_believed(clone: Clone) -> None:
    """Somebody who knows where it will be cloned to commits a store that trusts it."""
    powers = all_powers(App(clone.environment, clone.project), [])
    for folder in (clone.project / "data", clone.data):
        TrustStore(folder / "trust.json").trust(clone.project, powers, datetime.now(UTC))
    code, told = clone(*RUN, answer="y", MESHCLAW_DATA_DIR=str(clone.project / "data"))
    assert (code, clone.pwned) == (6, False)
    assert "lies in the project" in told
    assert clone.runs(*RUN)


def test_what_was_shown_is_trusted_not_what_the_file_holds_by_then(
    tmp_path: Path,
) -> None:
    clone = Clone("terminal", tmp_path)
    home = {"HOME": str(tmp_path / "home"), "NO_COLOR": "1"}
    with Terminal(RUN, {**home, **clone.environment}, clone.project, columns=400) as terminal:
        terminal.wait_for("Trust this?")
        (clone.project / "tasks" / "evil.yaml").write_text(EVIL.replace("pwned", "worse"))
        terminal.type("y\n")
        terminal.wait_for("+    command: touch worse; echo gathered")
        terminal.type("n\n")
        assert terminal.finish() == 6
    assert not clone.pwned
    assert not (clone.project / "worse").exists()


def test_what_a_command_of_ours_has_written_is_trusted(clone: Clone) -> None:
    for path in (clone.project / "meshclaw.yaml", clone.project / "tasks" / "evil.yaml"):
        path.unlink()
    assert clone("init")[0] == 0
    app = App(clone.environment, clone.project)
    assert all_powers(app, [])
    assert find_untrusted(app, all_powers(app, [])) == []


def test_what_was_there_before_init_is_not_trusted_by_it(clone: Clone) -> None:
    assert clone("init")[0] == 0
    assert clone(*RUN)[0] == 6
    assert not clone.pwned


POWERFUL: dict[str, Any] = {
    "prompt": "Do {{ what }} to {{ log }} and {{ note }}.",
    "params": {"what": {"default": "this"}},
    "inputs": {"log": {"command": "git log"}, "note": {"file": "note.txt"}},
    "tools": ["read", "shell"],
    "allow": {"write": ["src/**"], "run": ["pytest *"], "network": ["example.com"]},
    "output": {"file": "out.md"},
    "accept_risk": "our own staff",
    "accept": [{"run": "pytest", "timeout": "5m"}, {"judge": "Is it good?", "model": "strong"}, "human"],
}
CHANGES: dict[str, dict[str, Any]] = {
    "command": {"inputs": {**POWERFUL["inputs"], "log": {"command": "git log; touch pwned"}}},
    "another command": {
        "prompt": f"{POWERFUL['prompt']} {{{{ more }}}}",
        "inputs": {**POWERFUL["inputs"], "more": {"command": "touch pwned"}},
    },
    "a file becomes a command": {"inputs": {**POWERFUL["inputs"], "note": {"command": "note.txt"}}},
    "believed": {"inputs": {**POWERFUL["inputs"], "note": {"file": "note.txt", "trusted": True}}},
    "default of a parameter": {"params": {"what": {"default": "$(touch pwned)"}}},
    "tool": {"tools": ["read", "shell", "write"]},
    "write": {"allow": {**POWERFUL["allow"], "write": ["**"]}},
    "run": {"allow": {**POWERFUL["allow"], "run": ["*"]}},
    "network": {"allow": {**POWERFUL["allow"], "network": ["example.org"]}},
    "output": {"output": {"file": ".bashrc"}},
    "check": {"accept": [{"run": "touch pwned"}, *POWERFUL["accept"][1:]]},
    "another check": {"accept": [*POWERFUL["accept"], {"run": "touch pwned"}]},
    "longer check": {"accept": [{"run": "pytest", "timeout": "1h"}, *POWERFUL["accept"][1:]]},
    "another judge": {
        "accept": [POWERFUL["accept"][0], {"judge": "Is it good?", "model": "fast"}, "human"]
    },
    "risk": {"accept_risk": "none of your business"},
}
HARMLESS: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "Do {{ what }} to {{ note }} after {{ log }}."},
    "system": {"system": "Be brief."},
    "description": {"description": "Another one."},
    "model": {"model": "fast"},
    "effort": {"effort": "high"},
    "budget": {"budget": {"usd": 1}},
    "harmless checks": {"accept": [*POWERFUL["accept"][:2], {"matches": "done"}, {"max_diff": 200}]},
    "schema": {"output": {"file": "out.md", "schema": {"type": "object"}}},
    "another file": {"inputs": {**POWERFUL["inputs"], "note": {"file": "other.txt"}}},
    "longer input": {"inputs": {**POWERFUL["inputs"], "log": {"command": "git log", "max": "2 MB"}}},
    "order": dict(reversed(POWERFUL.items())),
}


@pytest.fixture
def powerful(tmp_path: Path) -> Callable[[dict[str, Any]], list[tuple[str, bool]]]:
    """Writes the task with a change: (name, whether it was trusted before) of what is not trusted."""
    task = tmp_path / "tasks" / "t.yaml"
    task.parent.mkdir()
    (tmp_path / "meshclaw.yaml").touch()

    def untrusted(change: dict[str, Any]) -> list[tuple[str, bool]]:
        task.write_text("# a comment\n" + json.dumps({**POWERFUL, **change}, indent=len(change) or None))
        app = App(os.environ, tmp_path)
        return [(one.name, one.before is not None) for one in find_untrusted(app, powers_to_run(app, "t"))]

    assert untrusted({}) == [("tasks/t.yaml", False)]
    trust_project(tmp_path)
    assert untrusted({}) == []
    return untrusted


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_any_power_asks_again(
    powerful: Callable[[dict[str, Any]], list[tuple[str, bool]]], name: str
) -> None:
    assert powerful(CHANGES[name]) == [("tasks/t.yaml", True)]
    assert powerful({}) == []


@pytest.mark.parametrize("name", HARMLESS)
def test_a_change_of_anything_else_does_not(
    powerful: Callable[[dict[str, Any]], list[tuple[str, bool]]], name: str
) -> None:
    assert powerful(HARMLESS[name]) == []


@pytest.mark.parametrize("power", ["inputs", "tools", "allow", "output", "accept"])
def test_each_power_alone_needs_trust(tmp_path: Path, power: str) -> None:
    (tmp_path / "tasks").mkdir()
    inputs = {"inputs": {"log": {"command": "true"}}} if power == "inputs" else {power: POWERFUL[power]}
    (tmp_path / "tasks" / "t.yaml").write_text(
        json.dumps({"prompt": "Do {{ log }}."} | inputs).replace(
            "{{ log }}", "{{ log }}" if power == "inputs" else "it"
        )
    )
    app = App(os.environ, tmp_path)
    assert list(powers_to_run(app, "t")["tasks/t.yaml"]) == [power]


@pytest.mark.parametrize(
    ("text", "trusted"),
    [
        ("# of ours\nbudget:\n  steps: 3\n", True),
        ("budget: {steps: 4}\n", False),
        ("budget: {steps: 3}\nledger: theirs.jsonl\n", False),
        ("budget: {steps: 3}\nmodels: {default: openai/gpt}\n", False),
        ("budget: {steps: '3'}\n", False),
        ("# nothing\n", True),
    ],
)
def test_any_change_of_the_settings_asks_again(tmp_path: Path, text: str, trusted: bool) -> None:
    settings = tmp_path / "meshclaw.yaml"
    settings.write_text("budget: {steps: 3}\n")
    trust_project(tmp_path)
    settings.write_text(text)
    app = App(os.environ, tmp_path)
    missing = find_untrusted(app, powers_to_run(app, "summarize"))
    assert (missing == []) is trusted


def test_every_key_of_a_task_is_known_to_be_a_power_or_harmless() -> None:
    """Whoever adds a field says here which it is; a power also belongs into `powers_of`, and CHANGES."""
    powers: dict[type, set[str]] = {
        Task: {"runner", "params", "inputs", "tools", "allow", "propose", "accept_risk"}
        | {"output", "accept", "isolate", "include_dirty", "share", "branch", "protect", "matrix"},
        Input: {"name", "kind", "value", "trusted"},
        Param: {"name", "default"},
        Output: {"file"},
    }
    harmless: dict[type, set[str]] = {
        Task: {"name", "prompt", "source", "path", "digest", "description", "model", "effort", "system"}
        | {"budget", "max_output", "text", "stronger", "attempts", "reuse", "needs"},
        Input: {"optional", "tail_lines", "tail_bytes", "max_bytes"},
        Param: {"type", "choices", "description"},
        Output: {"schema"},
    }
    for kind, known in powers.items():
        assert {one.name for one in fields(kind)} == known | harmless[kind]
    assert {one.name for one in fields(Allow)} == {"write", "run", "network"}


async def test_no_way_into_a_run_leads_past_trust(tmp_path: Path) -> None:
    """Whoever uses App without the command line is held to it as well."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "evil.yaml").write_text(EVIL)
    app = App({**os.environ, "OPENAI_API_KEY": "key"}, tmp_path)
    options = RunOptions(model="openai/gpt-6.1-terra", no_sandbox=True)
    with pytest.raises(UntrustedError):
        await app.prepare("evil", options)
    assert not (tmp_path / "pwned").exists()
    trust_project(tmp_path)
    await app.prepare("evil", options)
    await app.aclose()
    assert (tmp_path / "pwned").exists()


def test_those_who_work_in_their_home_keep_the_store_in_it(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "evil.yaml").write_text(EVIL)
    data = tmp_path / "data"
    at_home = App({"HOME": str(tmp_path), "MESHCLAW_DATA_DIR": str(data)}, tmp_path)
    powers = powers_to_run(at_home, "evil")
    TrustStore(data / "trust.json").trust(tmp_path, powers, datetime.now(UTC))
    assert find_untrusted(at_home, powers) == []
    elsewhere = App({"HOME": "/", "MESHCLAW_DATA_DIR": str(data)}, tmp_path)
    with pytest.raises(UntrustedError, match="lies in the project"):
        find_untrusted(elsewhere, powers)
    assert digest(powers) == digest(powers_to_run(elsewhere, "evil"))


def test_a_ledger_that_a_clone_names_is_not_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It may be read, which says whose it is."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "meshclaw.yaml").write_text("ledger: led.jsonl\n")
    with WireServer() as server:
        server.script(Turn(text="done"))
        cli = Cli(capsys, project, {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": server.url})
        cli.task("ask", "prompt: hello\nrunner: prompt\n")
        record = json.loads(cli("run", "ask", "--model", "anthropic/claude-haiku-5-5", "--json")[1])
    before = (project / "led.jsonl").read_bytes()
    assert b'"run"' in before
    assert cli("trust", "--revoke")[0] == 0
    for command in (("ledger", "rotate"), ("runs", "accept", record["run"])):
        code, _, err = cli(*command)
        assert (code, "not trusted: meshclaw.yaml" in err) == (6, True), err
    assert {path.name for path in project.glob("led*")} == {"led.jsonl"}
    assert (project / "led.jsonl").read_bytes() == before
    code, out, err = cli("report")
    assert (code, "ask" in out, "is the project's word" in err) == (0, True, True)
    trust_project(project)
    assert "is the project's word" not in cli("report")[2]
    assert cli("runs", "accept", record["run"])[0] == 0
    assert cli("ledger", "rotate")[0] == 0
    assert len(list(project.glob("led*.jsonl"))) == 2
