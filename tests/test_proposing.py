"""`propose:`: what is kept for a person instead of being denied, in the policy, the task file and a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_bench import FakeTool, RunBench
from test_shell_syntax import HOSTILE

from meshclaw.app.trusting import powers_of
from meshclaw.dispatch.records import proposed
from meshclaw.errors import ProblemsError
from meshclaw.policies import Ceiling, Effects, Rules, TaskPolicy
from meshclaw.shell_syntax import ParsedScript, parse_command_line
from meshclaw.tasks import Allow, Task, parse_task
from meshclaw.testing import Say, Turn, call
from meshclaw.tools.base import Tool
from meshclaw.tools.files import ReadTool
from meshclaw.tools.shell import ShellTool
from meshclaw.tools.toolbox import MOST_PROPOSALS, PROPOSED

PUSH = ("git push *", "gh pr create *")
TOOLS: tuple[Tool, ...] = (ReadTool(), ShellTool())


def policy(
    run: Sequence[str] = ("make *",),
    propose: Sequence[str] = PUSH,
    *,
    ceiling: Ceiling | None = None,
    granted: Sequence[str] = (),
    shell_enabled: bool = True,
) -> TaskPolicy:
    return TaskPolicy(
        run=run,
        propose=propose,
        ceiling=ceiling,
        granted=Rules(run=granted),
        shell_enabled=shell_enabled,
        source="task.yaml",
    )


def proposal(command: str, made: TaskPolicy | None = None) -> str:
    decision = (made or policy()).review(Effects(commands=(command,), complete=True))
    assert not (decision.allowed and decision.proposal)
    return decision.proposal


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("git push", "git push"),
        ("git  push 'origin' \"main\"", "git push origin main"),
        ("make && git push || gh pr create -t 'a b'", "make && git push || gh pr create -t 'a b'"),
        ("git push\ngit push x", "git push\ngit push x"),
        ("gh pr create --body 'two\nlines'", "gh pr create --body 'two\nlines'"),
        ("git push A=b", "git push 'A=b'"),
        ("git push if ''", "git push 'if' ''"),
        ("git push --force-with-lease=x", "git push --force-with-lease=x"),
    ],
)  # fmt: skip
def test_what_matches_is_proposed_as_it_was_read(command: str, kept: str) -> None:
    assert proposal(command) == kept
    parsed, again = parse_command_line(command), parse_command_line(kept)
    assert isinstance(parsed, ParsedScript)
    assert parsed == again
    assert parsed.text == kept


@pytest.mark.parametrize(
    "command",
    [
        "make all",
        "git pull",
        "git push; rm x",
        "rm x && git push",
        "git push > x",
        "git push $(rm x)",
        "git push `rm x`",
        "git push &",
        "git push $HOME",
        "X=1 git push",
        "env git push",
        "sudo git push",
        "sh -c 'git push'",
        "gitpush",
        "git 'push x'",
        "git push \0",
        "git push \r",
        "",
    ],
)
def test_nothing_else_is_proposed(command: str) -> None:
    assert proposal(command) == ""


def test_a_star_proposes_whatever_can_be_read_and_nothing_that_cannot() -> None:
    every = policy((), ("*",))
    assert proposal("sudo reboot", every) == "sudo reboot"
    assert proposal("ls > x", every) == ""


def test_what_is_allowed_runs_and_is_not_proposed() -> None:
    both = policy(("git push *",), ("git push *",))
    for made in (both, policy(granted=["git push *"]), policy(granted=["*"])):
        assert made.review(Effects(commands=("git push",), complete=True)).allowed
        assert proposal("git push", made) == ""


def test_a_ceiling_over_what_runs_does_not_narrow_what_is_proposed_and_one_of_its_own_does() -> None:
    assert proposal("git push", policy(ceiling=Ceiling(run=()))) == "git push"
    assert proposal("git push", policy(ceiling=Ceiling(propose=("git push *",)))) == "git push"
    assert proposal("gh pr create", policy(ceiling=Ceiling(propose=("git push *",)))) == ""
    assert proposal("git push", policy(ceiling=Ceiling(propose=()))) == ""
    # What the task allows and the operator does not may not come in by the side of what is proposed.
    assert proposal("make x && git push", policy(ceiling=Ceiling(run=()))) == ""


def test_only_a_call_that_is_its_command_can_be_done_later_by_a_person() -> None:
    for effects in (
        Effects(commands=("git push",)),
        Effects(commands=("git push", "git push x"), complete=True),
        Effects(commands=("git push",), writes=("a",), complete=True),
        Effects(commands=("git push",), hosts=("example.com",), complete=True),
        Effects(writes=("a",), complete=True),
    ):
        decision = policy().review(effects)
        assert (decision.allowed, decision.proposal) == (False, "")


def test_a_denial_says_what_can_be_proposed() -> None:
    decision = policy().review(Effects(commands=("git pull",), complete=True))
    told = "allowed are make *; what can be proposed is git push *, gh pr create *"
    assert decision.reason == f"running git pull is not allowed; {told}"
    assert decision.remedy.startswith('add "git pull" to allow.run or propose in task.yaml, or pass ')


@given(HOSTILE)
def test_the_text_that_is_kept_is_read_as_the_same_commands(text: str) -> None:
    parsed = parse_command_line(text)
    if isinstance(parsed, ParsedScript):
        assert parse_command_line(parsed.text) == parsed


@given(
    st.lists(st.text(st.characters(blacklist_characters="\0\r", blacklist_categories=["Cs"])), min_size=1)
)
def test_any_words_are_kept_as_they_are(words: list[str]) -> None:
    made = ParsedScript((tuple(words),), ())
    assert parse_command_line(made.text) == made


def load(text: str) -> Task:
    return parse_task(
        text.encode(),
        "t.yaml",
        "t",
        tools=("read", "shell", "fetch"),
        runners=("agent", "prompt"),
        checks=(),
    )


def test_a_task_names_what_it_proposes() -> None:
    task = load('prompt: x\ntools: [shell]\npropose: ["git push *", "curl *", "git push *"]\n')
    assert task.propose == ("git push *", "curl *")
    assert powers_of(task)["propose"] == ["git push *", "curl *"]
    assert powers_of(replace(task, propose=())) != powers_of(task)


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("propose: git push", "t.yaml:2:10: 'propose' must be a list"),
        ("tools: [read]\npropose: [a]", "t.yaml:3:1: 'propose' needs the tool shell - add it to tools"),
        ("runner: prompt\npropose: [a]", "'propose' needs the tool shell"),
        ('params: {b: {}}\ntools: [shell]\npropose: ["a {{ b }}"]', "t.yaml:4:11: '{{' is not allowed"),
        ('tools: [shell]\npropose: ["a && b"]', "t.yaml:3:11: 'a && b' can never match: a pattern is one"),
        ('tools: [shell]\npropose: ["a > b"]', "'a > b' can never match: redirection"),
        (
            'tools: [shell]\nallow: {run: ["ls", "git *"]}\npropose: ["git push *"]',
            "t.yaml:4:11: 'git push *' would run at once: allow.run has 'git *'",
        ),
        ('tools: [shell]\nallow: {run: ["*"]}\npropose: [push]', "would run at once: allow.run has '*'"),
    ],
)  # fmt: skip
def test_mistakes_in_it_are_named(rest: str, told: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        load(f"prompt: x\n{rest}\n")
    assert told in str(caught.value)


def test_patterns_beside_each_other_are_no_mistake() -> None:
    load(
        'prompt: x\ntools: [shell]\nallow: {run: ["git push --dry-run *"]}\npropose: ["git push *", "*"]\n'
    )


def shell(command: str) -> Say:
    return call("shell", command=command)


def bench(
    folder: Path, *turns: Turn, made: TaskPolicy | None = None, tools: Sequence[Tool] = TOOLS
) -> RunBench:
    return RunBench(folder, turns, tools, policy=made or policy(), propose=PUSH)


async def test_a_proposal_is_kept_told_to_the_model_and_no_denial(tmp_path: Path) -> None:
    made = bench(tmp_path, shell("git push  'origin'"), shell("gh pr create"), Say("done"))
    record = await made.run()
    assert (record["status"], record["outcome"], record["exit"]) == ("succeeded", "unchecked", 0)
    assert record["denied"] == []
    assert record["proposals"] == [
        {"number": 1, "command": "git push origin"},
        {"number": 2, "command": "gh pr create"},
    ]
    lines = [(event.kind, event.data) for event in made.transcript()]
    at = [kind for kind, _ in lines].index("proposal")
    assert [kind for kind, _ in lines[at - 1 : at + 2]] == ["tool-start", "proposal", "tool-result"]
    assert lines[at][1] == {"id": "call_1_1", "command": "git push origin"}
    assert [event.kind for event in made.events].count("proposal") == 2
    assert lines[at + 1][1] == {"id": "call_1_1", "content": PROPOSED, "is_error": False}
    assert (
        json.loads((tmp_path / "runs" / "run-1" / "run.json").read_text())["proposals"]
        == record["proposals"]
    )


async def test_the_same_proposal_again_is_kept_once_and_is_no_insisting(tmp_path: Path) -> None:
    made = bench(tmp_path, *[shell("git push"), shell("git  'push'")] * 2, Say("done"))
    record = await made.run()
    assert (record["status"], record["exit"], record["denied"]) == ("succeeded", 0, [])
    assert record["proposals"] == [{"number": 1, "command": "git push"}]
    assert [event.kind for event in made.transcript()].count("proposal") == 1
    results = [event.data["content"] for event in made.transcript() if event.kind == "tool-result"]
    assert results == [PROPOSED] * 4


async def test_whoever_does_nothing_but_propose_goes_in_circles(tmp_path: Path) -> None:
    record = await bench(tmp_path, *[shell("git push")] * 9, Say("never")).run()
    assert (record["status"], record["exit"]) == ("failed", 1)
    assert record["proposals"] == [{"number": 1, "command": "git push"}]


async def test_what_is_not_proposed_is_still_denied(tmp_path: Path) -> None:
    record = await bench(tmp_path, shell("git push && rm x"), shell("git push"), Say("done")).run()
    assert len(record["denied"]) == 1
    assert 'add "rm x" to allow.run or propose' in record["denied"][0]
    assert [one["command"] for one in record["proposals"]] == ["git push"]


async def test_a_task_that_allows_no_command_proposes_without_a_sandbox(tmp_path: Path) -> None:
    record = await bench(tmp_path, shell("git push"), Say("x"), made=policy((), shell_enabled=False)).run()
    assert (record["status"], len(record["proposals"]), record["denied"]) == ("succeeded", 1, [])


async def test_proposals_are_kept_however_a_run_ends(tmp_path: Path) -> None:
    def crash(request: object) -> Say:
        raise RuntimeError("a defect")

    made = bench(tmp_path, shell("git push"), crash)
    with pytest.raises(RuntimeError):
        await made.run()
    assert made.events[-1].data["proposals"] == [{"number": 1, "command": "git push"}]


async def test_what_holds_a_secret_is_denied(tmp_path: Path) -> None:
    made = bench(
        tmp_path,
        shell("git push 'https://x:hunter2-hunter2@example.com'"),
        shell("git push '[redacted]'"),
        shell("git push https://example.com"),
        Say("done"),
    )
    made.secrets = ["hunter2-hunter2"]
    record = await made.run()
    assert [one["command"] for one in record["proposals"]] == ["git push https://example.com"]
    assert record["denied"] == ["what holds a secret cannot be proposed"]
    folder = tmp_path / "runs" / "run-1"
    assert "hunter2" not in (folder / "run.json").read_text() + (folder / "transcript.jsonl").read_text()


async def test_there_is_a_most_that_a_person_is_asked_to_look_at(tmp_path: Path) -> None:
    many = Say(calls=[("shell", {"command": f"git push {n}"}) for n in range(MOST_PROPOSALS + 5)])
    record = await bench(tmp_path, many, Say("done")).run()
    assert len(record["proposals"]) == MOST_PROPOSALS
    assert len(record["denied"]) == 1


async def test_a_tool_whose_call_is_more_than_its_command_is_denied(tmp_path: Path) -> None:
    tool = FakeTool("work", effects=Effects(commands=("git push",)))
    record = await bench(tmp_path, call("work"), Say("x"), tools=[tool]).run()
    assert (tool.calls, record["proposals"], len(record["denied"])) == ([], [], 1)


def test_what_a_damaged_transcript_still_shows_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "transcript.jsonl"
    assert proposed(path) == []
    lines = ['{"event":"proposal","id":"1","command":"a"}'] * 2 + [
        '{"event":"proposal","id":"2","command":"b"}'
    ]
    path.write_text("\n".join([*lines, "broken", *lines, ""]))
    assert [one["command"] for one in proposed(path)] == ["a", "b"]


def test_what_a_task_allows_is_not_changed_by_what_it_proposes() -> None:
    assert Task("t", "x", allow=Allow()).propose == ()
