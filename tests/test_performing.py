"""`meshclaw runs proposals` and `runs perform`: what is shown is done, once, and only when it may be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_terminal import PATIENCE, Cli, Terminal, trust_project
from wire_server import Turn, WireServer

from meshclaw.app.proposals import FILE
from meshclaw.errors import ExitCode
from meshclaw.runs import RunDirectory

MODEL = ("--model", "openai/gpt-6.1-terra")
TASK = 'prompt: Do it.\ntools: [shell]\npropose: ["touch *", "sh *", "cat *", "printf *", "sleep *"]\n'


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, server: WireServer) -> Cli:
    project = tmp_path / "project"
    project.mkdir()
    (project / "meshclaw.yaml").write_text("budget: {steps: 10}\n")
    made = Cli(capsys, project, {"OPENAI_API_KEY": "a-key-of-mine", "OPENAI_BASE_URL": server.openai_url})
    made.task("work", TASK)
    return made


def propose(
    cli: Cli, server: WireServer, *commands: str, task: str = "work", flags: Sequence[str] = ()
) -> Path:
    """Carries out a run that proposes `commands`; its folder."""
    calls = [("shell", {"command": command}) for command in commands]
    server.script(Turn(tool_calls=calls), Turn(text="done"))
    code, out, err = cli("run", task, *MODEL, *flags, "--json")
    assert code == 0, err
    return Path(json.loads(out)["directory"])


def states(cli: Cli) -> list[str]:
    return [one["state"] for one in json.loads(cli("runs", "proposals", "last", "--json")[1])]


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


def test_the_end_of_a_run_names_what_it_proposed_and_the_commands_to_see_and_do_it(
    cli: Cli, server: WireServer
) -> None:
    server.script(Turn(tool_calls=[("shell", {"command": "touch 'a b'"})]), Turn(text="done"))
    code, out, err = cli("run", "work", *MODEL)
    assert (code, out) == (0, "done\n")
    assert "    proposed, not run: touch 'a b'\n" in err
    assert "proposed 1: touch 'a b'\nnone of this was done; `meshclaw runs proposals " in err
    assert not (cli.project / "a b").exists()
    shown = cli("runs", "show", "last")[1]
    assert "proposed, not run: touch 'a b'" in shown
    assert "  1  touch 'a b'" in shown
    plan = cli("run", "work", *MODEL, "--dry-run")[1]
    assert "  proposes: touch *, sh *, cat *, printf *, sleep *\n" in plan


def test_they_are_done_in_order_once_and_written_down(cli: Cli, server: WireServer) -> None:
    folder = propose(cli, server, "sh -c 'echo one > a; pwd'", "cat a", "touch 'b c' && touch d")
    code, out, err = cli("runs", "proposals", "last")
    assert code == 0
    assert out.splitlines()[1:3] == ["1  is open", "  | sh -c 'echo one > a; pwd'"]
    assert f"work  {folder.name}, in {cli.project}" in out
    assert list(cli.project.glob("a")) == []
    code, out, err = cli("runs", "perform", "last", "--yes")
    assert (code, out) == (0, f"{cli.project}\none\n")
    assert (
        err.index("  | sh -c ") < err.index("1 is done") < err.index("  | cat a") < err.index("3 is done")
    )
    assert (cli.project / "b c").exists()
    assert (cli.project / "d").exists()
    assert [(line["event"], line["number"]) for line in log(folder)] == [
        (event, number) for number in (1, 2, 3) for event in ("begin", "end")
    ]
    assert {**log(folder)[3], "at": ""} == {
        "event": "end",
        "number": 2,
        "command": "cat a",
        "at": "",
        "exit": 0,
        "reason": "",
        "output": "one\n",
    }
    (cli.project / "d").unlink()
    code, out, err = cli("runs", "perform", "last", "--yes")
    assert (code, out, err.count("is done already")) == (0, "", 3)
    assert not (cli.project / "d").exists()
    assert cli("runs", "perform", "last", "3", "--yes", "--again")[0] == 0
    assert (cli.project / "d").exists()


def test_the_first_that_fails_ends_it(cli: Cli, server: WireServer) -> None:
    folder = propose(cli, server, "touch a", "sh -c 'echo no; exit 3'", "touch c")
    code, out, err = cli("runs", "perform", "last", "--yes")
    assert (code, out) == (ExitCode.FAILED, "no\n")
    assert "error: proposal 2 ended with exit 3; what follows it was not begun" in err
    assert str(folder / FILE) in err
    assert states(cli) == ["done", "failed", "open"]
    assert not (cli.project / "c").exists()
    code, _, err = cli("runs", "perform", "last", "--yes")
    assert code == ExitCode.REFUSED
    assert "proposal 2 failed (exit 3, " in err
    assert "--again" in err
    assert cli("runs", "perform", "last", "3", "--yes")[0] == 0
    assert states(cli) == ["done", "failed", "done"]
    assert cli("runs", "perform", "last", "--yes", "--again")[0] == ExitCode.FAILED
    assert len(log(folder)) == 2 + 2 + 2 + 2


def test_numbers_choose(cli: Cli, server: WireServer) -> None:
    propose(cli, server, "touch a", "touch b", "touch c")
    code, _, err = cli("runs", "perform", "last", "3", "4", "--yes")
    assert (code, "there is no proposal 4 - there are 3" in err) == (2, True)
    assert cli("runs", "perform", "last", "3", "1", "3", "--yes", "--json")[0] == 0
    assert states(cli) == ["done", "open", "done"]


def test_json_tells_what_has_become_of_each(cli: Cli, server: WireServer) -> None:
    propose(cli, server, "printf hello")
    code, out, err = cli("runs", "perform", "last", "--yes", "--json")
    (one,) = json.loads(out)
    assert (code, one["number"], one["command"], one["state"], one["exit"]) == (
        0,
        1,
        "printf hello",
        "done",
        0,
    )
    assert "hello" in err


def test_a_run_without_proposals_says_so(cli: Cli, server: WireServer) -> None:
    server.script(Turn(text="nothing to do"))
    assert cli("run", "work", *MODEL)[0] == 0
    for arguments in (("proposals", "last"), ("perform", "last", "--yes")):
        code, out, err = cli("runs", *arguments)
        assert (code, out, "proposed nothing" in err) == (0, "", True)
    assert cli("runs", "proposals", "last", "--json")[1] == "[]\n"


def test_without_a_terminal_and_without_yes_nothing_is_done(cli: Cli, server: WireServer) -> None:
    propose(cli, server, "touch a")
    code, _, err = cli("runs", "perform", "last")
    assert (code, "no terminal to ask in" in err, "--yes" in err) == (2, True, True)
    assert states(cli) == ["open"]


def test_what_is_no_longer_trusted_is_refused(cli: Cli, server: WireServer) -> None:
    folder = propose(cli, server, "touch a")

    def refused(told: str) -> None:
        code, _, err = cli("runs", "perform", "last", "--yes")
        assert (code, told in err) == (ExitCode.REFUSED, True), err
        assert not (folder / FILE).exists()

    assert cli("trust", "--revoke")[0] == 0
    refused("not trusted: meshclaw.yaml, tasks/work.yaml")
    cli.task("work", TASK.replace("touch", "tee"))
    refused("not trusted: tasks/work.yaml (changed since)")
    cli.task("work", TASK)
    (cli.project / "meshclaw.yaml").write_text("budget: {steps: 9}\n")
    refused("not trusted: meshclaw.yaml (changed since)")
    trust_project(cli.project, cli.environment)
    (cli.project / "tasks" / "work.yaml").unlink()
    assert cli("runs", "perform", "last", "--yes")[0] == 0
    assert (cli.project / "a").exists()


def test_a_project_that_is_gone_is_said_to_be(cli: Cli, server: WireServer, tmp_path: Path) -> None:
    propose(cli, server, "touch a")
    cli.project.rename(tmp_path / "moved")
    cli.project = tmp_path / "moved"
    code, _, err = cli("runs", "perform", "last", "--yes")
    assert (code, "the run's project is gone" in err) == (ExitCode.USAGE, True)


def test_an_operators_ceiling_counts_when_it_is_done(cli: Cli, server: WireServer, tmp_path: Path) -> None:
    propose(cli, server, "touch a")
    settings = tmp_path / "config.yaml"
    settings.write_text('policy: {propose: ["sh *"]}\n')
    cli.environment["MESHCLAW_CONFIG"] = str(settings)
    assert cli("runs", "perform", "last", "--yes")[0] == ExitCode.REFUSED
    settings.write_text('policy: {propose: ["touch *"]}\n')
    assert cli("runs", "perform", "last", "--yes")[0] == 0


def test_what_a_flag_allowed_is_part_of_it(cli: Cli, server: WireServer) -> None:
    server.script(Turn(tool_calls=[("shell", {"command": "mkdir x && touch x/a"})]), Turn(text="done"))
    code, out, _ = cli("run", "work", *MODEL, "--json", "--no-sandbox", "--allow-run", "mkdir x")
    record = json.loads(out)
    assert code == 0
    assert record["proposals"] == [{"number": 1, "command": "mkdir x && touch x/a"}]
    assert not (cli.project / "x").exists()
    assert cli("runs", "perform", "last", "--yes")[0] == 0
    assert (cli.project / "x" / "a").exists()


def test_unasked_a_run_that_did_not_end_well_is_refused(cli: Cli, server: WireServer) -> None:
    server.script(Turn(tool_calls=[("shell", {"command": "touch a"})]), Turn(text="no", refusal="no"))
    assert cli("run", "work", *MODEL)[0] == ExitCode.FAILED
    code, _, err = cli("runs", "perform", "last", "--yes")
    assert (code, "it ended with exit 1" in err) == (ExitCode.REFUSED, True)
    assert states(cli) == ["open"]


def test_unasked_the_rule_of_two_holds(cli: Cli, server: WireServer, tmp_path: Path) -> None:
    reading = TASK.replace("Do it.", "Do {{ ticket }}.") + "inputs: {ticket: {file: ticket.txt}}\n"
    (tmp_path / "private.txt").write_text("private")
    (cli.project / "ticket.txt").write_text("please")
    cli.task("reading", reading)
    propose(cli, server, "touch a", task="reading")
    assert cli("runs", "perform", "last", "--yes")[0] == 0
    private = ("--input", f"ticket={tmp_path / 'private.txt'}")
    propose(cli, server, "touch b", task="reading", flags=private)
    code, _, err = cli("runs", "perform", "last", "--yes")
    assert code == ExitCode.REFUSED
    assert "it acts outward: what it proposes is done without anybody having looked" in err
    settings = tmp_path / "config.yaml"
    settings.write_text("policy: {accept_risk: true}\n")
    cli.environment["MESHCLAW_CONFIG"] = str(settings)
    assert cli("runs", "perform", "last", "--yes")[0] == ExitCode.REFUSED
    assert not (cli.project / "b").exists()
    cli.task("reading", reading + "accept_risk: only staff write tickets\n")
    propose(cli, server, "touch b", task="reading", flags=private)
    assert cli("runs", "perform", "last", "--yes")[0] == 0
    assert (cli.project / "b").exists()


def test_a_key_of_ours_is_neither_shown_nor_kept(cli: Cli, server: WireServer) -> None:
    (cli.project / "leak").write_text("the key is a-key-of-mine\n")
    folder = propose(cli, server, "cat leak", "printf a-key-of-mine")
    code, out, err = cli("runs", "perform", "last", "1", "--yes")
    assert (code, out) == (0, "the key is [redacted]\n")
    assert "a-key-of-mine" not in (folder / FILE).read_text() + err
    assert states(cli) == ["done"]


def test_commands_run_as_the_user_with_their_environment_and_in_the_runs_project(
    cli: Cli, server: WireServer, tmp_path: Path
) -> None:
    propose(cli, server, "sh -c 'echo $SOME_TOKEN_OF_GH $PWD'")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    cli.environment["SOME_TOKEN_OF_GH"] = "tok"
    project, cli.project = cli.project, elsewhere
    assert cli("runs", "perform", "last", "--yes")[1] == f"tok {project}\n"


def test_a_crash_in_between_is_never_taken_for_not_done(cli: Cli, server: WireServer) -> None:
    folder = propose(cli, server, "sh -c 'echo x >> count'", "touch b")
    (folder / FILE).write_text(
        '{"event":"begin","number":1,"command":"sh -c \'echo x >> count\'","at":"2026-11-26T10:00:00Z"}\n'
        '{"event":"end","number":1,"comm'
    )
    assert states(cli) == ["unknown", "open"]
    shown = cli("runs", "proposals", "last")[1]
    assert "1  was begun at 2026-11-26T10:00:00Z, and its end was never written down: it may have" in shown
    code, _, err = cli("runs", "perform", "last", "--yes")
    assert (code, "it may have happened" in err) == (ExitCode.REFUSED, True)
    assert not (cli.project / "count").exists()
    assert not (cli.project / "b").exists()
    assert cli("runs", "perform", "last", "2", "--yes")[0] == 0
    assert cli("runs", "perform", "last", "--yes", "--again")[0] == 0
    assert (cli.project / "count").read_text() == "x\n"
    assert [line["event"] for line in log(folder)] == ["begin", "begin", "end", "begin", "end"]


def test_a_log_that_cannot_be_read_stops_everything(cli: Cli, server: WireServer) -> None:
    folder = propose(cli, server, "touch a")
    for broken in ("garbage\n", '{"event":"end","number":1,"command":"touch a","at":"x"}\n', "[]\n"):
        (folder / FILE).write_text(broken)
        for arguments in (("proposals", "last"), ("perform", "last", "--yes")):
            code, _, err = cli("runs", *arguments)
            assert (code, f"{FILE}:1:1: this does not say what was done" in err) == (2, True)
    assert not (cli.project / "a").exists()


def test_a_record_that_was_tampered_with_does_nothing(cli: Cli, server: WireServer) -> None:
    folder = propose(cli, server, "touch a")
    record = json.loads((folder / "run.json").read_text())
    for command in ("touch a > b", "touch $HOME/a", "rm -rf x", "touch a; rm x", ""):
        record["proposals"] = [{"number": 1, "command": command}]
        (folder / "run.json").write_text(json.dumps(record))
        assert cli("runs", "perform", "last", "--yes")[0] == ExitCode.REFUSED
    assert list(cli.project.glob("[ab]")) == []


def test_two_do_not_perform_one_run_at_once(cli: Cli, server: WireServer) -> None:
    folder = propose(cli, server, "touch a")
    with RunDirectory(folder):
        assert cli("runs", "perform", "last", "--yes")[0] == ExitCode.LOCKED
    assert cli("runs", "perform", "last", "--yes")[0] == 0


def environment(cli: Cli) -> dict[str, str]:
    return {**os.environ, **cli.environment}


def test_killed_while_it_is_done_it_may_have_happened(cli: Cli, server: WireServer) -> None:
    propose(cli, server, "sh -c 'touch begun; exec sleep 100'", "touch b")
    process = subprocess.Popen(
        [sys.executable, "-m", "meshclaw", "runs", "perform", "last", "--yes"],
        cwd=cli.project,
        env=environment(cli),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(cli.project / "begun")
    (child,) = children(process.pid)
    process.kill()
    process.wait()
    os.kill(child, signal.SIGKILL)
    assert states(cli) == ["unknown", "open"]
    assert cli("runs", "perform", "last", "--yes")[0] == ExitCode.REFUSED


def test_a_signal_ends_what_is_being_done_and_says_so(cli: Cli, server: WireServer) -> None:
    propose(cli, server, "sh -c 'touch begun; exec sleep 100'", "touch b")
    process = subprocess.Popen(
        [sys.executable, "-m", "meshclaw", "runs", "perform", "last", "--yes"],
        cwd=cli.project,
        env=environment(cli),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(cli.project / "begun")
    (child,) = children(process.pid)
    process.terminate()
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, "1 was interrupted" in err) == (ExitCode.TERMINATED, True)
    assert not Path(f"/proc/{child}").exists()
    shown = cli("runs", "proposals", "last")[1]
    assert "1  failed (interrupted, " in shown
    assert states(cli) == ["failed", "open"]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_in_a_terminal_each_is_shown_and_asked_for(cli: Cli, server: WireServer) -> None:
    propose(cli, server, "touch a", "touch b", "sh -c 'printf \"\\033]0;owned\\007hi\"'")
    with Terminal(("runs", "perform", "last"), cli.environment, cli.project) as terminal:
        terminal.wait_for("  | touch a")
        terminal.wait_for("Do 1? [y/N]: ")
        assert not (cli.project / "a").exists()
        terminal.type("\n")
        terminal.wait_for("1 was not done")
        terminal.wait_for("Do 2? [y/N]: ")
        terminal.type("y\n")
        terminal.wait_for("Do 3? [y/N]: ")
        terminal.type("y\n")
        assert terminal.finish() == 0
        assert "hi" in terminal.seen
        assert "\x1b]0;" not in terminal.seen
    assert states(cli) == ["open", "done", "done"]
    assert [(cli.project / name).exists() for name in "ab"] == [False, True]


def test_in_a_terminal_what_may_have_happened_is_asked_for_as_that(cli: Cli, server: WireServer) -> None:
    folder = propose(cli, server, "touch a")
    (folder / FILE).write_text(
        '{"event":"begin","number":1,"command":"touch a","at":"2026-11-26T10:00:00Z"}\n'
    )
    with Terminal(("runs", "perform", "last"), cli.environment, cli.project) as terminal:
        terminal.wait_for("it may have happened")
        terminal.wait_for("Do 1 again? [y/N]: ")
        assert terminal.finish_by_ctrl_c() == ExitCode.INTERRUPTED
    assert states(cli) == ["unknown"]
