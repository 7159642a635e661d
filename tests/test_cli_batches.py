"""`meshclaw run` of a matrix and of what needs others: what is printed where, and what goes on later."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_terminal import Cli, Terminal
from wire_server import Failure, Fault, Recorded, Reply, Turn, WireServer

from meshclaw.errors import ExitCode

MODEL = ("--model", "anthropic/claude-haiku-5-5")
SHOW = """\
runner: prompt
params: {service: {}, level: {type: integer, default: 1}}
matrix: {service: [api, web], level: [1, 2]}
prompt: "Look at {{ service }} on {{ level }}."
"""
WHOLE = "runner: prompt\nneeds: [look]\nprompt: 'Sum up: {{ look }}'\n"


def asked(request: Recorded) -> str:
    """The text of the first message."""
    content = request.body["messages"][0]["content"]
    return str(content if isinstance(content, str) else content[0]["text"])


def echo(request: Recorded) -> Reply:
    return Turn(text=f"[{asked(request).strip()}]")


class Model(WireServer):
    """A model whose `answer` can change while it is up."""

    def __init__(self) -> None:
        self.answer: Callable[[Recorded], Reply] = echo
        super().__init__(lambda request: self.answer(request))


@pytest.fixture
def server() -> Iterator[Model]:
    model = Model()
    with model:
        yield model


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, server: Model) -> Cli:
    (tmp_path / "meshclaw.yaml").write_text("budget: {steps: 10}\n")
    made = Cli(capsys, tmp_path, {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": server.url})
    made.task("look", SHOW)
    made.task("whole", WHOLE)
    return made


def test_results_stand_under_their_names_in_the_matrixs_order(cli: Cli) -> None:
    code, out, err = cli("run", "look", *MODEL)
    assert code == 0
    assert out == "\n".join(
        f"==> service={service}, level={level} <==\n[Look at {service} on {level}.]\n"
        for service in ("api", "web")
        for level in (1, 2)
    )
    assert "service=web, level=2  unchecked      1" in err
    assert "4 runs: 4 unchecked \u00b7 400 in, 40 out \u00b7 free" in err
    assert "resume" not in err


def test_json_is_one_object_with_every_items_record(cli: Cli) -> None:
    code, out, _ = cli("run", "look", *MODEL, "--json", "-p", "level=2")
    record = json.loads(out)
    assert (code, record["exit"], record["status"], record["counts"]) == (
        0,
        0,
        "succeeded",
        {"unchecked": 2},
    )
    assert [(item["item"], item["params"], item["result"]) for item in record["items"]] == [
        (1, {"service": "api", "level": 2}, "[Look at api on 2.]"),
        (2, {"service": "web", "level": 2}, "[Look at web on 2.]"),
    ]
    assert {item["batch"] for item in record["items"]} == {record["batch"]}
    assert (record["usage"]["total"], record["cost_usd"]) == (220, "0.0")


def test_events_carry_the_run_and_the_item(cli: Cli) -> None:
    code, out, _ = cli("run", "look", *MODEL, "--stream-json", "--jobs", "4")
    events = [json.loads(line) for line in out.splitlines()]
    kinds = [event["event"] for event in events]
    assert (code, kinds[0], kinds[-1], kinds.count("item-end"), kinds.count("run-end")) == (
        0,
        "batch-start",
        "batch-end",
        4,
        4,
    )
    runs = {item["item"]: item["run"] for item in events[-1]["items"]}
    inside = [event for event in events if event["event"] not in ("batch-start", "batch-end")]
    assert all(runs[event["item"]] == event["run"] for event in inside)


def test_what_a_task_needs_runs_first_and_only_its_own_result_is_printed(cli: Cli, server: Model) -> None:
    code, out, err = cli("run", "whole", *MODEL)
    assert code == 0
    assert out.startswith(
        '[Sum up: <input name="look">\n==> service=api, level=1 <==\n[Look at api on 1.]\n'
    )
    assert out.endswith("[Look at web on 2.]\n</input>]\n")
    assert len(server.requests) == 5
    assert "look service=api, level=1  unchecked" in err
    record = json.loads(cli("run", "whole", *MODEL, "--json")[1])
    assert (record["run"], record["status"], record["outcome"]) == (
        record["items"][0]["run"],
        "succeeded",
        "unchecked",
    )
    assert len(record["needs"]) == 4


def test_a_need_that_fails_keeps_the_task_from_beginning(cli: Cli, server: Model) -> None:
    refused = Turn(text="no", refusal="no")
    server.answer = lambda request: refused if "web on 1" in asked(request) else echo(request)
    code, out, err = cli("run", "whole", *MODEL)
    assert (code, out) == (ExitCode.FAILED, "")
    assert "look service=web, level=1: " in err
    assert "1 not started, 'look service=web, level=1' ended failed: whole" in err
    assert cli("run", "whole", *MODEL, "--quiet")[2].startswith("error: look service=web, level=1: ")
    record = json.loads(cli("run", "whole", *MODEL, "--json")[1])
    assert (record["exit"], record["run"], record["result"]) == (1, None, None)


def test_the_worst_items_code_is_the_batchs_and_the_good_results_are_printed(
    cli: Cli, server: Model
) -> None:
    server.answer = lambda request: Failure(401) if "api on 1" in asked(request) else echo(request)
    code, out, err = cli("run", "look", *MODEL)
    assert code == ExitCode.PROVIDER
    assert out.count("==>") == 3
    assert "service=api, level=1" not in out
    assert "go on with what is left: meshclaw runs resume b-" in err


def test_fail_fast_says_what_was_not_started_and_the_rest_can_be_done_later(
    cli: Cli, server: Model
) -> None:
    server.answer = lambda request: Failure(401) if "api on 2" in asked(request) else echo(request)
    code, _, err = cli("run", "look", *MODEL, "--jobs", "1", "--fail-fast")
    assert code == ExitCode.PROVIDER
    assert (
        "2 not started, 'service=api, level=2' ended failed (--fail-fast): "
        "service=web, level=1, service=web, level=2" in err
    )
    batch = err.split("meshclaw runs resume ")[1].split()[0]
    server.answer = echo
    code, out, err = cli("runs", "resume", batch)
    assert code == 0
    assert out.count("==>") == 4, "the results of all are printed, earlier ones too"
    assert f"batch {batch}: 4 runs, 1 done before" in err
    assert [asked(request).strip() for request in server.requests].count("Look at api on 1.") == 1


def test_values_come_from_files_and_commands_without_blank_lines(cli: Cli) -> None:
    (cli.project / "names.txt").write_text("api\n\n  web\t\r\n")
    cli.task("look", SHOW.replace("[api, web], level: [1, 2]", "{file: names.txt}"))
    assert json.loads(cli("run", "look", *MODEL, "--json")[1])["counts"] == {"unchecked": 2}
    command = "{command: 'printf \"$MESHCLAW_PARAM_LEVEL\\n\\nx y\\n\"'}"
    cli.task("look", SHOW.replace("[api, web], level: [1, 2]", command))
    record = json.loads(cli("run", "look", *MODEL, "--json", "-p", "level=7", "--no-sandbox")[1])
    assert [item["params"]["service"] for item in record["items"]] == ["7", "x y"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{file: none.txt}", "the values of 'service': file cannot be read"),
        ("{command: exit 3}", "the values of 'service': command failed with exit code 3: exit 3"),
        (
            "{command: 'yes | head -c 1100000'}",
            "the values of 'service': command gives more than 1,000,000 bytes",
        ),
        ("{command: 'seq 10001'}", "the matrix has 10,001 combinations"),
        ("{command: \"head -c 5000 /dev/zero | tr '\\\\0' x\"}", "it has 5,000 characters; at most 4,096"),
    ],
)
def test_values_that_cannot_be_had_end_it_before_anything_is_spent(
    cli: Cli, server: Model, source: str, message: str
) -> None:
    cli.task("look", SHOW.replace("[api, web], level: [1, 2]", source))
    code, out, err = cli("run", "look", *MODEL, "--no-sandbox")
    assert (code, out, server.requests) == (ExitCode.USAGE, "", [])
    assert message in err


def test_an_empty_list_is_nothing_to_do(cli: Cli, server: Model) -> None:
    (cli.project / "names.txt").write_text("\n")
    cli.task("look", SHOW.replace("[api, web], level: [1, 2]", "{file: names.txt}"))
    assert cli("run", "look", *MODEL, "--dry-run")[0] == ExitCode.SKIPPED
    code, out, err = cli("run", "look", *MODEL)
    assert (code, out, server.requests) == (ExitCode.SKIPPED, "", [])
    assert "nothing to do: the matrix of look has no items" in err
    record = json.loads(cli("run", "look", *MODEL, "--json")[1])
    assert (record["status"], record["items"], record["batch"]) == ("skipped", [], None)


def test_wrong_input_is_told_before_anything_is_spent(cli: Cli, server: Model) -> None:
    cli.task("a", "needs: [b]\nprompt: x\n")
    cli.task("b", "needs: [a, nothere]\nprompt: x\n")
    code, _, err = cli("run", "a", *MODEL)
    assert (code, server.requests) == (ExitCode.USAGE, [])
    assert "tasks/b.yaml:1:9: this never begins: 'a' needs 'b' needs 'a'" in err
    assert "tasks/b.yaml:1:12: unknown task 'nothere'" in err
    checked = cli("tasks", "check")
    assert (checked[0], checked[1].count("this never begins")) == (ExitCode.USAGE, 2)
    assert cli("run", "look", *MODEL, "-p", "service=db")[0] == ExitCode.USAGE
    assert cli("run", "look", *MODEL, "-o", "out.txt")[0] == ExitCode.USAGE
    cli.task("look", SHOW + "output: {file: 'out/{{ service }}.md'}\n")
    code, _, err = cli("run", "look", *MODEL)
    assert (code, server.requests) == (ExitCode.USAGE, [])
    assert (
        "'service=api, level=1' and 'service=api, level=2' have the same output.file: 'out/api.md'" in err
    )


def test_no_model_is_one_mistake_and_not_one_for_every_item(cli: Cli, home: Path) -> None:
    code, _, err = cli("run", "look")
    assert (code, err.count("no model is set")) == (ExitCode.USAGE, 1)
    assert list(home.glob("**/batches/*")) == []


def test_a_dry_run_shows_every_run_and_the_first_in_full(cli: Cli, server: Model) -> None:
    code, out, _ = cli("run", "whole", *MODEL, "--dry-run")
    assert (code, server.requests) == (0, [])
    assert "runs (5):\n  look service=api, level=1\n" in out
    assert "(the result of 'look')" in out
    plan = json.loads(cli("run", "look", *MODEL, "--dry-run", "--json")[1])
    assert (plan["runs"], plan["first"]["prompt"], plan["batch_usd_at_most"]) == (
        4,
        "Look at api on 1.\n",
        "0.0",
    )


def test_needs_are_a_power_that_has_to_be_trusted(cli: Cli, server: Model) -> None:
    (cli.project / "tasks" / "new.yaml").write_text(WHOLE)
    code, _, err = cli("run", "new", *MODEL)
    assert (code, server.requests) == (ExitCode.REFUSED, [])
    assert "tasks/new.yaml" in err
    (cli.project / "tasks" / "made.yaml").write_text(SHOW.replace("[api, web]", "{command: touch ran}"))
    assert cli("run", "made", *MODEL)[0] == ExitCode.REFUSED
    assert not (cli.project / "ran").exists()


def test_private_data_that_a_need_reaches_counts_for_who_gets_its_result(cli: Cli, tmp_path: Path) -> None:
    """A reads what lies beyond the project, B has what A found, and may connect outward."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    config = tmp_path / "config.yaml"
    config.write_text(f"sandbox: {{read: [{outside}]}}\n")
    cli.environment["MESHCLAW_CONFIG"] = str(config)
    cli.task("a", "runner: prompt\ninputs: {x: {command: echo hi}}\nprompt: '{{ x }}'\n")
    b = "needs: [a]\nprompt: 'see {{ a }}'\ntools: [fetch]\nallow: {network: %s}\n"
    cli.task("b", b % "[example.org]")
    code, _, err = cli("run", "b", *MODEL)
    assert code == ExitCode.REFUSED
    assert "'a' hands it on: sandbox.read names" in err
    cli.task("b", (b % "[]").replace("tools: [fetch]\n", ""))
    assert cli("run", "b", *MODEL, "--dry-run")[0] == 0, "the same without a way out is fine"


def test_standard_input_is_read_once_for_all(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    cli.task(
        "look",
        SHOW.replace("prompt:", "inputs: {text: stdin}\nprompt:").replace("level }}", "level }}{{ text }}"),
    )

    class Piped(io.StringIO):
        buffer = io.BytesIO(b"what was piped")

    monkeypatch.setattr(sys, "stdin", Piped())
    record = json.loads(cli("run", "look", *MODEL, "--json")[1])
    assert all("what was piped" in item["result"] for item in record["items"])


def test_a_budget_is_that_of_all_runs_together(cli: Cli, server: Model) -> None:
    code, _, err = cli("run", "look", *MODEL, "--budget", "steps=3", "--jobs", "1")
    assert code == ExitCode.OVER_BUDGET
    assert len(server.requests) == 3
    assert "the limit of 3 steps of the batch is used up - raise it with --budget steps=..." in err
    batch = err.split("meshclaw runs resume ")[1].split()[0]
    assert cli("runs", "resume", batch)[0] == ExitCode.OVER_BUDGET
    assert cli("runs", "resume", batch, "--budget", "steps=4")[0] == 0
    assert len(server.requests) == 4


def test_runs_of_a_batch_are_listed(cli: Cli) -> None:
    _, _, err = cli("run", "look", *MODEL)
    cli("run", "whole", *MODEL)
    batch = err.rsplit("batch ", 1)[1].split()[0]
    listed = json.loads(cli("runs", "list", "--batch", batch, "--json")[1])
    assert {record["batch"] for record in listed} == {batch}
    assert len(listed) == 4


def test_a_run_that_goes_on_alone_is_not_done_again_by_its_batch(cli: Cli, server: Model) -> None:
    server.answer = lambda request: Failure(401) if "api on 1" in asked(request) else echo(request)
    record = json.loads(cli("run", "look", *MODEL, "--json")[1])
    run = next(item["run"] for item in record["items"] if item["exit"])
    server.answer = echo
    alone = json.loads(cli("runs", "resume", run, "--json")[1])
    assert (alone["exit"], alone["batch"]) == (0, record["batch"])
    before = len(server.requests)
    whole = json.loads(cli("runs", "resume", record["batch"], "--json")[1])
    assert (whole["counts"], len(server.requests)) == ({"unchecked": 4}, before)


def test_nobody_goes_on_with_a_batch_that_is_under_way(cli: Cli, server: Model, home: Path) -> None:
    server.answer = lambda request: Fault.HANG
    with Terminal(["run", "look", *MODEL], cli.environment, cli.project) as terminal:
        while len(server.requests) < 4:
            terminal._read(1e9)
        (batch,) = home.glob("**/batches/b-*")
        code, _, err = cli("runs", "resume", batch.name)
        assert (code, "another process works in" in err) == (ExitCode.LOCKED, True)
        terminal.type("\x03")
        assert terminal.finish() == ExitCode.INTERRUPTED


def test_no_such_batch(cli: Cli) -> None:
    code, _, err = cli("runs", "resume", "b-0")
    assert (code, "there is no batch 'b-0'" in err) == (ExitCode.USAGE, True)


def test_a_terminal_shows_how_far_things_are_and_ctrl_c_leaves_the_rest_for_later(
    cli: Cli, server: Model
) -> None:
    server.answer = lambda request: Fault.HANG if "web" in asked(request) else echo(request)
    with Terminal(["run", "look", *MODEL, "--jobs", "3"], cli.environment, cli.project) as terminal:
        terminal.wait_for("2 of 4 done")
        while len(server.requests) < 4:
            terminal._read(1e9)
        terminal.type("\x03")
        assert terminal.finish() == ExitCode.INTERRUPTED
    assert "stopping" in terminal.seen
    batch = terminal.seen.split("meshclaw runs resume ")[1].split()[0].removesuffix("\x1b[0m")
    server.answer = echo
    code, out, _ = cli("runs", "resume", batch, "--json")
    assert (code, json.loads(out)["counts"]) == (0, {"unchecked": 4})
    assert [asked(request).strip() for request in server.requests].count("Look at api on 1.") == 1


def test_sigterm_ends_it_cleanly_too(cli: Cli, server: Model) -> None:
    server.answer = lambda request: Fault.HANG
    with Terminal(["run", "look", *MODEL], cli.environment, cli.project) as terminal:
        while len(server.requests) < 4:
            assert terminal.process.poll() is None
            terminal._read(1e9)
        terminal.kill(signal.SIGTERM)
        assert terminal.finish() == ExitCode.TERMINATED
