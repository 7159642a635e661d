"""The rule of two: what a run has of the three, when it is refused, and how a risk is accepted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cli_terminal import Cli
from wire_server import Turn, WireServer

from meshclaw.app.options import RunOptions
from meshclaw.app.risks import Risks, accepted_risk, find_risks, warning
from meshclaw.config import Config, SandboxSettings
from meshclaw.errors import ExitCode, PolicyError
from meshclaw.ledger.entry import RunEnd
from meshclaw.ledger.file import FileLedger
from meshclaw.policies import Ceiling
from meshclaw.tasks import Acceptance, Allow, Input, Output, Task

PROJECT = Path("/home/me/project")
MODEL = ("--model", "anthropic/claude-haiku-5-5")
TICKET = Input("ticket", "stdin")
MINE = Input("mine", "stdin", trusted=True)
NETWORK = Allow(network=("api.example.com",))


def task(
    *inputs: Input,
    allow: Allow | None = None,
    tools: tuple[str, ...] = (),
    accept_risk: str | None = None,
) -> Task:
    return Task(
        "t",
        "Do it.",
        "tasks/t.yaml",
        inputs=inputs,
        tools=tools,
        allow=allow or Allow(),
        accept_risk=accept_risk,
    )


def risks(
    subject: Task,
    options: RunOptions | None = None,
    ceiling: Ceiling | None = None,
    sandbox: SandboxSettings | None = None,
) -> Risks:
    config = Config(policy=ceiling or Ceiling(), sandbox=sandbox or SandboxSettings())
    return find_risks(subject, options or RunOptions(), config, project=PROJECT, cwd=PROJECT / "src")


def test_a_harmless_task_has_none() -> None:
    assert risks(task(MINE, tools=("read", "edit", "shell"), allow=Allow(("**",), ("*",)))) == Risks()


@pytest.mark.parametrize("kind", ["file", "glob", "command", "stdin"])
def test_an_input_is_untrusted_unless_it_says_otherwise(kind: str) -> None:
    assert risks(task(Input("x", kind, "y"))).untrusted == ("input 'x' is not marked `trusted: true`",)  # type: ignore[arg-type]
    assert risks(task(Input("x", kind, "y", trusted=True))).untrusted == ()  # type: ignore[arg-type]


def test_fetch_reads_untrusted_text_and_acts_where_there_is_network() -> None:
    assert risks(task(tools=("fetch",))) == Risks(untrusted=("the tool fetch",))
    assert risks(task(tools=("fetch",), allow=NETWORK)).outward == (
        "allow.network names api.example.com",
        "the tool fetch reaches them",
    )


@pytest.mark.parametrize(
    ("path", "outside"),
    [
        ("/etc/passwd", True),
        ("../../notes.txt", True),
        ("../notes.txt", False),
        ("notes.txt", False),
        ("/home/me/project/a/../../other", True),
        ("/home/me/projects/x", True),
    ],
)
def test_a_file_from_outside_of_the_project_is_private(path: str, outside: bool) -> None:
    found = risks(task(TICKET), RunOptions(inputs={"ticket": Path(path)})).private
    assert found == ((f"--input ticket={path} lies outside of the project",) if outside else ())


def test_a_link_out_of_the_project_is_outside(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "secret").touch()
    (project / "link").symlink_to(tmp_path / "secret")
    (project / "plain").touch()

    def private(name: str) -> tuple[str, ...]:
        options = RunOptions(inputs={"ticket": Path(name)})
        return find_risks(task(TICKET), options, Config(), project=project, cwd=project).private

    assert private("link")
    assert not private("plain")


def test_what_runs_without_a_sandbox_reaches_and_acts() -> None:
    whole = task(TICKET, tools=("shell",), allow=Allow(run=("*",)))
    assert not risks(whole).all_three
    assert risks(whole, RunOptions(no_sandbox=True)).all_three
    assert risks(whole, RunOptions(no_sandbox=True), Ceiling(run=("make *",))).all_three
    assert not risks(whole, RunOptions(no_sandbox=True), Ceiling(run=())).all_three
    for pattern in ("make *", "python3 *", "git log *", "make lint"):
        some = task(TICKET, tools=("shell",), allow=Allow(run=(pattern,)))
        found = risks(some, RunOptions(no_sandbox=True))
        assert found.outward == (f"a command ({pattern}) without a sandbox has this machine's network",)
        assert found.private == (f"a command ({pattern}) without a sandbox reaches what this account may",)
        assert not risks(some).all_three
    none = task(TICKET, tools=("shell",))
    assert not risks(none, RunOptions(no_sandbox=True)).all_three
    assert risks(none, RunOptions(no_sandbox=True, allow_run=("make *",)), Ceiling(run=())).all_three
    assert risks(some, RunOptions(no_sandbox=True, allow_run=("*",)), Ceiling(run=())).all_three
    assert risks(whole, sandbox=SandboxSettings(use="none")).all_three
    no_shell = task(TICKET, tools=("read",), allow=Allow(run=("*",)))
    assert not risks(no_shell, RunOptions(no_sandbox=True)).all_three


def test_a_check_without_a_sandbox_runs_what_a_model_wrote() -> None:
    free = RunOptions(no_sandbox=True)
    run, look = Acceptance("run", "make test", {}, 1, 1), Acceptance("matches", "ok", {}, 1, 1)
    written = task(TICKET, tools=("edit",), allow=Allow(write=("src/**",)))
    assert risks(replace(written, accept=(run,)), free).all_three
    assert not risks(replace(written, accept=(run,))).all_three
    assert not risks(replace(written, accept=(look,)), free).all_three
    assert not risks(replace(written, accept=(run,)), free, Ceiling(write=())).all_three
    answered = task(TICKET)
    assert not risks(replace(answered, accept=(run,)), free).all_three
    assert risks(replace(answered, accept=(run,), output=Output("run.sh")), free).all_three


def test_a_ceiling_that_closes_the_network_takes_the_outward_part_away() -> None:
    assert risks(task(allow=NETWORK)).outward
    assert not risks(task(allow=NETWORK), ceiling=Ceiling(network=())).outward


def test_two_of_three_are_fine_and_three_are_refused() -> None:
    private, every = RunOptions(inputs={"mine": Path("/etc/x")}), Ceiling()
    for fine in (
        risks(task(TICKET, MINE), private),
        risks(task(TICKET, MINE, allow=NETWORK)),
        risks(task(MINE, allow=NETWORK), private),
    ):
        assert not fine.all_three
        assert accepted_risk(task(), fine, every) is None
    subject = task(TICKET, MINE, allow=NETWORK)
    with pytest.raises(PolicyError) as caught:
        accepted_risk(subject, risks(subject, private), Ceiling(source="/x/config.yaml"))
    assert caught.value.exit_code is ExitCode.REFUSED
    assert caught.value.message.splitlines() == [
        "this run would do three things that are safe only apart:",
        "  it reads untrusted text: input 'ticket' is not marked `trusted: true`",
        "  it reaches private data beyond the project: --input mine=/etc/x lies outside of the project",
        "  it acts outward: allow.network names api.example.com",
    ]
    assert caught.value.hint.endswith(
        'accept the risk: say why in tasks/t.yaml with `accept_risk: "..."` and '
        "set `policy: {accept_risk: true}` in /x/config.yaml"
    )


def test_accepting_takes_both_the_task_and_the_operator() -> None:
    every = Risks(("a",), ("b",), ("c",))
    agreed = Ceiling(accept_risk=True, source="/x/config.yaml")
    assert accepted_risk(task(accept_risk="staff only"), every, agreed) == "staff only"
    with pytest.raises(PolicyError) as caught:
        accepted_risk(task(accept_risk="staff only"), every, Ceiling(source="/x/config.yaml"))
    assert caught.value.hint.endswith(
        "accept the risk: set `policy: {accept_risk: true}` in /x/config.yaml"
    )
    with pytest.raises(PolicyError) as caught:
        accepted_risk(task(), every, agreed)
    assert caught.value.hint.endswith('accept the risk: say why in tasks/t.yaml with `accept_risk: "..."`')


def test_what_the_sandbox_may_read_beyond_the_project_is_private() -> None:
    more = SandboxSettings(read=(Path("/srv/data"),))
    commands = Input("log", "command", "cat /srv/data/log", trusted=True)
    for subject in (task(tools=("shell",)), task(commands)):
        assert risks(subject, sandbox=more).private == ("sandbox.read names /srv/data",)
        assert risks(subject).private == ()
    assert risks(task(TICKET, tools=("read",)), sandbox=more).private == ()


def test_a_file_alone_gives_a_warning() -> None:
    risky = task(TICKET, allow=NETWORK)
    assert warning(risky, risks(risky)) == (
        "tasks/t.yaml: it reads untrusted text: input 'ticket' is not marked `trusted: true`; "
        "it acts outward: allow.network names api.example.com - "
        "a run that reaches private data beyond the project too is refused"
    )
    shell = task(TICKET, allow=NETWORK, tools=("shell",))
    found = risks(shell, sandbox=SandboxSettings(read=(Path("/srv"),)))
    assert warning(shell, found).endswith(" - such a run is refused")
    assert warning(task(MINE, allow=NETWORK), risks(task(MINE, allow=NETWORK))) == ""
    assert warning(task(TICKET), risks(task(TICKET))) == ""


RISKY = """\
prompt: "{{ ticket }} {{ mine }}"
runner: prompt
inputs:
  ticket: {command: touch gathered; echo hello}
  mine: {file: mine.txt, trusted: true}
allow: {network: [api.example.com]}
"""


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, server: WireServer) -> Cli:
    project = tmp_path / "project"
    project.mkdir()
    (project / "meshclaw.yaml").touch()
    (project / "mine.txt").write_text("inside")
    (tmp_path / "mine.txt").write_text("outside")
    environment = {
        "ANTHROPIC_API_KEY": "key",
        "ANTHROPIC_BASE_URL": server.url,
        "MESHCLAW_CONFIG": str(tmp_path / "operator.yaml"),
        "MESHCLAW_LEDGER": str(tmp_path / "ledger.jsonl"),
    }
    made = Cli(capsys, project, environment)
    made.task("risky", RISKY)
    made.task("reasoned", RISKY + "accept_risk: only staff write tickets\n")
    return made


def test_a_run_of_all_three_is_refused_before_anything_is_gathered(cli: Cli, server: WireServer) -> None:
    run = ("run", "risky", *MODEL, "--no-sandbox")
    code, out, err = cli(*run, "--input", "mine=../mine.txt", "--json")
    told = json.loads(out)
    assert (code, told["exit"], told["status"], told["run"]) == (6, 6, "refused", None)
    assert "it reads untrusted text: input 'ticket'" in err
    assert not (cli.project / "gathered").exists()
    assert not server.requests
    server.script(Turn(text="done"))
    code, out, err = cli(*run)
    assert (code, out) == (0, "done\n")
    assert (cli.project / "gathered").exists()


def test_a_reason_counts_where_the_operator_agrees_and_is_kept(
    cli: Cli, server: WireServer, tmp_path: Path
) -> None:
    run = ("run", "reasoned", *MODEL, "--input", "mine=../mine.txt", "--json")
    code, out, err = cli(*run)
    assert code == 6
    assert "set `policy: {accept_risk: true}` in" in err
    (tmp_path / "operator.yaml").write_text("policy: {accept_risk: true}\n")
    server.script(Turn(text="done"))
    code, out, _ = cli(*run)
    record = json.loads(out)
    assert (code, record["accepted_risk"]) == (0, "only staff write tickets")
    kept = json.loads((Path(record["directory"]) / "run.json").read_text())
    assert kept["accepted_risk"] == "only staff write tickets"
    ends = [entry for entry in FileLedger(tmp_path / "ledger.jsonl").read() if isinstance(entry, RunEnd)]
    assert [end.accepted_risk for end in ends] == ["only staff write tickets"]


def test_a_run_with_nothing_to_accept_keeps_no_reason(cli: Cli, server: WireServer, tmp_path: Path) -> None:
    (tmp_path / "operator.yaml").write_text("policy: {accept_risk: true}\n")
    server.script(Turn(text="done"))
    assert json.loads(cli("run", "reasoned", *MODEL, "--json")[1])["accepted_risk"] is None


def test_a_dry_run_shows_all_three(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("run", "risky", *MODEL, "--dry-run")
    assert code == 0
    assert "A reads untrusted text? input 'ticket' is not marked `trusted: true`\n" in out
    assert "B reaches private data beyond the project? no\n" in out
    assert "C acts outward? allow.network names api.example.com\n" in out
    (tmp_path / "operator.yaml").write_text("policy: {accept_risk: true}\n")
    code, out, _ = cli("run", "reasoned", *MODEL, "--dry-run", "--json", "--input", "mine=../mine.txt")
    assert json.loads(out)["risks"] == {
        "untrusted": ["input 'ticket' is not marked `trusted: true`"],
        "private": ["--input mine=../mine.txt lies outside of the project"],
        "outward": ["allow.network names api.example.com"],
        "accepted": "only staff write tickets",
    }


def test_tasks_check_warns_and_succeeds(cli: Cli) -> None:
    code, out, err = cli("tasks", "check", "risky")
    assert (code, out) == (0, "")
    assert "warning: tasks/risky.yaml: it reads untrusted text: input 'ticket'" in err
    assert "1 task checked, no problems" in err
    code, out, _ = cli("tasks", "check", "risky", "--json")
    assert (code, len(json.loads(out)["warnings"]), json.loads(out)["ok"]) == (0, 1, True)
    cli.task("plain", "prompt: Hello.\n")
    code, out, err = cli("tasks", "check", "plain", "--json")
    assert json.loads(out)["warnings"] == []
    assert "warning" not in err


@pytest.mark.parametrize("value", ['""', "true", "[x]", "null"])
def test_a_reason_is_text(cli: Cli, value: str) -> None:
    cli.task("bad", f"prompt: Hello.\naccept_risk: {value}\n")
    code, out, _ = cli("tasks", "check", "bad")
    assert code == 2
    assert "tasks/bad.yaml:2:14: 'accept_risk'" in out


def test_a_tasks_output_stays_beneath_the_ceiling(cli: Cli, server: WireServer, tmp_path: Path) -> None:
    cli.task("write", "prompt: Hello.\nrunner: prompt\noutput: {file: docs/x.md}\n")
    (cli.project / "docs").mkdir()
    operator = tmp_path / "operator.yaml"
    operator.write_text("policy: {write: [src/**]}\n")
    code, _, err = cli("run", "write", *MODEL)
    assert code == 6
    assert (
        "output.file: writing docs/x.md is beyond the operator's policy.write, which allows src/**" in err
    )
    assert not server.requests
    server.script(Turn(text="a"), Turn(text="b"))
    assert cli("run", "write", *MODEL, "--allow-write", "docs/x.md")[0] == 0
    assert (cli.project / "docs/x.md").read_text() == "a\n"
    operator.write_text("policy: {write: [docs/**]}\n")
    assert cli("run", "write", *MODEL)[0] == 0
    assert (cli.project / "docs/x.md").read_text() == "b\n"
