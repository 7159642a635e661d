"""What becomes of a finished run's patch: branches, the project, a person's word, and what is said."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_terminal import Cli, trust_project
from contained import git
from wire_server import Failure, Turn, WireServer

from meshclaw.runs import RunDirectory
from meshclaw.tasks.branches import branch_fault, template_fault

MODEL = ("--model", "anthropic/claude-haiku-5-5")
COPY = 'prompt: Mend it.\ntools: [write]\nallow: {write: ["**"]}\nisolate: copy\n'
MEND = COPY + 'accept: [{changed: ["**"]}]\n'
ASK = COPY + "accept: [human]\n"
WORK = [Turn(tool_calls=[("write", {"path": "a.txt", "content": "new\nsame\n"})]), Turn(text="Mended.")]


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, server: WireServer) -> Cli:
    project = tmp_path / "project"
    project.mkdir()
    (project / "meshclaw.yaml").write_text("")
    (project / "a.txt").write_text("old\nsame\n")
    git(project, "init", "-q", "-b", "trunk")
    git(project, "add", ".")
    git(project, "commit", "-qm", "first")
    trust_project(project)
    return Cli(capsys, project, {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": server.url})


def record_of(cli: Cli, *arguments: str) -> dict[str, Any]:
    code, out, err = cli("run", *arguments, *MODEL, "--json")
    assert out, err
    record: dict[str, Any] = json.loads(out)
    assert record["exit"] == code
    return record


def shown(cli: Cli) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(cli("runs", "show", "last", "--json")[1])
    return record


def folder_of(cli: Cli) -> Path:
    return Path(shown(cli)["directory"])


NAMES = (
    *("fix", "mc/fix", "a.b", "a-b", "a@b", "HEADS", "ünï", "a/-b", "{x", "lock"),
    *("", "/", "a/", "/a", "a//b", "-a", "HEAD", "a..b", "a b", "a~", "a^", "a:b", "a?", "a*"),
    *("a[", "a\\b", "a@{b", ".a", "a/.b", "a.lock", "a.lock/b", "a.", "a\tb", "a\x7f", "a\n"),
)


def test_a_name_is_impossible_exactly_where_git_says_so() -> None:
    for name in NAMES:
        done = subprocess.run(
            ["git", "check-ref-format", "--branch", name], capture_output=True, check=False
        )
        assert (branch_fault(name) is None) == (done.returncode == 0), name
    assert branch_fault("@") is not None, "which git takes for HEAD in some places and for a name in others"


def test_a_name_with_parameters_is_looked_at_around_them() -> None:
    assert template_fault("mc/{{ n }}") is None
    assert template_fault("mc/{{ n }}.lock") is not None
    assert template_fault("mc/{{ no name }}") is None, "which is a mistake of another kind"


def test_a_branch_is_looked_at_before_anything_is_spent(cli: Cli, server: WireServer) -> None:
    cli.task("mend", MEND + "params: {n: {}}\nbranch: mc/{{ n }}\n")
    git(cli.project, "branch", "mc/taken")
    git(cli.project, "branch", "mc/folder/inner")
    for value, message in (
        ("a..b", "no branch can be called 'mc/a..b': it holds '..' - give a parameter another value"),
        ("taken", "there is a branch 'mc/taken' already - delete that branch (`git branch -D mc/taken`)"),
        ("taken/more", "there is a branch 'mc/taken' already"),
        ("folder", "there is a branch 'mc/folder/inner' already"),
    ):
        code, _, err = cli("run", "mend", "-p", f"n={value}", *MODEL)
        assert (code, message in err) == (2, True), err
    cli.task("many", MEND + "params: {n: {}}\nmatrix: {n: [free, taken]}\nbranch: mc/{{ n }}\n")
    code, _, err = cli("run", "many", *MODEL)
    assert (code, "there is a branch 'mc/taken' already" in err) == (2, True), err
    assert server.requests == []
    server.script(*WORK)
    assert record_of(cli, "mend", "-p", "n=free")["patch"]["branch"] == "mc/free"
    assert cli("run", "mend", "-p", "n=free", *MODEL)[0] == 2


def test_a_reused_result_does_not_stumble_over_its_own_branch(cli: Cli, server: WireServer) -> None:
    cli.task("mend", MEND + "branch: mc/fix\nreuse: accepted\n")
    server.script(*WORK)
    first, tip = record_of(cli, "mend"), git(cli.project, "rev-parse", "mc/fix")
    second = record_of(cli, "mend")
    assert (second["reused"], second["exit"]) == (first["run"], 0)
    assert (second["patch"]["branch"], git(cli.project, "rev-parse", "mc/fix")) == ("mc/fix", tip)
    git(cli.project, "branch", "-f", "mc/fix", "trunk")
    code, _, err = cli("run", "mend", *MODEL)
    assert code == 1
    assert "failed: the patch: branch: 'mc/fix': there is such a branch already" in err
    assert f"accepted already in run {first['run']}" in err
    code, _, err = cli("run", "mend", "--fresh", *MODEL)
    assert (code, "there is a branch 'mc/fix' already" in err) == (2, True), err
    cli.task("mend", MEND + "branch: mc/fix\nreuse: accepted\ndescription: Other work\n")
    code, _, err = cli("run", "mend", *MODEL)
    assert (code, "'mc/fix': there is such a branch already" in err) == (2, True), err
    assert len(server.requests) == 2


def test_uncommitted_work_and_a_branch_go_together(cli: Cli, server: WireServer) -> None:
    cli.task("mend", MEND + "include_dirty: true\nbranch: mc/fix\n")
    git(cli.project, "add", "tasks")
    git(cli.project, "commit", "-qm", "task")
    (cli.project / "a.txt").write_text("mine\nsame\n")
    server.script(*WORK)
    record = record_of(cli, "mend")
    assert (record["exit"], record["patch"]["branch"]) == (0, "mc/fix"), record["reason"]
    subjects = git(cli.project, "log", "--format=%s", "trunk..mc/fix").splitlines()
    assert subjects == ["mend", f"Work in progress, as it was when run {record['run']} began"]
    assert git(cli.project, "show", "mc/fix:a.txt") == "new\nsame\n"
    assert git(cli.project, "show", "mc/fix~1:a.txt") == "mine\nsame\n"
    assert (cli.project / "a.txt").read_text() == "mine\nsame\n"


def patch_of(cli: Cli) -> tuple[str, bool, str | None]:
    record = shown(cli)
    return record["outcome"], record["patch"]["applied"], record["patch"]["branch"]


def test_accepting_goes_on_where_it_could_not_deliver(cli: Cli, server: WireServer) -> None:
    cli.task("mend", ASK + "branch: mc/fix\n")
    server.script(*WORK)
    assert record_of(cli, "mend", "--apply-if-accepted")["outcome"] == "pending"
    (cli.project / "a.txt").write_text("other\nsame\n")
    git(cli.project, "branch", "mc/fix")
    code, _, err = cli("runs", "accept", "last")
    assert (code, "a.txt:1: it was changed on both sides" in err) == (1, True), err
    assert "there is such a branch already" in err
    assert patch_of(cli) == ("pending", False, None)
    git(cli.project, "branch", "-D", "mc/fix")
    assert cli("runs", "accept", "last")[0] == 1
    assert patch_of(cli) == ("pending", False, "mc/fix"), "what helps to merge it is there"
    (cli.project / "a.txt").write_text("old\nsame\n")
    code, _, err = cli("runs", "accept", "last", "--why", "reads well")
    assert (code, "patch: 1 file, +1 -1 (branch mc/fix, applied)" in err) == (0, True), err
    assert patch_of(cli) == ("accepted", True, "mc/fix")
    record = shown(cli)
    assert (record["exit"], record["undelivered"]) == (0, None)
    assert record["reason"] == f"by {record['verdict']['by']}: reads well"


def test_a_patch_that_does_not_fit_gets_its_branch_all_the_same(cli: Cli, server: WireServer) -> None:
    cli.task("mend", MEND + "branch: mc/fix\n")
    (cli.project / "a.txt").write_text("other\nsame\n")
    server.script(*WORK)
    record = record_of(cli, "mend", "--apply-if-accepted")
    assert (record["status"], record["outcome"], record["exit"]) == ("failed", "accepted", 1)
    assert "a.txt:1: it was changed on both sides" in record["reason"]
    assert patch_of(cli) == ("accepted", False, "mc/fix")
    assert git(cli.project, "show", "mc/fix:a.txt") == "new\nsame\n"


def test_what_could_not_be_delivered_is_once_it_can(cli: Cli, server: WireServer) -> None:
    cli.task("mend", MEND + "output: {file: out.md}\n")
    (cli.project / "a.txt").write_text("other\nsame\n")
    server.script(*WORK)
    code, _, err = cli("run", "mend", "--apply-if-accepted", *MODEL)
    assert (code, "once that is mended, `meshclaw runs accept" in err) == (1, True), err
    assert cli("runs", "accept", "last")[0] == 1
    assert shown(cli)["status"] == "failed"
    (cli.project / "a.txt").write_text("old\nsame\n")
    assert cli("runs", "accept", "last")[0] == 0
    record = shown(cli)
    assert (record["status"], record["exit"], record["problems"]) == ("succeeded", 0, [])
    assert (record["patch"]["applied"], record["output_file"]) == (True, "out.md")
    assert (cli.project / "a.txt").read_text() == "new\nsame\n"
    assert (cli.project / "out.md").read_text() == "Mended.\n"


def test_what_needs_an_accepted_result_goes_on_with_it(cli: Cli, server: WireServer) -> None:
    cli.task("a", "prompt: A\nrunner: prompt\naccept: [human]\n")
    cli.task("b", 'prompt: "B {{ a }}"\nrunner: prompt\nneeds: [a]\n')
    server.script(Turn(text="from A"), Turn(text="from B"))
    code, out, _ = cli("run", "b", *MODEL, "--json")
    batch = json.loads(out)["batch"]
    assert code == 3
    assert cli("runs", "accept", "last")[0] == 0
    code, out, err = cli("runs", "resume", batch)
    assert (code, out) == (0, "from B\n"), err
    assert "from A" in json.dumps(server.requests[-1].body)


def test_a_rejected_run_says_so_wherever_it_is_looked_at(cli: Cli, server: WireServer) -> None:
    cli.task("mend", MEND)
    server.script(*WORK)
    assert record_of(cli, "mend")["exit"] == 0
    assert cli("runs", "reject", "last", "--why", "breaks")[0] == 0
    record = shown(cli)
    by = record["verdict"]["by"]
    assert (record["exit"], record["reason"]) == (3, f"by {by}: breaks")
    code, out, err = cli("runs", "apply", "last")
    assert (code, out) == (0, "a.txt\n"), "it is applied all the same"
    assert f"the run was rejected: by {by}: breaks" in err


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (COPY, "'mend' states no checks, so nothing of it is ever accepted"),
        (MEND.replace("isolate: copy\n", ""), "'mend' works in the project itself"),
    ],
    ids=["no checks", "no copy"],
)
def test_applying_what_can_never_be_applied_is_a_mistake(
    cli: Cli, server: WireServer, task: str, message: str
) -> None:
    cli.task("mend", task)
    code, _, err = cli("run", "mend", "--apply-if-accepted", *MODEL)
    assert (code, message in err, server.requests) == (2, True, []), err


def test_the_patch_is_named_at_the_end_and_later(cli: Cli, server: WireServer) -> None:
    cli.task("mend", MEND.replace('["**"]', '["a.txt"]', 1) + "branch: mc/fix\n")
    server.script(*WORK)
    code, _, err = cli("run", "mend", "--apply-if-accepted", *MODEL)
    run = shown(cli)["run"]
    line = f"patch: 1 file, +1 -1 (branch mc/fix, applied); meshclaw runs diff {run[:13]}\n"
    assert (code, line in err) == (0, True), err
    assert line in cli("runs", "show", "last")[1]
    cli.task("shy", MEND.replace('["**"]', '["b.txt"]', 1).replace("accept", "attempts: 1\naccept"))
    server.script(
        Turn(tool_calls=[("write", {"path": "b.txt", "content": "b\n"})]),
        Turn(text="Done."),
    )
    assert "patch: 1 file, +1 -0; meshclaw runs diff" in cli("run", "shy", *MODEL)[2]


def test_a_run_that_is_alive_is_not_said_to_be_over(cli: Cli, server: WireServer) -> None:
    cli.task("mend", MEND)
    server.script(Failure(400))
    assert cli("run", "mend", *MODEL)[0] == 7
    folder = folder_of(cli)
    with RunDirectory(folder) as alive:
        alive.write_record({**alive.read_record(), "status": "running"})
        code, _, err = cli("runs", "resume", "last")
        assert (code, "is running" in err, "anew" in err) == (8, True, False), err
        code, _, err = cli("runs", "accept", "last")
        assert (code, "no result to judge: it is running" in err) == (2, True), err
    code, _, err = cli("runs", "resume", "last")
    assert (code, "its end belongs into another ledger" in err) == (2, True), err


def test_a_run_without_a_result_is_described_in_words(cli: Cli, server: WireServer) -> None:
    cli.task("mend", MEND + "budget: {steps: 1}\n")
    server.script(*WORK)
    assert cli("run", "mend", *MODEL)[0] == 4
    assert "no result to judge: it ran out of budget" in cli("runs", "accept", "last")[2]


def test_a_recording_is_made_of_a_run_that_goes_on_too(cli: Cli, server: WireServer) -> None:
    cli.task("say", "prompt: Say {{ what }}.\nrunner: prompt\ninputs: {what: {file: a.txt}}\n")
    server.script(Failure(400), Turn(text="Hello."))
    assert cli("run", "say", "--record", *MODEL)[0] == 7
    assert cli("runs", "resume", "last")[0] == 0
    recording = cli.project / "tasks" / "say.recording.jsonl"
    assert "old" in json.loads(recording.read_text().splitlines()[0])["inputs"]["what"]["text"]
    code, out, err = cli("tasks", "test", "say")
    assert code == 0, out + err


def test_a_parameter_that_was_not_kept_is_given_again(cli: Cli, server: WireServer) -> None:
    secret = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
    cli.task(
        "say", "prompt: Say {{ tok }} {{ n }}.\nrunner: prompt\nparams: {tok: {}, n: {type: integer}}\n"
    )
    server.script(Failure(400), Turn(text="Hello."))
    assert cli("run", "say", "-p", f"tok={secret}", "-p", "n=3", *MODEL)[0] == 7
    folder = folder_of(cli)
    code, _, err = cli("runs", "resume", "last")
    assert code == 2
    assert "its parameter 'tok' held a secret, which is not kept - give it again: -p tok=..." in err, err
    code, _, err = cli("runs", "resume", "last", "-p", f"tok={secret}", "-p", "n=4")
    assert (code, "'n' is not asked for" in err) == (2, True), err
    code, out, err = cli("runs", "resume", "last", "-p", f"tok={secret}")
    assert (code, out) == (0, "Hello.\n"), err
    for file in folder.iterdir():
        assert secret not in file.read_text(), file


def test_a_batch_of_one_is_one_run_and_says_what_became_of_its_patch(cli: Cli, server: WireServer) -> None:
    cli.task("one", MEND + "params: {n: {}}\nmatrix: {n: [a]}\nbranch: mc/{{ n }}\n")
    server.script(*WORK)
    code, _, err = cli("run", "one", "--apply-if-accepted", *MODEL)
    assert (code, ": 1 run\n" in err) == (0, True), err
    assert "patches of 1 run (1 applied, 1 on a branch); meshclaw runs diff RUN\n" in err


def test_the_lock_that_patches_wait_for_is_no_run(cli: Cli, server: WireServer) -> None:
    cli.task("mend", MEND)
    server.script(*WORK)
    record = record_of(cli, "mend", "--apply-if-accepted")
    assert record["patch"]["applied"] is True
    assert len(list(Path(record["directory"]).parent.glob(".applying-*"))) == 1
    assert len(json.loads(cli("runs", "list", "--json")[1])) == 1


def test_a_batch_keeps_no_secrets_and_asks_for_them_again(
    cli: Cli, server: WireServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, other = "ghp_abcdefghijklmnopqrstuvwxyz0123456789", "ghp_zyxwvutsrqponmlkjihgfedcba9876543210"
    cli.task(
        "say",
        "prompt: Say {{ n }} {{ tok }} {{ note }}.\nrunner: prompt\ninputs: {note: stdin}\n"
        "params: {tok: {}, n: {}}\nmatrix: {n: [a, b]}\n",
    )
    stdin = io.TextIOWrapper(io.BytesIO(f"my key is {other}\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    server.script(Turn(text="A"), Failure(400), Turn(text="B"))
    code, out, err = cli("run", "say", "-p", f"tok={secret}", "--jobs", "1", "--json", *MODEL)
    assert code == 7, err
    batch = json.loads(out)["batch"]
    code, _, err = cli("runs", "resume", batch)
    assert (code, "its parameter 'tok' held a secret" in err) == (2, True), err
    code, out, err = cli("runs", "resume", batch, "-p", f"tok={secret}")
    assert (code, "==> n=a <==\nA\n" in out, "==> n=b <==\nB\n" in out) == (0, True, True), err
    kept = [path.read_text() for path in home.rglob("*") if path.is_file()]
    assert [text for text in kept if secret in text or other in text] == []
    assert any("my key is" in text for text in kept), "the control: the rest of it is there"
    cli.task(
        "many",
        "prompt: '{{ n }}'\nrunner: prompt\nparams: {n: {}}\nmatrix: {n: {file: keys}}\n",
    )
    (cli.project / "keys").write_text(f"{secret}\n{other}\n")
    code, out, _ = cli("run", "many", "--json", *MODEL)
    assert code == 7
    code, _, err = cli("runs", "resume", json.loads(out)["batch"], "-p", f"n={secret}")
    assert (code, "its task, options or matrix held a secret" in err) == (2, True), err
