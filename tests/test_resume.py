"""A run that was cut short goes on, and nothing that was received is asked for, or paid, again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_terminal import Cli
from run_bench import RunBench
from wire_server import Failure, Recorded, Turn, WireServer

from meshclaw.budgets import Budget
from meshclaw.dispatch import Dispatcher, Stop, may_resume
from meshclaw.errors import ExitCode, FailureKind, LockedError, ProviderError
from meshclaw.runs import RunDirectory
from meshclaw.testing import Say, call

pytestmark = pytest.mark.xdist_group("resume")

DRIVER = Path(__file__).with_name("resume_driver.py")
MODEL = ("--model", "anthropic/claude-haiku-5-5")


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The ends of a twelve-step run, killed at every second arrow, a third of them again."""
    root = tmp_path_factory.mktemp("resumed")
    command = [sys.executable, str(DRIVER), str(root), "1", "2"]
    done = subprocess.run(
        command, cwd=DRIVER.parent, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_whenever_it_is_killed_it_comes_to_the_same_end(resumed: list[dict[str, Any]]) -> None:
    *killed, whole = resumed
    assert whole["code"] == 0
    assert len(killed) > 80
    assert {state["known"] for state in killed} >= set(range(10))
    for state in killed:
        assert (state["code"], state["resumed"]) == (77, 0), state
        found = (state["result"], state["outcome"], state["attempts"], state["steps"])
        assert found == ("good", "accepted", 2, 12), state


@pytest.mark.slow
def test_nothing_received_is_asked_for_or_counted_twice(resumed: list[dict[str, Any]]) -> None:
    for state in resumed[:-1]:
        assert state["asked again"] == [], state
        assert state["calls twice"] == [], state
        assert (state["responses"], state["judged twice"]) == (13, False), state
        assert (state["sum"], state["verified"], state["active"]) == (True, True, 0), state


@pytest.mark.slow
def test_a_change_that_had_begun_is_not_made_twice(resumed: list[dict[str, Any]]) -> None:
    for state in resumed[:-1]:
        assert state["written twice"] == [], state


async def resume(bench: RunBench, **options: Any) -> dict[str, Any]:
    bench.options |= options
    return await Dispatcher(bench.house()).resume("run-1", bench.delegation())


async def test_a_run_that_lost_its_provider_goes_on_where_it_was(tmp_path: Path) -> None:
    lost = ProviderError(FailureKind.CONNECTION, "no connection")
    bench = RunBench(tmp_path, [call("read"), lost, Say("done")])
    record = await bench.run()
    assert (record["exit"], may_resume(record)) == (7, True)
    record = await resume(bench)
    assert (record["result"], record["exit"], record["steps"], record["calls"]) == ("done", 0, 2, 3)
    assert len(bench.provider.requests) == 3
    assert bench.kinds().count("start") == 1
    entries = [entry.call for entry in bench.ledger.entries if type(entry).kind == "call"]
    assert entries == ["run-1/1.1.0", "run-1/1.2.0", "run-1/1.2.1"]


async def test_a_budget_that_was_used_up_still_counts_what_was_spent(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [call("read"), call("read"), Say("done")], budget=Budget(steps=2))
    assert (await bench.run())["exit"] == 4
    assert (await resume(bench))["exit"] == 4
    assert len(bench.provider.requests) == 2
    bench.budget = Budget(steps=3)
    record = await resume(bench)
    assert (record["exit"], record["steps"], record["result"]) == (0, 3, "done")
    ends = [entry.status for entry in bench.ledger.entries if type(entry).kind == "run"]
    assert ends == ["over_budget", "over_budget", "succeeded"]


async def test_an_interrupted_run_goes_on_in_its_own_time(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [call("read"), Say("late", latency=30)])
    stop = Stop()
    bench.events = _Stopping(stop)
    record = await bench.run(stop)
    assert (record["status"], record["exit"]) == ("interrupted", 130)
    bench.provider._turns[1] = bench.provider._turns[-1] = Say("done")
    bench.provider.requests.pop()
    record = await resume(bench)
    assert (record["status"], record["result"], record["resumed_at"]) == (
        "succeeded",
        "done",
        record["started_at"],
    )


class _Stopping(list[Any]):
    """Interrupts the run as soon as its second request is on its way."""

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop
        self._requests = 0

    def append(self, event: Any) -> None:
        self._requests += event.kind == "request"
        if self._requests == 2:
            self._stop.now(ExitCode.INTERRUPTED)


async def test_two_processes_never_work_on_one_run(tmp_path: Path) -> None:
    bench = RunBench(tmp_path, [ProviderError(FailureKind.CONNECTION, "no connection"), Say("done")])
    await bench.run()
    with RunDirectory(tmp_path / "runs" / "run-1"), pytest.raises(LockedError):
        await resume(bench)
    assert (await resume(bench))["exit"] == 0


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, server: WireServer) -> Cli:
    made = Cli(capsys, tmp_path, {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": server.url})
    made.task(
        "work",
        'prompt: Do {{ what }}.\ntools: [read, write]\nallow: {write: ["*.txt"]}\n'
        "params: {what: {default: it}}\nbudget: {steps: 2}\n",
    )
    return made


def test_the_command_goes_on_with_a_run_as_it_was_begun(cli: Cli, server: WireServer) -> None:
    server.script(Turn(tool_calls=[("read", {"path": "no.txt"})]), Failure(400), Turn(text="done"))
    assert cli("run", "work", *MODEL, "-p", "what=that")[0] == 7
    cli.task("work", "prompt: Something else altogether.\n")
    code, out, err = cli("runs", "resume", "last")
    assert (code, out) == (0, "done\n"), err
    first, *_, last = server.requests
    assert "Do that." in json.dumps(first.body)
    assert last.body["messages"][:2] == [*first.body["messages"], last.body["messages"][1]]


def test_a_run_that_came_to_its_end_does_not_go_on(cli: Cli, server: WireServer) -> None:
    server.script(Turn(text="done"))
    cli("run", "work", *MODEL)
    code, out, err = cli("runs", "resume", "last")
    assert (code, out) == (2, "")
    assert "cannot go on: it came to its end (succeeded, unchecked)" in err
    assert "`meshclaw run work` does the work anew" in err
    assert len(server.requests) == 1


def test_a_run_that_an_older_version_began_is_given_up(cli: Cli, server: WireServer) -> None:
    server.script(Failure(400), Failure(400), Turn(text="done"))
    runs = Path.home() / ".local/share/meshclaw/runs"
    for killed in (False, True):
        assert cli("run", "work", *MODEL)[0] == 7
        folder = max(runs.iterdir())
        saved, record = (json.loads((folder / name).read_text()) for name in ("saved.json", "run.json"))
        (folder / "saved.json").write_text(json.dumps(saved | {"version": 1}))
        (folder / "check").mkdir()
        if killed:
            (folder / "run.json").write_text(json.dumps(record | {"status": "running"}))
            (runs.parent / "active" / folder.name).touch()
            code, _, err = cli("run", "work", *MODEL)
            assert (code, "was cut short" in err, "goes on with it" in err) == (0, True, False)
        else:
            code, _, err = cli("runs", "resume", "last")
            assert (code, "was begun by another version of MeshClaw" in err) == (2, True)
        assert not (folder / "check").exists()
        code, _, err = cli("runs", "resume", folder.name)
        assert (code, "cannot go on: it came to its end" in err) == (2, True)
    assert cli("ledger", "verify")[0] == 0


def test_a_limit_can_be_raised_when_a_run_goes_on(cli: Cli, server: WireServer) -> None:
    reading = Turn(tool_calls=[("read", {"path": "no.txt"})])
    server.script(reading, reading, Turn(text="done"))
    assert cli("run", "work", *MODEL)[0] == 4
    assert cli("runs", "resume", "last")[0] == 4
    code, out, err = cli("runs", "resume", "last", "--budget", "steps=5")
    assert (code, out) == (0, "done\n"), err


def test_a_project_that_is_not_trusted_any_more_does_not_go_on(cli: Cli, server: WireServer) -> None:
    server.script(Failure(400), Turn(text="done"))
    assert cli("run", "work", *MODEL)[0] == 7
    assert cli("trust", "--revoke")[0] == 0
    assert cli("runs", "resume", "last")[0] == 6
    assert len(server.requests) == 1


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 2, 3])
def test_kill_9_in_the_middle_of_a_response(cli: Cli, server: WireServer, at: int) -> None:
    """A real process, killed while the model answers for the `at`-th time."""

    def answer(recorded: Recorded) -> Turn:
        said = sum(message["role"] == "assistant" for message in recorded.body["messages"])
        text = {"path": f"{said}.txt", "content": "x"}
        slow = 30.0 if len(server.requests) == at else 0.0
        if said < 3:
            return Turn(tool_calls=[("write", text)], latency=slow)
        return Turn(text="done", latency=slow)

    cli.task("work", 'prompt: Do it.\ntools: [write]\nallow: {write: ["*.txt"]}\n')
    server.script(*[answer] * 9)
    process = subprocess.Popen(
        [sys.executable, "-m", "meshclaw", "run", "work", *MODEL],
        cwd=cli.project,
        env={**os.environ, **cli.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(server.requests) < at:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    code, out, err = cli("runs", "resume", "last")
    assert (code, out) == (0, "done\n"), err
    assert len(server.requests) == 5
    assert sorted(path.name for path in cli.project.glob("*.txt")) == ["0.txt", "1.txt", "2.txt"]
    assert cli("ledger", "verify")[0] == 0
