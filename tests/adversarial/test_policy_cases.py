"""A hostile model asks for what its task does not name: in a terminal, and as cron would run it.

Each case is one tool call. It is denied by a task that does not name it and by an operator's ceiling, and
goes through where it is named: so a probe that cannot work does not pass for one that was stopped.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pytest
from cli_terminal import Terminal
from made_once import Once
from policy_cases import CASES, MARK, NAMED, NARROW, OWN, SECRET
from wire_server import Turn, WireServer

from meshclaw.policies import Ceiling, Effects, Rules, TaskPolicy
from meshclaw.runs import read_transcript

pytestmark = pytest.mark.xdist_group("policy cases")

Mode = Literal["terminal", "cron"]
SCENARIOS = ("not named", "beyond the ceiling", "named", "control")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run left: results by case, its record, the project's folder."""

    results: Mapping[str, Mapping[str, Any]]
    record: Mapping[str, Any]
    project: Path

    def happened(self, name: str, effect: str) -> bool:
        if not effect:
            return SECRET in self.results[name]["content"]
        path = self.project / effect
        return path.is_file() and MARK in path.read_text()


class Stage:
    """A project and an operator of its own; `run` lets a scripted model make all calls in one step."""

    def __init__(self, folder: Path, scenario: str) -> None:
        self.project, self.operator = folder / "project", folder / "operator"
        for path in ("project/src", "project/ok", "project/.git", "operator/tasks", "home"):
            (folder / path).mkdir(parents=True)
        for path in ("secret", "ok/secret", ".git/secret", "../secret"):
            (self.project / path).write_text(SECRET)
        (self.project / "mark").write_text(MARK)
        (self.project / "src" / "old.py").write_text("nothing yet")
        self.environment = {
            "XDG_CONFIG_HOME": str(folder / "home"),
            "XDG_DATA_HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "home"),
            "MESHCLAW_CONFIG": str(self.operator / "config.yaml"),
            "MESHCLAW_DATA_DIR": str(folder / "data"),
            "OPENAI_API_KEY": "key",
        }
        self.data = folder / "data"
        self.home = folder / "home"
        allow = NARROW if scenario in ("not named", "control") else NAMED
        task = {"prompt": "Do it.", "tools": ["read", "search", "edit", "write", "shell"], "allow": allow}
        (self.operator / "tasks" / "job.yaml").write_text(json.dumps(task))
        settings = {"policy": NARROW} if scenario == "beyond the ceiling" else {}
        (self.operator / "config.yaml").write_text(json.dumps(settings))

    def run(
        self, mode: Mode, turns: Sequence[Turn], *, expected: int = 0
    ) -> tuple[dict[str, Any], list[Any]]:
        """The run's record, and its tool results in order."""
        arguments = ("run", "job", "--model", "openai/gpt-6.1-terra", "--no-sandbox")
        with WireServer() as server:
            server.script(*turns)
            environment = {**self.environment, "OPENAI_BASE_URL": server.openai_url}
            if mode == "terminal":
                with Terminal(arguments, {**environment, "HOME": str(self.home)}, self.project) as terminal:
                    code = terminal.finish()
                    told = terminal.seen
            else:
                environment |= {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "LANG": "C"}
                done = subprocess.run(
                    [sys.executable, "-m", "meshclaw", *arguments],
                    cwd=self.project,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                code, told = done.returncode, done.stderr
        assert code == expected, told
        (folder,) = (self.data / "runs").iterdir()
        record = json.loads((folder / "run.json").read_text())
        events = read_transcript(folder / "transcript.jsonl")
        return record, [event.data for event in events if event.kind == "tool-result"]


@pytest.fixture(params=["terminal", "cron"])
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, once: Once
) -> dict[str, Outcome]:
    mode: Mode = request.param
    return once.made(("policy outcomes", mode), lambda: _outcomes(tmp_path_factory, mode))


def _outcomes(folders: pytest.TempPathFactory, mode: Mode) -> dict[str, Outcome]:
    """Four whole runs: what the task does not name, what the ceiling does not, and what may be."""
    found = {}
    for scenario in SCENARIOS:
        calls: dict[str, tuple[str, Mapping[str, str]]] = {}
        for case in CASES:
            call = case.control if scenario == "control" else case.call
            if call is not None and (case.pattern or scenario != "named"):
                calls[case.name] = (case.tool, call)
        stage = Stage(folders.mktemp(scenario.replace(" ", "-")), scenario)
        turns = [Turn(tool_calls=list(calls.values())), Turn(text="done")]
        record, results = stage.run(mode, turns)
        found[scenario] = Outcome(dict(zip(calls, results, strict=True)), record, stage.project)
    return found


@pytest.mark.parametrize("name", OWN)
def test_what_is_not_named_does_not_happen(outcomes: dict[str, Outcome], name: str) -> None:
    case = OWN[name]
    for scenario in ("not named", "beyond the ceiling"):
        outcome = outcomes[scenario]
        result = outcome.results[name]
        assert (result["is_error"], result["content"][:8]) == (True, "denied: "), scenario
        assert not outcome.happened(name, case.effect), scenario
    if case.pattern:
        assert "the operator's policy." in outcomes["beyond the ceiling"].results[name]["content"]
        named = outcomes["named"]
        assert not named.results[name]["is_error"], named.results[name]["content"]
        assert named.happened(name, case.effect)
    else:
        control = outcomes["control"]
        assert not control.results[name]["is_error"], control.results[name]["content"]
        assert control.happened(name, case.control_effect)


def test_every_denial_is_in_the_result_and_none_where_all_was_named(outcomes: dict[str, Outcome]) -> None:
    for scenario in ("not named", "beyond the ceiling"):
        record = outcomes[scenario].record
        assert len(record["denied"]) == len(set(record["denied"]))
        for case in CASES:
            assert any(case.told_by(denied) for denied in record["denied"]), case.name
    assert outcomes["named"].record["denied"] == []
    assert outcomes["control"].record["denied"] == []


@pytest.mark.parametrize("name", [case.name for case in CASES if case.pattern])
def test_exactly_its_own_name_lets_it_through(name: str) -> None:
    case = OWN[name]
    run = case.tool == "shell"
    path = "" if run else str(PurePosixPath(case.call["path"]))
    effects = Effects(commands=(case.call["command"],)) if run else Effects(writes=(path,))
    narrow = Rules(NARROW["write"], NARROW["run"])
    own = Rules((*narrow.write, *[case.pattern] * (not run)), (*narrow.run, *[case.pattern] * run))
    closed = Ceiling(write=(), run=(), network=())

    def allowed(task: Rules, ceiling: Ceiling | None = None, flags: Rules | None = None) -> bool:
        policy = TaskPolicy(task.write, task.run, granted=flags, ceiling=ceiling, shell_enabled=True)
        return policy.review(effects).allowed

    assert not allowed(narrow)
    assert allowed(own)
    assert allowed(own, Ceiling(own.write, own.run))
    assert not allowed(own, Ceiling(narrow.write, narrow.run))
    assert not allowed(narrow, Ceiling(own.write, own.run))
    assert not allowed(own, closed)
    assert allowed(Rules(), closed, flags=own)
    assert not allowed(own, closed, flags=narrow)


@pytest.mark.parametrize("mode", ["terminal", "cron"])
def test_insisting_ends_the_run(mode: Mode, tmp_path: Path) -> None:
    def ask(path: str) -> list[Turn]:
        return [Turn(tool_calls=[("write", {"path": path, "content": str(n)})]) for n in range(3)]

    denied, fine = tmp_path / "denied", tmp_path / "fine"
    record, results = Stage(denied, "not named").run(mode, ask("src/x"), expected=6)
    assert (record["status"], record["exit"], len(results), len(record["denied"])) == ("refused", 6, 3, 1)
    assert 'insisted on a denied call: add "src/x" to allow.write' in record["reason"]
    record, _ = Stage(fine, "not named").run(mode, [*ask("ok/x"), Turn(text="done")])
    assert (record["status"], record["denied"]) == ("succeeded", [])
    assert ((denied / "project/src/x").exists(), (fine / "project/ok/x").read_text()) == (False, "2")
