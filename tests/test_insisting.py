"""Asking again for what was denied is told once and then ends the run; every denial is in the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_bench import FakeTool, RunBench

from meshclaw.budgets import Budget
from meshclaw.dispatch import Dispatcher, Stop, recover
from meshclaw.errors import ExitCode, FailureKind, ProviderError
from meshclaw.ledger.entry import RunEnd
from meshclaw.messages import Request
from meshclaw.policies import Decision, Effects, TaskPolicy
from meshclaw.runs import RunDirectory
from meshclaw.testing import Say, Turn, call
from meshclaw.tools.base import DeniedError, Tool
from meshclaw.tools.editing import WriteTool
from meshclaw.tools.files import ReadTool
from meshclaw.tools.shell import ShellTool

TOOLS: tuple[Tool, ...] = (ReadTool(), WriteTool(), ShellTool())
WHOLE = TaskPolicy(["a.txt"], ["make *"], shell_enabled=True, source="task.yaml")


def write(path: str, content: str = "x") -> Say:
    return call("write", path=path, content=content)


def shell(command: str) -> Say:
    return call("shell", command=command)


def bench(folder: Path, *turns: Turn, **options: object) -> RunBench:
    return RunBench(folder, turns, TOOLS, policy=WHOLE, **options)  # type: ignore[arg-type]


def notices(made: RunBench) -> list[str]:
    return [event.data["text"] for event in made.transcript() if event.kind == "notice"]


async def test_the_second_denial_is_told_and_the_third_ends_the_run(tmp_path: Path) -> None:
    made = bench(tmp_path, write("b.txt", "1"), write("b.txt", "2"), write("b.txt", "3"), Say("never"))
    record = await made.run()
    assert (record["status"], record["exit"], record["steps"]) == ("refused", 6, 3)
    remedy = 'add "b.txt" to allow.write in task.yaml, or pass --allow-write b.txt'
    assert record["reason"] == f"insisted on a denied call: {remedy}"
    assert record["denied"] == [remedy]
    assert notices(made) == [
        "This was denied: writing b.txt is not allowed; allowed are a.txt. It will not be allowed, and "
        "asking a third time ends the run. Do without it, or answer that it cannot be done."
    ]
    assert not (made.project / "b.txt").exists()


async def test_the_same_calls_go_through_when_they_are_allowed(tmp_path: Path) -> None:
    made = bench(tmp_path, write("a.txt", "1"), write("a.txt", "2"), write("a.txt", "3"), Say("done"))
    record = await made.run()
    assert (record["status"], record["denied"], notices(made)) == ("succeeded", [], [])
    assert (made.project / "a.txt").read_text() == "3"


async def test_a_model_that_heeds_the_notice_may_finish(tmp_path: Path) -> None:
    made = bench(tmp_path, write("b.txt"), write("./b.txt"), write("a.txt"), Say("done"))
    record = await made.run()
    assert (record["status"], len(record["denied"]), len(notices(made))) == ("succeeded", 1, 1)


async def test_the_same_thing_in_other_words_is_the_same_thing(tmp_path: Path) -> None:
    turns = [
        shell("rm -rf x"),
        shell("make a && rm  -rf 'x'"),
        Say("thinking", calls=[("read", {"path": "a"})]),
    ]
    made = bench(tmp_path, *turns, shell("make a; 'rm' -rf x"), Say("never"))
    record = await made.run()
    assert (record["status"], record["exit"], record["steps"]) == ("refused", 6, 4)
    assert "rm -rf x" in record["reason"]


async def test_different_things_are_no_insisting(tmp_path: Path) -> None:
    commands = ("ls > a", "ls > b", "echo $HOME", "make x > y", "rm a", "rm b", "rm c")
    made = bench(tmp_path, *map(shell, commands), *(write(f"{n}.txt") for n in range(5)), Say("gave up"))
    record = await made.run()
    assert (record["status"], notices(made)) == ("succeeded", [])
    assert len(record["denied"]) == 1 + 3 + 5
    assert len(set(record["denied"])) == len(record["denied"])


async def test_one_command_that_cannot_be_read_is_one_thing(tmp_path: Path) -> None:
    record = await bench(tmp_path, *[shell("ls > a")] * 3, Say("never")).run()
    assert (record["status"], record["steps"]) == ("refused", 3)
    assert "a full shell" in record["reason"]


async def test_calls_of_one_step_count_once_since_nothing_was_told_between(tmp_path: Path) -> None:
    many = Say(calls=[("write", {"path": "b.txt", "content": str(n)}) for n in range(5)])
    made = bench(tmp_path, many, Say("done"))
    assert (await made.run())["status"] == "succeeded"
    (tmp_path / "again").mkdir()
    again = bench(tmp_path / "again", many, many, many, Say("never"))
    assert (await again.run())["steps"] == 3
    assert len(notices(again)) == 1


async def test_reading_outside_is_a_denial_too(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    outside = str(tmp_path / "secret")
    made = bench(tmp_path, call("read", path="../secret"), call("read", path=outside), Say("gave up"))
    record = await made.run()
    assert record["denied"] == [
        "../secret: `..` is not allowed; give a path relative to the project",
        f"{outside}: outside of the project; give a path relative to it",
    ]
    results = [event.data["content"] for event in made.transcript() if event.kind == "tool-result"]
    assert all(result.startswith("denied: ") and "s3cret" not in result for result in results)


async def test_what_is_found_on_the_way_is_a_denial_too(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    turns = [
        call("read", path="link"),
        write("link"),
        write("double"),
        call("read", path="plain"),
        Say("so"),
    ]
    made = RunBench(tmp_path, turns, TOOLS, policy=TaskPolicy(["**"]))
    (made.project / "link").symlink_to(tmp_path / "secret")
    (made.project / "plain").write_text("fine")
    (made.project / "double").hardlink_to(tmp_path / "secret")
    record = await made.run()
    assert record["denied"] == [
        "link: leads out of the project through a symlink",
        "double: has another hard link, so it may not be written",
    ]
    results = [event.data["content"] for event in made.transcript() if event.kind == "tool-result"]
    assert "fine" in results[-1]
    assert (tmp_path / "secret").read_text() == "s3cret"


async def test_a_tool_may_find_that_it_is_denied(tmp_path: Path) -> None:
    def refuse(arguments: object) -> str:
        raise DeniedError("10.0.0.1 is not public")

    turns = [call("fetch"), call("fetch"), call("fetch"), Say("never")]
    record = await RunBench(tmp_path, turns, [FakeTool("fetch", refuse)]).run()
    assert (record["status"], record["denied"]) == ("refused", ["10.0.0.1 is not public"])


async def test_a_mistake_is_no_denial(tmp_path: Path) -> None:
    made = bench(tmp_path, call("read", path="nothing"), call("read", path="a\0b"), call("raed"), Say("so"))
    assert (await made.run())["denied"] == []


class Broken:
    """A policy whose own code is wrong."""

    def review(self, effects: Effects) -> Decision:
        raise RuntimeError("oops")


class Unclear(FakeTool):
    """A tool that cannot say what it would touch."""

    def effects(self, arguments: object) -> Effects:
        raise KeyError("path")


@pytest.mark.parametrize(
    ("tool", "policy", "named"),
    [
        (FakeTool("work"), Broken(), "RuntimeError: oops"),
        (Unclear("work"), TaskPolicy(["**"], ["*"], ["*"], shell_enabled=True), "KeyError"),
        (FakeTool("work", effects=Effects(writes=(None,))), TaskPolicy(["**"]), "TypeError"),  # type: ignore[arg-type]
    ],
)
async def test_an_error_inside_a_guard_denies(
    tmp_path: Path, tool: FakeTool, policy: TaskPolicy, named: str
) -> None:
    record = await RunBench(tmp_path, [call("work"), Say("ok")], [tool], policy=policy).run()
    assert tool.calls == []
    assert len(record["denied"]) == 1
    assert named in record["denied"][0]
    sound = FakeTool("work")
    (tmp_path / "sound").mkdir()
    record = await RunBench(tmp_path / "sound", [call("work"), Say("ok")], [sound]).run()
    assert (len(sound.calls), record["denied"]) == (1, [])


async def test_denials_are_kept_however_a_run_ends(tmp_path: Path) -> None:
    async def denied(name: str, *turns: Turn, **options: object) -> tuple[str, int]:
        (tmp_path / name).mkdir()
        record = await bench(tmp_path / name, write("b.txt"), *turns, **options).run()
        return record["status"], len(record["denied"])

    failure = ProviderError(FailureKind.AUTHENTICATION, "no key")
    assert await denied("provider", failure) == ("failed", 1)
    assert await denied("budget", Say("never"), budget=Budget(steps=1)) == ("over_budget", 1)
    stop = Stop()

    def interrupt(request: Request) -> Say:
        stop.now(ExitCode.TERMINATED)
        return Say("late", latency=60)

    (tmp_path / "stopped").mkdir()
    record = await bench(tmp_path / "stopped", write("b.txt"), interrupt).run(stop)
    assert (record["status"], record["exit"], len(record["denied"])) == ("interrupted", 143, 1)

    def crash(request: Request) -> Say:
        raise RuntimeError("a defect")

    (tmp_path / "defect").mkdir()
    made = bench(tmp_path / "defect", write("b.txt"), crash)
    with pytest.raises(RuntimeError):
        await made.run()
    assert len(made.events[-1].data["denied"]) == 1


LOST = ProviderError(FailureKind.CONNECTION, "no connection")


async def resume(made: RunBench) -> dict[str, Any]:
    return await Dispatcher(made.house()).resume("run-1", made.delegation())


async def test_insisting_counts_what_was_denied_before_a_run_was_cut_short(tmp_path: Path) -> None:
    turns: list[Turn] = [write("b.txt"), LOST, write("b.txt"), write("b.txt"), Say("never")]
    made = bench(tmp_path, *turns)
    assert len((await made.run())["denied"]) == 1
    record = await resume(made)
    assert (record["status"], record["exit"], len(record["denied"])) == ("refused", 6, 1)
    (tmp_path / "once").mkdir()
    once = bench(tmp_path / "once", write("b.txt"), LOST, write("c.txt"), Say("done"))
    await once.run()
    record = await resume(once)
    assert (record["status"], len(record["denied"])) == ("succeeded", 2)


async def test_a_proposal_is_kept_once_although_the_run_was_cut_short_in_between(tmp_path: Path) -> None:
    policy = TaskPolicy(run=["make *"], propose=["git push *"], shell_enabled=True)
    turns: list[Turn] = [shell("git push"), LOST, shell("git push a"), shell("git push"), Say("done")]
    made = RunBench(tmp_path, turns, TOOLS, policy=policy, propose=["git push *"])
    assert [one["command"] for one in (await made.run())["proposals"]] == ["git push"]
    record = await resume(made)
    assert [one["command"] for one in record["proposals"]] == ["git push", "git push a"]


async def test_what_a_killed_run_was_denied_and_proposed_is_in_its_record(tmp_path: Path) -> None:
    policy = TaskPolicy(run=["make *"], propose=["git push *"], shell_enabled=True)
    turns: list[Turn] = [write("b.txt"), shell("git push"), Say("done")]
    made = RunBench(tmp_path, turns, TOOLS, policy=policy, propose=["git push *"])
    left = await made.run()
    # As a process leaves it that was killed before the run's end.
    directory = RunDirectory(tmp_path / "runs" / "run-1")
    directory.write_record({**left, "status": "running", "denied": [], "proposals": []})
    made.ledger.entries = [entry for entry in made.ledger.entries if not isinstance(entry, RunEnd)]
    (tmp_path / "active" / "run-1").touch()
    assert await recover(made.house()) == ["run-1"]
    record = directory.read_record()
    assert (record["status"], record["denied"], record["proposals"]) == (
        "interrupted",
        left["denied"],
        left["proposals"],
    )
    assert (len(record["denied"]), len(record["proposals"])) == (1, 1)
