"""A recording beside a task plays the model's side back, and shows what has drifted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from cli_terminal import Cli, trust_project
from contained import PROGRAMS, needs_bubblewrap
from wire_server import Turn, WireServer

from meshclaw.recordings import read_recording
from meshclaw.testing import Replayed, replay_task

MODEL = ("--model", "anthropic/claude-haiku-5-5")
SAY = "prompt: 'Sum up: {{ text }}'\nrunner: prompt\ninputs: {text: stdin}\n"
WORK = 'prompt: Mend it.\ntools: [read, edit]\nallow: {write: ["*.txt"]}\n'
SECRET = "sk-ant-api03-" + "a1B2" * 8


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, server: WireServer) -> Cli:
    made = Cli(capsys, tmp_path, {"ANTHROPIC_API_KEY": SECRET, "ANTHROPIC_BASE_URL": server.url})
    (tmp_path / "a.txt").write_text("teh end\n")
    made.task("work", WORK)
    return made


def record(cli: Cli, server: WireServer) -> None:
    server.script(
        Turn(tool_calls=[("read", {"path": "a.txt"})]),
        Turn(tool_calls=[("edit", {"path": "a.txt", "old": "teh", "new": "the"})]),
        Turn(text="done"),
    )
    code, _, err = cli("run", "work", *MODEL, "--record")
    assert code == 0, err
    assert (cli.project / "a.txt").read_text() == "the end\n"


def test_what_has_not_changed_replays_the_same_without_key_or_network(cli: Cli, server: WireServer) -> None:
    record(cli, server)
    asked = len(server.requests)
    cli.environment = {}
    for arguments in ((), ("work",)):
        code, out, err = cli("tasks", "test", *arguments)
        assert (code, out) == (0, "same     work (3 steps, unchecked)\n"), out + err
    assert len(server.requests) == asked
    assert (cli.project / "a.txt").read_text() == "the end\n"


def test_a_replay_leaves_no_run_and_no_entry(cli: Cli, server: WireServer) -> None:
    record(cli, server)
    before = cli("ledger", "verify")[1], cli("runs", "list", "--json")[1]
    cli("tasks", "test")
    assert (cli("ledger", "verify")[1], cli("runs", "list", "--json")[1]) == before


def test_a_changed_prompt_drifts_and_the_diff_says_where(cli: Cli, server: WireServer) -> None:
    record(cli, server)
    cli.task("work", WORK.replace("Mend it.", "Mend all of it."))
    code, out, _ = cli("tasks", "test")
    assert code == 1
    assert "drifted  work\n" in out
    assert "-  Mend it.\n+  Mend all of it.\n" in out


def test_a_call_that_is_not_allowed_any_more_drifts(cli: Cli, server: WireServer) -> None:
    record(cli, server)
    cli.task("work", WORK.replace("*.txt", "*.md"))
    code, out, _ = cli("tasks", "test")
    assert code == 1
    assert "+error:\n+  denied: " in out
    assert "+denied: " in out


def test_a_tool_that_is_gone_drifts(cli: Cli, server: WireServer) -> None:
    record(cli, server)
    cli.task("work", WORK.replace("[read, edit]", "[read]"))
    code, out, _ = cli("tasks", "test")
    assert (code, "-tools: edit, read\n+tools: read\n" in out) == (1, True), out


def test_inputs_come_from_the_recording(cli: Cli, server: WireServer, tmp_path: Path) -> None:
    cli.task("say", SAY)
    server.script(Turn(text="It says nothing."))
    (tmp_path / "t").write_text(f"nothing, and the key {SECRET}")
    assert cli("run", "say", *MODEL, "--input", "text=t", "--record")[0] == 0
    (tmp_path / "t").unlink()
    code, out, err = cli("tasks", "test", "say")
    assert (code, out) == (0, "same     say (1 step, unchecked)\n"), out + err
    text = (cli.project / "tasks" / "say.recording.jsonl").read_text()
    assert "nothing, and the key" in text
    assert SECRET not in text


def test_json_holds_the_drift(cli: Cli, server: WireServer) -> None:
    record(cli, server)
    code, out, _ = cli("tasks", "test", "--json")
    (one,) = json.loads(out)
    assert (code, one["task"], one["drift"], one["steps"]) == (0, "work", "", 3)


@pytest.mark.parametrize("name", ["work", "nosuch"])
def test_without_a_recording_it_says_how_to_make_one(cli: Cli, name: str) -> None:
    code, _, err = cli("tasks", "test", name)
    assert code == 2
    assert ("--record` makes one" in err) == (name == "work")
    assert cli("tasks", "test")[0] == 2


def test_a_broken_recording_is_named(cli: Cli, server: WireServer) -> None:
    record(cli, server)
    path = cli.project / "tasks" / "work.recording.jsonl"
    path.write_text("{}\n")
    code, _, err = cli("tasks", "test")
    assert (code, "work.recording.jsonl" in err) == (2, True)


def test_one_that_cannot_be_played_does_not_hide_the_others(cli: Cli, server: WireServer) -> None:
    record(cli, server)
    cli.task("broken", WORK)
    (cli.project / "tasks" / "broken.recording.jsonl").write_text("{}\n")
    code, out, err = cli("tasks", "test")
    assert (code, out) == (2, "broken   broken\nsame     work (3 steps, unchecked)\n")
    assert "broken.recording.jsonl:1:1: this is not a line of a transcript" in err
    broken, work = json.loads(cli("tasks", "test", "--json")[1])
    assert (broken["outcome"], len(broken["problems"]), work["problems"]) == (None, 1, [])
    cli.task("work", WORK.replace("Mend it.", "Mend all of it."))
    assert cli("tasks", "test")[0] == 1


def test_a_judges_alias_need_not_be_known_where_it_is_played(
    cli: Cli, server: WireServer, home: Path
) -> None:
    aliases = home / ".config" / "meshclaw" / "config.yaml"
    aliases.parent.mkdir(parents=True)
    aliases.write_text("models: {strong: anthropic/claude-opus-5-5}\n")
    cli.task("say", "prompt: Hi.\nrunner: prompt\naccept: [{judge: ok, model: strong}]\n")
    server.script(Turn(text="Hello."), Turn(text='{"reason": "it is", "passed": true}'))
    assert cli("run", "say", *MODEL, "--record")[0] == 0
    aliases.unlink()
    path = cli.project / "tasks" / "say.recording.jsonl"
    assert read_recording(path).judges == {"strong": "anthropic/claude-opus-5-5"}
    code, out, err = cli("tasks", "test", "say")
    assert (code, out) == (0, "same     say (1 step, accepted)\n"), err
    path.write_text(path.read_text().replace('"judges":{"strong":"anthropic/claude-opus-5-5"}', '"old":1'))
    assert cli("tasks", "test", "say")[0] == 0


@pytest.mark.parametrize("how", [pytest.param((), marks=needs_bubblewrap), ("--no-sandbox",)])
def test_another_checkout_replays_the_same(
    cli: Cli, server: WireServer, tmp_path: Path, how: tuple[str, ...]
) -> None:
    first, second = tmp_path / "one" / "project", tmp_path / "elsewhere" / "checkout"
    first.mkdir(parents=True)
    (first / "a.txt").write_text(f"It lies in {first}/a.txt, not in {first}2.\n")
    cli.project = first
    cli.environment["PATH"] = PROGRAMS
    cli.task("work", WORK.replace("edit]", "edit, shell]").replace('["*.txt"]', '["*.txt"], run: ["*"]'))
    server.script(
        Turn(tool_calls=[("read", {"path": f"{first}/a.txt"})]),
        Turn(tool_calls=[("shell", {"command": f"cd {first} && pwd && ls *.txt; pwd; echo $HOME"})]),
        Turn(tool_calls=[("edit", {"path": "a.txt", "old": f"{first}/a", "new": "b"})]),
        Turn(text=f"It is in {first}."),
    )
    code, _, err = cli("run", "work", *MODEL, "--record", *how)
    assert code == 0, err
    recording = (first / "tasks" / "work.recording.jsonl").read_text()
    assert str(first) not in recording.replace(f"{first}2", "")
    (second / "tasks").mkdir(parents=True)
    (second / "a.txt").write_text("Another text.\n")
    for one in (first / "tasks").iterdir():
        (second / "tasks" / one.name).write_bytes(one.read_bytes())
    shutil.rmtree(first)
    cli.project = second
    trust_project(second, cli.environment)
    code, out, err = cli("tasks", "test", *how)
    assert (code, out) == (0, "same     work (4 steps, unchecked)\n"), out + err
    (second / "tasks" / "work.recording.jsonl").write_text(recording.replace("a.txt\\n", "c.txt\\n"))
    assert cli("tasks", "test", *how)[0] == 1


def test_a_built_in_task_has_no_place_for_one(cli: Cli) -> None:
    code, _, err = cli("run", "summarize", *MODEL, "--input", "text=a.txt", "--record")
    assert (code, "a built-in task has no place for a recording" in err) == (2, True)


def test_python_users_get_the_same(cli: Cli, server: WireServer, tmp_path: Path) -> None:
    record(cli, server)
    assert read_recording(tmp_path / "tasks" / "work.recording.jsonl").files == {"a.txt": "teh end\n"}
    for number, changed in enumerate((False, True)):
        if changed:
            (tmp_path / "tasks" / "work.yaml").write_text(WORK.replace("Mend", "Break"))
            trust_project(tmp_path)
        folder = tmp_path / "made" / str(number)
        folder.mkdir(parents=True)

        async def replay(folder: Path = folder) -> Replayed:
            return await replay_task(tmp_path, "work", folder, environment=os.environ)

        replayed = anyio.run(replay)
        assert (replayed.task, bool(replayed.drift)) == ("work", changed)
