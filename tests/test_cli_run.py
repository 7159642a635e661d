"""`meshclaw run`: what goes to standard output, what to standard error, and the exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_terminal import Cli
from wire_server import Failure, Fault, Turn, WireServer

from meshclaw.errors import ExitCode

MODEL = ("--model", "anthropic/claude-haiku-5-5")
SAY = "prompt: Say it.\nrunner: prompt\n"
AGENT = 'prompt: Do it.\nrunner: agent\ntools: [read, edit, shell]\nallow: {write: ["*.txt"]}\n'
SCHEMA = SAY + "output: {schema: {type: object, required: [n], properties: {n: {type: integer}}}}\n"


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, server: WireServer) -> Cli:
    (tmp_path / "meshclaw.yaml").write_text("budget: {steps: 10}\n")
    made = Cli(capsys, tmp_path, {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": server.url})
    made.task("say", SAY)
    made.task("work", AGENT)
    made.task("pick", SCHEMA)
    return made


def test_stdout_is_the_result_and_nothing_else(cli: Cli, server: WireServer) -> None:
    server.script(Turn(text="the answer"))
    code, out, err = cli("run", "say", *MODEL)
    assert (code, out) == (0, "the answer\n")
    assert "succeeded, unchecked \u00b7 1 step \u00b7 100 in, 10 out \u00b7 free" in err


def test_an_input_that_was_cut_is_told(cli: Cli, server: WireServer, tmp_path: Path) -> None:
    server.script(Turn(text="short"), Turn(text="short"))
    cli.task("sum", "runner: prompt\nprompt: '{{ x }}'\ninputs: {x: {file: x.txt, max: 10}}\n")
    (tmp_path / "x.txt").write_text("line 1\nline 2\n")
    told = "input 'x': only the first 7 of 14 bytes were read"
    assert f"problems:\n  {told}\n" in cli("run", "sum", *MODEL, "--dry-run")[1]
    err = cli("run", "sum", *MODEL)[2]
    assert err.startswith(f"note: {told}\n"), "before anything is spent"
    assert err.count(told) == 1
    assert json.loads(cli("run", "sum", *MODEL, "--json")[1])["problems"] == [told]


def test_a_pipe_gets_control_characters_as_they_are(cli: Cli, server: WireServer) -> None:
    server.script(Turn(text="a\x1b[31mred\u202e"))
    assert cli("run", "say", *MODEL)[1] == "a\x1b[31mred\u202e\n"


def test_quiet_says_nothing_on_success_and_the_reason_on_failure(cli: Cli, server: WireServer) -> None:
    server.script(Turn(text="fine"), Turn(text="no", refusal="no"))
    assert cli("run", "say", *MODEL, "-q") == (0, "fine\n", "")
    code, out, err = cli("--quiet", "run", "say", *MODEL)
    assert (code, out) == (ExitCode.FAILED, "")
    assert err.startswith("error: failed: ")


def test_a_refused_call_spent_nothing_and_is_not_called_free(cli: Cli, server: WireServer) -> None:
    server.script(Failure(401))
    code, _, err = cli("run", "say", *MODEL)
    assert (code, "free" in err) == (ExitCode.PROVIDER, False)
    assert "step 1: call refused (authentication), nothing spent\n" in err
    assert " \u00b7 0 steps \u00b7 " in err, "no response came"


def test_a_value_that_fits_a_schema_is_printed_as_json(cli: Cli, server: WireServer) -> None:
    server.script(Turn(text='{"n": 3}'))
    code, out, _ = cli("run", "pick", *MODEL)
    assert (code, json.loads(out)) == (0, {"n": 3})


def test_json_is_one_object_on_success_and_on_failure(cli: Cli, server: WireServer) -> None:
    server.script(Turn(text="yes"), Failure(401))
    code, out, _ = cli("run", "say", *MODEL, "--json")
    record = json.loads(out)
    assert (code, record["exit"], record["result"], record["status"]) == (0, 0, "yes", "succeeded")
    assert out.count("\n") == 1
    code, out, _ = cli("run", "say", *MODEL, "--json")
    record = json.loads(out)
    assert (code, record["exit"], record["status"]) == (7, 7, "failed")


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "nosuch", "--json"),
        ("run", "say", "--json", "--nosuch"),
        ("run", "say", "--json", "-p", "x"),
        ("run", "say", "--json"),
        ("run", "--json"),
    ],
)
def test_json_says_what_is_wrong_with_the_command_line(cli: Cli, arguments: tuple[str, ...]) -> None:
    code, out, err = cli(*arguments)
    told = json.loads(out)
    assert (code, told["exit"], told["status"], told["run"]) == (2, 2, "failed", None)
    assert told["problems"]
    assert err


def test_stream_json_is_one_event_a_line_and_run_end_last(cli: Cli, server: WireServer) -> None:
    server.script(Turn(tool_calls=[("read", {"path": "meshclaw.yaml"})]), Turn(text="done"))
    code, out, _ = cli("run", "work", *MODEL, "--stream-json")
    events = [json.loads(line) for line in out.splitlines()]
    kinds = [event["event"] for event in events]
    assert code == 0
    assert (kinds[0], kinds[-1]) == ("run-start", "run-end")
    assert {"request", "response", "call", "tool-start", "tool-result", "text"} <= set(kinds)
    assert events[-1]["result"] == "done"


def test_denials_end_with_the_line_or_flag_that_would_allow(cli: Cli, server: WireServer) -> None:
    server.script(Turn(tool_calls=[("shell", {"command": "make it"})]), Turn(text="could not"))
    code, _, err = cli("run", "work", *MODEL)
    assert code == 0
    assert 'denied: add "make it" to allow.run in tasks/work.yaml' in err
    assert "--allow-run 'make it'" in err


def test_the_flags_that_a_denial_names_do_allow(cli: Cli, server: WireServer) -> None:
    server.script(Turn(tool_calls=[("shell", {"command": "touch made"})]), Turn(text="did"))
    code, _, err = cli("run", "work", *MODEL, "--no-sandbox", "--allow-run", "touch made")
    assert (code, (cli.project / "made").exists()) == (0, True)
    assert "denied" not in err


def test_a_run_that_fails_prints_no_result(cli: Cli, server: WireServer) -> None:
    server.script(Turn(text="not json"), Turn(text="still not"))
    code, out, err = cli("run", "pick", *MODEL)
    assert (code, out) == (ExitCode.FAILED, "")
    assert "failed: " in err


def test_dry_run_shows_the_prompt_and_sends_nothing(cli: Cli, server: WireServer) -> None:
    code, out, _ = cli("run", "work", *MODEL, "--dry-run")
    assert code == 0
    for part in ("Do it.", "model: anthropic/claude-haiku-5-5", "writes: *.txt", "nothing was spent"):
        assert part in out
    code, out, _ = cli("run", "work", *MODEL, "--dry-run", "--json")
    plan = json.loads(out)
    assert sorted(tool["name"] for tool in plan["tools"]) == ["edit", "read", "shell"]
    assert plan["first_call_refused"] is None
    assert '"required": [' in cli("run", "pick", *MODEL, "--dry-run")[1]
    assert (code, server.requests) == (0, [])


def test_dry_run_says_that_the_budget_would_not_let_the_first_call_be_made(cli: Cli) -> None:
    small = ("run", "say", *MODEL, "--budget", "tokens=200")
    assert cli(*small)[0] == ExitCode.OVER_BUDGET
    code, out, _ = cli(*small, "--dry-run")
    assert code == 0
    assert "\nthis would end with exit 4: the next call could take " in out
    plan = json.loads(cli(*small, "--dry-run", "--json")[1])
    assert (plan["run_usd_at_most"], "of 200 are left" in plan["first_call_refused"]) == ("0.0", True)
    plan = json.loads(cli("run", "say", *MODEL, "--budget", "tokens=2500", "--dry-run", "--json")[1])
    assert plan["first_call_refused"] is None
    assert plan["input_tokens_at_most"] + plan["max_output"] == 2_500


def test_output_keeps_the_result_in_a_file_too(
    cli: Cli, server: WireServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server.script(Turn(text="kept"))
    code, out, err = cli("run", "say", *MODEL, "--output", "kept.md")
    assert (code, out, (cli.project / "kept.md").read_text()) == (0, "kept\n", "kept\n")
    assert "written to kept.md" in err
    server.script(Turn(text="kept"))
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "o.txt"
    record = json.loads(cli("run", "say", *MODEL, "-o", str(elsewhere), "--json")[1])
    assert (record["output_file"], elsewhere.read_text()) == (str(elsewhere), "kept\n")


def test_a_budget_from_the_command_line_stops_the_run(cli: Cli, server: WireServer) -> None:
    server.script(Turn(tool_calls=[("read", {"path": "meshclaw.yaml"})]))
    code, _, err = cli("run", "work", *MODEL, "--budget", "steps=1,tokens=200k")
    assert code == ExitCode.OVER_BUDGET
    assert "the limit of 1 steps is used up" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-p", "x"), "-p: 'x' is not NAME=VALUE"),
        (("--allow-run", "a; b"), "--allow-run: 'a; b' can never match: "),
        (("--allow-write", "../x"), "--allow-write: '../x' can never match: it leads out of the project"),
        (("-p", "a=1", "-p", "a=2"), "-p: 'a' is given twice"),
        (("-p", "a=1"), "-p: unknown parameter 'a'"),
        (("--input", "x"), "--input: 'x' is not NAME=FILE"),
        (("--budget", "cents=1"), "--budget: unknown limit 'cents'"),
        (("--budget", "usd=much"), "'much'"),
        (("--runner", "magic"), "--runner: unknown runner 'magic'"),
        (("--json", "--stream-json"), "exclude each other"),
        (("--colour",), "No such option"),
    ],
)
def test_mistakes_on_the_command_line_cost_nothing(
    cli: Cli, server: WireServer, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = cli("run", "say", *MODEL, *arguments)
    assert code == ExitCode.USAGE
    assert said in err
    assert server.requests == []


def test_without_a_terminal_an_unset_model_is_a_mistake(cli: Cli, server: WireServer) -> None:
    code, out, err = cli("run", "say")
    assert (code, out, server.requests) == (ExitCode.USAGE, "", [])
    assert err == (
        "model: no model is set - give --model provider/model-id, export MESHCLAW_MODEL,"
        " or set models.default\n"
    )


def test_a_deadline_has_its_exit_code(cli: Cli, server: WireServer) -> None:
    server.script(Fault.HANG)
    assert cli("run", "say", *MODEL, "--budget", "time=1s")[0] == ExitCode.DEADLINE


def test_insisting_on_a_denied_call_has_its_exit_code(cli: Cli, server: WireServer) -> None:
    server.script(*[Turn(tool_calls=[("shell", {"command": "make it"})])] * 3)
    code, _, err = cli("run", "work", *MODEL)
    assert code == ExitCode.REFUSED
    assert "insisted on a denied call" in err


def test_a_ledger_that_cannot_be_written_has_its_exit_code(cli: Cli, server: WireServer) -> None:
    code, out, err = cli("--ledger", "/dev/full", "run", "say", *MODEL, "--json")
    assert (code, json.loads(out)["exit"]) == (ExitCode.LEDGER, ExitCode.LEDGER)
    assert "error: " in err
    assert server.requests == []
    run = json.loads(out)["run"]
    assert f"then: meshclaw runs resume {run}" in err
    server.script(Turn(text="said"))
    assert cli("runs", "resume", run)[:2] == (ExitCode.OK, "said\n")


def test_a_killed_runs_end_is_told_by_the_next(cli: Cli, server: WireServer, home: Path) -> None:
    server.script(Turn(tool_calls=[("read", {"path": "meshclaw.yaml"})]), Fault.HANG, Turn(text="next"))
    process = subprocess.Popen(
        [sys.executable, "-m", "meshclaw", "run", "work", *MODEL],
        cwd=cli.project,
        env={**os.environ, **cli.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    run = process.stderr.readline().split()[1].rstrip(":")
    while len(server.requests) < 2:
        assert process.poll() is None
    assert cli("runs", "list")[1].endswith("  running\n")
    assert (
        "\nrunning \u00b7 1 step so far \u00b7 at least 100 in, 10 out \u00b7 cost unknown\n"
        in (cli("runs", "show", run)[1])
    )
    process.kill()
    process.wait()
    process.stderr.close()
    assert cli("runs", "list")[1].endswith("  cut short\n")
    assert f"`meshclaw runs resume {run[:13]}` goes on with it \u00b7 1 step" in cli("runs", "show", run)[1]
    (listed,) = json.loads(cli("runs", "list", "--json")[1])
    assert (listed["status"], listed["exit"], listed["cost_usd"]) == ("interrupted", None, None)
    assert listed["usage"]["total"] is None
    code, out, err = cli("run", "say", *MODEL)
    assert (code, out) == (0, "next\n")
    assert f"note: run {run} was cut short" in err
    assert json.loads(cli("runs", "show", run, "--json")[1])["status"] == "interrupted"


def test_stdin_is_read_only_where_a_task_asks_for_it(cli: Cli, server: WireServer) -> None:
    cli.task("sum", "prompt: 'Sum up: {{ text }}'\nrunner: prompt\ninputs: {text: {stdin: true}}\n")
    server.script(Turn(text="one"), Turn(text="two"))

    def run(task: str) -> subprocess.CompletedProcess[str]:
        reader, writer = os.pipe()
        os.write(writer, b"what was piped")
        if task == "sum":
            os.close(writer)
        done = subprocess.run(
            [sys.executable, "-m", "meshclaw", "run", task, *MODEL],
            cwd=cli.project,
            env={**os.environ, **cli.environment},
            stdin=reader,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        if task != "sum":
            # Nobody has closed the other end: a command that reads would wait for ever.
            os.close(writer)
        os.close(reader)
        return done

    assert run("say").stdout == "one\n"
    assert run("sum").stdout == "two\n"
    assert "what was piped" in server.requests[1].raw.decode()
    assert "what was piped" not in server.requests[0].raw.decode()
