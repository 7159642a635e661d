"""The commands around `run`: tasks, runs, report, ledger, models, config, init, completion."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_terminal import Cli
from wire_server import Turn, WireServer

from meshclaw.cli.report import local_zone
from meshclaw.cli.tally import Tally
from meshclaw.cli.transcript import show_transcript
from meshclaw.cli.words import (
    call_in_words,
    cost_in_words,
    seconds_in_words,
    status_in_words,
    tokens_in_words,
)
from meshclaw.errors import ExitCode
from meshclaw.pricing import dollars
from meshclaw.runs import Event

GOLDENS = Path(__file__).parent / "goldens"
MODEL = ("--model", "anthropic/claude-haiku-5-5")
BROKEN = "prompt: Say {{ nothing }}.\nrunnr: prompt\nbudget: {usd: lots}\n"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    (tmp_path / "meshclaw.yaml").write_text("")
    return Cli(capsys, tmp_path)


@pytest.fixture
def worked(cli: Cli) -> Iterator[Cli]:
    """A project in which one agent has run."""
    cli.task("mend", 'prompt: Mend it.\nrunner: agent\ntools: [edit, shell]\nallow: {write: ["*.txt"]}\n')
    (cli.project / "a.txt").write_text("old\n")
    edit = ("edit", {"path": "a.txt", "old": "old", "new": "new"})
    with WireServer() as server:
        server.script(
            Turn(text="I look.", tool_calls=[edit, ("shell", {"command": "make"})]),
            Turn(text="Mended.\x1b[2J", usage={"input": 200, "cache_read": 100, "output": 5}),
        )
        cli.environment = {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": server.url}
        assert cli("run", "mend", *MODEL)[0] == 0
        yield cli


def _steady(text: str, cli: Cli, home: Path) -> str:
    """Without what differs from run to run."""
    text = text.replace(str(home), "HOME").replace(str(cli.project), "PROJECT")
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}", "RUN-ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\d(T[\d:.]+Z)?", "DATE", text)
    return re.sub(r"\d+(\.\d)? s$", "TIME", text, flags=re.MULTILINE)


def test_check_prints_every_problem_with_its_place(cli: Cli) -> None:
    cli.task("broken", BROKEN)
    cli.task("fine", "prompt: Say it.\nrunner: prompt\n")
    code, out, err = cli("tasks", "check")
    lines = out.splitlines()
    assert code == ExitCode.USAGE
    assert len(lines) >= 3
    assert all(re.match(r"tasks/broken\.yaml:\d+:\d+: .+", line) for line in lines)
    assert "tasks/broken.yaml:2:1: unknown key 'runnr' - did you mean 'runner'?" in lines
    assert err == f"2 tasks checked, {len(lines)} problems found\n"
    code, out, _ = cli("tasks", "check", "--json")
    told = json.loads(out)
    assert (code, told["ok"], told["checked"], len(told["problems"])) == (2, False, 2, len(lines))
    assert {"source", "line", "column", "message", "hint"} == set(told["problems"][0])


def test_check_takes_files_and_folders_and_is_content_with_good_ones(cli: Cli) -> None:
    broken, fine = cli.task("broken", BROKEN), cli.task("fine", "prompt: Say it.\nrunner: prompt\n")
    assert cli("tasks", "check", str(fine)) == (0, "", "1 task checked, no problems\n")
    assert cli("tasks", "check", "summarize", "fine")[0] == 0
    assert cli("tasks", "check", str(broken.parent))[0] == ExitCode.USAGE
    assert "there is no such task file" in cli("tasks", "check", "tasks/none.yaml")[1]


def test_a_mistake_in_the_projects_settings_is_found_too(cli: Cli) -> None:
    (cli.project / "meshclaw.yaml").write_text("budgte: {usd: 1}\n")
    code, out, err = cli("tasks", "check")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "meshclaw.yaml:1:1: " in err


def test_list_says_where_tasks_come_from_and_survives_a_broken_one(cli: Cli) -> None:
    cli.task("broken", BROKEN)
    cli.task("summarize", "description: My own\nprompt: Say it.\nrunner: prompt\n")
    code, out, _ = cli("tasks", "list", "--json")
    tasks = {task["name"]: task for task in json.loads(out)}
    assert code == 0
    assert tasks["broken"]["problems"]
    assert (tasks["summarize"]["origin"], tasks["summarize"]["description"]) == ("project", "My own")
    assert tasks["extract"]["origin"] == "built-in"
    assert "`meshclaw tasks check broken` says why" in cli("tasks", "list")[1]


def test_new_writes_a_task_that_loads_and_never_overwrites(cli: Cli) -> None:
    code, out, _ = cli("tasks", "new", "nightly")
    path = cli.project / "tasks" / "nightly.yaml"
    assert (code, out) == (0, f"{path}\n")
    assert path.read_text().startswith("# yaml-language-server: $schema=./task.schema.json\n")
    assert json.loads((path.parent / "task.schema.json").read_text()) == json.loads(
        cli("tasks", "schema")[1]
    )
    assert cli("tasks", "check", "nightly")[0] == 0
    path.write_text("mine")
    code, _, err = cli("tasks", "new", "nightly")
    assert (code, path.read_text()) == (ExitCode.USAGE, "mine")
    assert "there is such a task already" in err
    assert cli("tasks", "new", "../escape")[0] == ExitCode.USAGE


def test_show_tells_all_that_a_task_says(cli: Cli) -> None:
    code, out, _ = cli("tasks", "show", "fix-tests")
    assert code == 0
    assert out.startswith("fix-tests: Make failing tests pass")
    assert json.loads(cli("tasks", "show", "fix-tests", "--json")[1])["runner"] == "agent"
    assert "did you mean 'fix-tests'?" in cli("tasks", "show", "fix-test")[2]


def test_runs_show_is_readable(worked: Cli, home: Path) -> None:
    code, out, _ = worked("runs", "show", "last")
    assert code == 0
    assert _steady(out, worked, home) == (GOLDENS / "runs-show.txt").read_text()


def test_results_of_calls_side_by_side_stand_under_their_call(capsys: pytest.CaptureFixture[str]) -> None:
    def begun(id: str) -> Event:
        return Event("tool-start", {"id": id, "name": "read", "arguments": json.dumps({"path": id})})

    def ended(id: str) -> Event:
        return Event("tool-result", {"id": id, "content": f"text of {id}", "is_error": False})

    events = [begun("a"), begun("b"), ended("a"), ended("b"), begun("c")]
    record = {"task": "t", "run": "r", "model": "m", "runner": "agent", "started_at": "", "directory": "d"}
    show_transcript({**record, "denied": [], "exit": 1}, events, full=False)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()[3:8]]
    assert lines == ["\u2192 read a", "text of a", "\u2192 read b", "text of b", "\u2192 read c"]


def test_runs_show_json_holds_record_and_transcript(worked: Cli) -> None:
    shown = json.loads(worked("runs", "show", "last", "--json")[1])
    listed = json.loads(worked("runs", "list", "--json")[1])
    transcript = shown.pop("transcript")
    assert [shown] == listed
    assert [line["event"] for line in transcript][:3] == ["start", "request", "response"]
    assert transcript[-1]["event"] == "end"


def test_a_run_is_found_by_the_beginning_of_its_id(worked: Cli) -> None:
    (listed,) = json.loads(worked("runs", "list", "--json")[1])
    assert json.loads(worked("runs", "show", listed["run"][:10], "--json")[1])["run"] == listed["run"]
    assert worked("runs", "show", "ffff")[0] == ExitCode.USAGE
    assert json.loads(worked("runs", "list", "--json", "--task", "other")[1]) == []


@pytest.mark.parametrize("content", ["{}", "[]", "not json"])
def test_a_record_that_is_none_is_a_problem_and_no_defect(worked: Cli, content: str) -> None:
    (listed,) = json.loads(worked("runs", "list", "--json")[1])
    record = Path(listed["directory"]) / "run.json"
    record.write_text(content)
    code, _, err = worked("runs", "show", "last")
    assert (code, err.startswith(f"{record}: ")) == (ExitCode.USAGE, True)
    assert worked("runs", "list")[0] == 0


def test_a_beginning_of_several_runs_is_refused(worked: Cli) -> None:
    (listed,) = json.loads(worked("runs", "list", "--json")[1])
    other = Path(listed["directory"]).parent / (listed["run"][:-1] + "x")
    other.mkdir()
    (other / "run.json").write_text("{}")
    code, _, err = worked("runs", "show", listed["run"][:20])
    assert code == ExitCode.USAGE
    assert "is the beginning of 2 runs - give more characters" in err


def test_report_table(worked: Cli, home: Path) -> None:
    code, out, _ = worked("report", "--by", "task,model")
    assert code == 0
    assert _steady(out, worked, home) == (GOLDENS / "report.txt").read_text()


def test_report_formats_agree(worked: Cli) -> None:
    told = json.loads(worked("report", "--by", "day", "--format", "json")[1])
    assert (told["totals"]["runs"], told["totals"]["calls"], told["totals"]["input"]) == (1, 2, 300)
    header, line = worked("report", "--by", "task", "--format", "csv")[1].splitlines()
    row = dict(zip(header.split(","), line.split(","), strict=True))
    assert (row["task"], row["input"], row["cache_read"]) == ("mend", "300", "100")


def test_report_filters(worked: Cli) -> None:
    assert json.loads(worked("report", "--json", "--until", "yesterday")[1])["totals"]["runs"] == 0
    assert json.loads(worked("report", "--json", "--task", "other")[1])["totals"]["calls"] == 0
    assert json.loads(worked("report", "--json", "--since", "1h")[1])["totals"]["runs"] == 1
    assert worked("report", "--since", "tomorrowish")[0] == ExitCode.USAGE


def test_the_project_is_a_folder(cli: Cli) -> None:
    (cli.project / "file").touch()
    for name in ("gone", "file"):
        code, _, err = cli("--project", name, "report")
        assert (code, err) == (ExitCode.USAGE, f"--project: there is no folder {name}\n")


def test_an_empty_ledger_says_so(cli: Cli) -> None:
    assert cli("report") == (0, "", "there is nothing in the ledger yet\n")
    assert cli("runs", "list") == (0, "", "there are no runs yet\n")


def test_a_ledger_that_is_not_there_is_not_in_order(cli: Cli) -> None:
    code, out, err = cli("ledger", "verify")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "there is no ledger here" in err
    code, out, _ = cli("ledger", "verify", "--json")
    assert (code, json.loads(out)["exit"]) == (ExitCode.USAGE, ExitCode.USAGE)


def test_verify_finds_a_changed_byte_and_exits_9(worked: Cli) -> None:
    path = Path(worked("ledger", "where")[1].strip())
    assert worked("ledger", "verify")[0] == 0
    path.write_bytes(path.read_bytes().replace(b'"step":1', b'"step":7', 1))
    code, out, _ = worked("ledger", "verify")
    assert code == ExitCode.LEDGER
    assert f"{path}:1:1: this line does not match its hash" in out
    told = json.loads(worked("ledger", "verify", "--json")[1])
    assert (told["ok"], told["files"][0]["entries"]) == (False, 0)


def test_a_report_of_a_ledger_that_was_changed_says_so(worked: Cli) -> None:
    path = Path(worked("ledger", "where")[1].strip())
    sound = json.loads(worked("report", "--json")[1])
    assert (sound["in_order"], sound["problems"]) == (True, [])
    assert "~" not in worked("report")[1]
    path.write_bytes(path.read_bytes().replace(b'"output":', b'"output":1', 1))
    code, out, err = worked("report")
    assert code == 0
    assert f"note: {path}:2:1: this line does not match its hash" in err
    cost = out.splitlines()[-1].split()[-1]
    assert cost.startswith("~")
    told = json.loads(worked("report", "--json")[1])
    assert (told["in_order"], told["problem_count"]) == (False, 1)
    assert told["totals"]["calls"] == sound["totals"]["calls"]


def test_verify_tells_a_broken_file_of_before_a_rotation_from_the_current_one(worked: Cli) -> None:
    path = Path(worked("ledger", "where")[1].strip())
    path.write_bytes(path.read_bytes().replace(b'"step":1', b'"step":7', 1))
    assert "`meshclaw ledger rotate` keeps it" in worked("ledger", "verify")[2]
    old = Path(worked("ledger", "rotate")[1].strip())
    code, _, err = worked("ledger", "verify")
    assert code == ExitCode.LEDGER
    assert err.startswith(f"not in order: {old.name}, from before a rotation; what was written since is in")
    assert "rotate`" not in err
    told = json.loads(worked("ledger", "verify", "--json")[1])
    assert (told["ok"], told["current_ok"]) == (False, True)
    old.rename(path.parent.parent / old.name)
    assert worked("ledger", "verify")[0] == 0


def test_rotate_begins_a_new_file_and_reports_count_both(worked: Cli) -> None:
    before = worked("report", "--json")[1]
    code, out, err = worked("ledger", "rotate")
    path = worked("ledger", "where")[1].strip()
    assert (code, Path(out.strip()).is_file()) == (0, True)
    assert err == f"a new ledger begins at {path}\n"
    assert worked("report", "--json")[1] == before
    verified = json.loads(worked("ledger", "verify", "--json")[1])
    assert [file["previous"] for file in verified["files"]] == ["none", "matches"]


def test_a_ledger_of_ones_own(worked: Cli) -> None:
    assert worked("--ledger", "own.jsonl", "ledger", "where")[1] == f"{worked.project}/own.jsonl\n"
    assert json.loads(worked("--ledger", "own.jsonl", "report", "--json")[1])["totals"]["calls"] == 0


def test_models_list_and_the_mistakes_of_pull(cli: Cli) -> None:
    listed = json.loads(cli("models", "list", "--json")[1])
    assert {one["state"] for one in listed} == {"absent"}
    assert cli("models", "pull", "qwen")[0] == ExitCode.USAGE
    assert cli("models", "pull", "--from", "x", "--mirror")[0] == ExitCode.USAGE
    code, _, err = cli("models", "pull", "--from", "x.gguf")
    assert (code, "there is no such file" in err) == (ExitCode.USAGE, True)
    assert cli("models", "remove", "qwen2.5-coder-0.5b")[2] == "qwen2.5-coder-0.5b was not here\n"
    assert cli("models", "where")[1].endswith("/models\n")


def test_config_show_says_where_values_come_from(cli: Cli) -> None:
    (cli.project / "meshclaw.yaml").write_text("budget:\n  steps: 7\n")
    cli.environment = {"MESHCLAW_BUDGET_TOKENS": "9k", "ANTHROPIC_API_KEY": "sk-secret"}
    code, out, _ = cli("config", "show", "--json")
    rows = {row["key"]: row for row in json.loads(out)}
    assert (code, rows["budget.steps"]["value"], rows["budget.tokens"]["value"]) == (0, "7", "9000")
    assert rows["budget.steps"]["origin"].endswith("meshclaw.yaml:2:10")
    assert "MESHCLAW_BUDGET_TOKENS" in rows["budget.tokens"]["origin"]
    assert "sk-secret" not in out
    assert rows["ledger"] == {
        "key": "ledger",
        "value": cli("ledger", "where")[1].strip(),
        "origin": "default",
    }
    assert Path(rows["data_dir"]["value"]).is_absolute()


def test_init_copies_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli = Cli(capsys, tmp_path)
    cli.task("summarize", "mine")
    code, out, err = cli("init")
    assert code == 0
    assert {"meshclaw.yaml", "tasks/fix-tests.yaml"} <= set(out.splitlines())
    assert "kept tasks/summarize.yaml: it was there already" in err
    assert (tmp_path / "tasks" / "summarize.yaml").read_text() == "mine"
    (tmp_path / "tasks" / "summarize.yaml").unlink()
    assert cli("tasks", "check")[0] == 0
    assert cli("config", "show")[0] == 0


def test_a_mistyped_command_is_a_usage_error(cli: Cli) -> None:
    code, _, err = cli("rport")
    assert (code, "Did you mean 'report'?" in err) == (ExitCode.USAGE, True)
    assert cli("--config", "none.yaml", "config", "show")[0] == ExitCode.USAGE
    assert cli()[0] == ExitCode.USAGE
    assert cli("--version")[1].startswith("meshclaw ")


@pytest.mark.parametrize(("words", "found"), [("run sum", "summarize"), ("rep", "report")])
def test_the_shell_completes_commands_and_tasks(cli: Cli, words: str, found: str) -> None:
    environment = {
        **os.environ,
        "_MESHCLAW_COMPLETE": "complete_bash",
        "COMP_WORDS": f"meshclaw {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    script = "import sys; sys.argv[0] = 'meshclaw'; from meshclaw.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=cli.project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found in done.stdout.split()


def test_unknown_is_never_nothing() -> None:
    assert cost_in_words(None, "unknown", 1) == "cost unknown"
    assert cost_in_words(None, "unpriced", 1) == "unpriced"
    assert cost_in_words("0.0", "priced", 2) == "free"
    assert cost_in_words("0.0", "priced", None) == "free"
    assert cost_in_words("0.0", "priced", 0) == "nothing spent"
    assert dollars("0.0000123") == "$0.000012"
    assert tokens_in_words({"input_total": None, "output": 3}) == "unknown in, 3 out"


def test_what_is_unknown_of_one_sum_is_not_unknown_of_another() -> None:
    usage = {"input_total": 100, "output": 10}
    tally = Tally()
    tally.take({"status": "ok", "usage": usage, "cost_nusd": 0})
    tally.take({"status": "ok", "usage": {**usage, "output": None}, "cost_nusd": 0})
    assert tally.words() == ["200 in", "\u226510 out", "free"]
    tally.take({"status": "ok", "usage": {"input_total": None, "output": None}, "cost_nusd": None})
    assert tally.words() == ["\u2265200 in", "\u226510 out", "cost unknown"]
    tally.take({"status": "aborted", "usage": usage, "cost_nusd": 10_000_000})
    assert tally.words() == ["\u2265300 in", "\u226520 out", "\u2265$0.0100"]


def test_words() -> None:
    assert status_in_words({"status": "interrupted", "reason": "interrupted"}) == "interrupted"
    assert status_in_words({"status": "timed_out", "reason": ""}) == "timed out"
    assert seconds_in_words(185) == "3 min 05 s"
    assert call_in_words("read", '{"path": "a\\nb"}') == "read a\u23ceb"
    assert call_in_words("shell", "not json") == "shell not json"
    assert len(call_in_words("write", json.dumps({"path": "x" * 500}))) == 80


def test_summer_days_stay_summer_days() -> None:
    from datetime import datetime

    zone = local_zone({"TZ": "Europe/Berlin"})
    assert datetime(2026, 7, 1, tzinfo=zone).utcoffset() != datetime(2026, 1, 1, tzinfo=zone).utcoffset()
