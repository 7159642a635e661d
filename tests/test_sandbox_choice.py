"""Which sandbox a run gets on machines that have all, some and none of what one needs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from contained import needs_bubblewrap
from landlock_place import needs_landlock
from wire_server import Turn, WireServer

from meshclaw.app.app import App
from meshclaw.app.sandboxes import find_sandbox
from meshclaw.sandbox.bpf import ALLOW, MISSING, answer, program, when
from meshclaw.sandbox.seccomp import find_machine

JOB = """\
description: A model that runs commands.
prompt: Do it.
tools: [shell]
allow: {run: ["*"], write: ["out/**"]}
"""
WIDE = JOB.replace("out/**", "**")
NET = JOB.replace("write", "network: [example.com], write")
LOOK = """\
description: A command of the task's own, no tool for the model.
runner: prompt
inputs:
  seen: {command: "cat ../secret"}
prompt: "{{ seen }}"
"""
EVERYTHING = ("--dev-bind", "/", "/")
NO_NAMESPACES = ("/usr/bin/bwrap", "--unshare-user", "--disable-userns", *EVERYTHING, "--")
"""A machine on which no user namespace can be made."""
NO_BUBBLEWRAP = ("/usr/bin/bwrap", *EVERYTHING, "--ro-bind", "/dev/null", "/usr/bin/bwrap", "--")
CREATE_RULESET = 444
ATTACK = "cat ../secret; echo x > new; mkdir -p out && echo made > out/file; cat out/file"


def no_landlock(folder: Path) -> tuple[str, ...]:
    """NO_BUBBLEWRAP, on a kernel that has no Landlock either."""
    path = folder / "filter"
    path.write_bytes(
        program(find_machine().audit, [*when(CREATE_RULESET, [answer(MISSING)]), answer(ALLOW)])
    )
    bwrap, *rest = NO_BUBBLEWRAP
    opened = f'exec {bwrap} --seccomp 9 "$@" 9< {shlex.quote(str(path))}'
    return ("/bin/sh", "-c", opened, "sh", *rest)


@dataclass
class Machine:
    """A person's tasks and settings, on a machine that is `within` another command."""

    folder: Path
    server: WireServer
    within: tuple[str, ...] = ()
    settings: str = ""

    def __post_init__(self) -> None:
        config = self.folder / "config.yaml"
        config.write_text(f"providers:\n  vllm: {{base_url: '{self.server.openai_url}'}}\n{self.settings}")
        self.line = CommandLine(self.folder, {"MESHCLAW_CONFIG": str(config)}, self.within)
        (self.folder / "secret").write_text("the-secret\n")
        (self.folder / "tasks").mkdir()
        for name, text in (("job", JOB), ("look", LOOK), ("wide", WIDE), ("net", NET)):
            (self.folder / "tasks" / f"{name}.yaml").write_text(text)

    def attack(self, *flags: str, expect: int = 0) -> dict[str, Any]:
        """A model reads and writes beyond what the task allows, and also does what it may."""
        self.server.script(Turn(tool_calls=[("shell", {"command": ATTACK})]), Turn(text="done"))
        record = self.line.record("job", "--model", "vllm/m", *flags)
        assert record["exit"] == expect, record
        assert (self.line.project / "out" / "file").read_text() == "made\n"
        return record

    async def choose(self, settings: str = "") -> tuple[str | None, str]:
        """What this machine's sandbox is called, or why there is none; found in this process."""
        with (self.folder / "config.yaml").open("a") as config:
            config.write(settings)
        app = App({**os.environ, "MESHCLAW_CONFIG": str(config.name)}, self.line.project)
        found = await find_sandbox(app, app.config.sandbox)
        if found.sandbox is None:
            return None, found.reason
        app.keep(found.sandbox)
        await app.aclose()
        return found.sandbox.name, ""


def shown(record: dict[str, Any]) -> str:
    """What the model was told of its calls."""
    lines = (Path(record["directory"]) / "transcript.jsonl").read_text().splitlines()
    events = map(json.loads, lines)
    return "\n".join(event["content"] for event in events if event["event"] == "tool-result")


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@needs_bubblewrap
@needs_landlock
def test_without_user_namespaces_landlock_holds_the_whole_run(tmp_path: Path, server: WireServer) -> None:
    machine = Machine(tmp_path, server, NO_NAMESPACES)
    possible = subprocess.run([*NO_NAMESPACES, "unshare", "-U", "true"], check=False)
    assert possible.returncode != 0, "the probe itself does not work"
    held = machine.attack()
    assert held["sandbox"] == "landlock"
    assert "the-secret" not in shown(held)
    assert not (machine.line.project / "new").exists()
    looked = machine.line.run("run", "look", "--model", "vllm/m")
    assert looked.returncode == 2
    assert "Permission denied" in looked.stderr
    free = machine.attack("--no-sandbox")
    assert free["sandbox"] == "none"
    assert "the-secret" in shown(free)
    assert (machine.line.project / "new").exists()


@needs_bubblewrap
def test_where_nothing_holds_the_models_commands_are_refused_and_the_tasks_own_run(
    tmp_path: Path, server: WireServer
) -> None:
    machine = Machine(tmp_path, server, no_landlock(tmp_path))
    refused = machine.line.run("run", "job", "--model", "vllm/m")
    assert (refused.returncode, len(server.requests)) == (6, 0)
    for said in ("bubblewrap is not installed", "Landlock is version 0", "apt-get install bubblewrap"):
        assert said in refused.stderr
    server.script(Turn(text="done"))
    assert machine.line.run("run", "look", "--model", "vllm/m").returncode == 0
    assert "the-secret" in json.dumps([request.body for request in server.requests])
    with (tmp_path / "config.yaml").open("a") as config:
        config.write("sandbox: none\n")
    assert "the-secret" in shown(machine.attack())


@needs_landlock
@pytest.mark.parametrize(
    ("task", "reason"),
    [("net", "cannot open single hosts"), ("wide", "cannot keep a part of a folder")],
)
def test_what_landlock_cannot_hold_is_refused_before_the_start(
    tmp_path: Path, server: WireServer, task: str, reason: str
) -> None:
    machine = Machine(tmp_path, server, settings="sandbox: {use: landlock}\n")
    refused = machine.line.run("run", task, "--model", "vllm/m")
    assert (refused.returncode, len(server.requests)) == (6, 0)
    assert reason in refused.stderr


@needs_bubblewrap
@needs_landlock
async def test_the_best_is_taken_unless_the_operator_names_one(tmp_path: Path, server: WireServer) -> None:
    machine = Machine(tmp_path, server)
    assert await machine.choose() == ("bubblewrap", "")
    assert await machine.choose("sandbox: {use: landlock}\n") == ("landlock", "")
    works = json.loads((Path(os.environ["XDG_CACHE_HOME"]) / "meshclaw/sandbox/works.json").read_text())
    assert sorted(works) == ["bubblewrap", "landlock"]


@needs_bubblewrap
async def test_what_works_is_tried_once_until_something_changes(tmp_path: Path, server: WireServer) -> None:
    program, tried = tmp_path / "bwrap", tmp_path / "tried"
    program.write_text(f'#!/bin/sh\necho x >> "{tried}"\nexec /usr/bin/bwrap "$@"\n')
    program.chmod(0o755)
    named = f"sandbox: {{use: bubblewrap, bubblewrap: {program}}}\n"
    machine = Machine(tmp_path, server, settings=named)

    def trials() -> int:
        return len(tried.read_text().splitlines())

    for _ in range(3):
        assert await machine.choose() == ("bubblewrap", "")
    assert trials() == 1
    program.write_text(program.read_text() + "# newer\n")
    assert await machine.choose() == ("bubblewrap", "")
    assert trials() == 2
    program.write_text(f'#!/bin/sh\necho x >> "{tried}"\necho cannot >&2; exit 1\n')
    for number in (3, 4):
        # What does not work is tried again: much that could mend it leaves no mark.
        assert await machine.choose() == (None, "bubblewrap: the sandbox could not be set up: cannot")
        assert trials() == number
    program.write_text("#!/bin/sh\necho held\n")
    assert (await machine.choose())[0] is None, "a program that contains nothing was believed"
