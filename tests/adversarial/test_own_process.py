"""What a command sees of MeshClaw itself, whose environment and memory hold the keys.

Root reads every process, so where the tests run as root the account under test is root without its
capabilities: to the kernel it is as any other that owns its own processes. Each probe says REACHED when it
gets what it wants, and the control is a process that has not closed itself.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from contained import needs_bubblewrap
from wire_server import Turn, WireServer

from meshclaw.runs import read_transcript

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are closed on Linux only")

DROP = ["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []
ATTACHES = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
pid, word = int(os.environ["TARGET"]), ctypes.c_long
"""
PROBES = {
    "environment": "grep -qz ^OPENAI_API_KEY= /proc/$TARGET/environ && echo REACHED",
    "environment of a thread": "grep -qz ^OPENAI_API_KEY= /proc/$TARGET/task/*/environ && echo REACHED",
    "memory": "exec 3< /proc/$TARGET/mem && echo REACHED",
    "map of the memory": "grep -q stack /proc/$TARGET/maps && echo REACHED",
    "pages": "grep -q Rss /proc/$TARGET/smaps && echo REACHED",
    "auxiliary vector": "grep -qa . /proc/$TARGET/auxv && echo REACHED",
    "a descriptor": "readlink /proc/$TARGET/fd/1 && echo REACHED",
    "root": "ls /proc/$TARGET/root/ | grep -q proc && echo REACHED",
    "folder": "ls /proc/$TARGET/cwd/ && echo REACHED",
    "ptrace": ATTACHES + "if libc.ptrace(0x4206, pid, 0, 0) == 0: print('REACHED')",
    "process_vm_readv": ATTACHES
    + "buffer = ctypes.create_string_buffer(8)\n"
    + "vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)\n"
    + "got = libc.syscall(310, pid, vector, word(1), vector, word(1), word(0))\n"
    + "if got >= 0 or ctypes.get_errno() == 14: print('REACHED')",
    "pidfd_getfd": ATTACHES + "if libc.syscall(438, os.pidfd_open(pid), 1, 0) >= 0: print('REACHED')",
}
TARGET = """
import ctypes, json, os, subprocess, sys
from meshclaw.cli.privacy import close_to_others
ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_long(-1), 0, 0, 0)  # Yama is not what is tested
if sys.argv[1] == "closed":
    close_to_others()
environment = {**os.environ, "TARGET": str(os.getpid())}
for name, probe in json.loads(sys.argv[2]).items():
    start = [sys.executable, "-c", probe] if "import" in probe else ["sh", "-c", probe]
    done = subprocess.run(start, env=environment, capture_output=True, text=True)
    if "REACHED" in done.stdout:
        print(name)
"""


def reached(state: str, probes: Mapping[str, str]) -> list[str]:
    """Which probes reach the process that starts them."""
    done = subprocess.run(
        [*DROP, sys.executable, "-c", TARGET, state, json.dumps(probes)],
        env={**os.environ, "OPENAI_API_KEY": "the key"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def reaching() -> dict[str, list[str]]:
    return {state: reached(state, PROBES) for state in ("open", "closed")}


@pytest.mark.parametrize("name", PROBES)
def test_a_closed_process_shows_nothing_of_itself(name: str, reaching: dict[str, list[str]]) -> None:
    assert name in reaching["open"], "the control: the probe works on any other process"
    assert name not in reaching["closed"]


CORE = {"a core": '[ "$(ulimit -c)" != 0 ] && echo REACHED'}


def test_no_core_is_dumped() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if hard == 0:
        pytest.skip("no core can be dumped on this machine anyway")
    raised = f"ulimit -S -c {'unlimited' if hard < 0 else hard // 512} 2>/dev/null"
    script = f'{raised}; exec "$0" "$@"'
    limits = {}
    for state in ("open", "closed"):
        started = ["sh", "-c", script, sys.executable, "-c", TARGET, state, json.dumps(CORE)]
        limits[state] = subprocess.run(started, capture_output=True, text=True, check=True).stdout
    assert limits == {"open": "a core\n", "closed": ""}


class Operator:
    """Whose model asks for one command."""

    def __init__(self, folder: Path) -> None:
        self.project, self.data = folder / "project", folder / "data"
        (folder / "operator" / "tasks").mkdir(parents=True)
        self.project.mkdir()
        task = {"prompt": "Look.", "tools": ["shell"], "allow": {"run": ["*"]}}
        (folder / "operator" / "tasks" / "look.yaml").write_text(json.dumps(task))
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "MESHCLAW_CONFIG": str(folder / "operator" / "config.yaml"),
            "MESHCLAW_DATA_DIR": str(self.data),
            "OPENAI_API_KEY": "the-key-of-the-operator",
        }
        (folder / "operator" / "config.yaml").write_text("{}")

    def output(self, script: str, *flags: str, start: list[str]) -> str:
        with WireServer() as server:
            server.script(Turn(tool_calls=[("shell", {"command": script})]), Turn(text="done"))
            arguments = ["run", "look", "--model", "openai/gpt-6.1-terra", *flags]
            done = subprocess.run(
                [*start, sys.executable, "-m", "meshclaw", *arguments],
                cwd=self.project,
                env={**self.environment, "OPENAI_BASE_URL": server.openai_url},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        assert done.returncode == 0, done.stderr
        folder = max((self.data / "runs").iterdir())
        (result,) = [
            event for event in read_transcript(folder / "transcript.jsonl") if event.kind == "tool-result"
        ]
        return str(result.data["content"])


EVERYWHERE = "for f in /proc/[0-9]*/environ; do grep -qz ^OPENAI_API_KEY= $f && echo REACHED; done"


def test_a_command_that_is_not_contained_cannot_read_what_started_it(tmp_path: Path) -> None:
    looks = "\n".join(
        [
            "grep -qz ^OPENAI_API_KEY= /proc/$PPID/environ && echo REACHED",
            "(exec 3< /proc/$PPID/mem) && echo REACHED",
            "tr '\\0' ' ' < /proc/$PPID/cmdline",
            "env | grep -c -e KEY= -e MESHCLAW_CONFIG=",
        ]
    )
    output = Operator(tmp_path).output(looks, "--no-sandbox", start=DROP)
    assert "REACHED" not in output
    # The controls: the process that was looked at is MeshClaw, and it has a key.
    assert "-m meshclaw run look" in output
    assert reached("open", {"key": "grep -qz ^OPENAI_API_KEY= /proc/$PPID/environ && echo REACHED"})


@needs_bubblewrap
def test_a_contained_command_cannot_read_it_even_as_root(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    assert "REACHED" not in operator.output(EVERYWHERE, start=[])
    if os.geteuid() == 0:
        assert "REACHED" in operator.output(EVERYWHERE, "--no-sandbox", start=[]), "root reads all"
    assert reached("open", {"key": EVERYWHERE})


def test_the_tools_of_this_test_are_there() -> None:
    assert not DROP or shutil.which("setpriv"), "util-linux has it"


def test_a_plug_in_for_a_library_of_ours_is_not_run_where_the_keys_are(tmp_path: Path) -> None:
    """Whatever is installed beside us may offer pydantic a plug-in; the control is pydantic by itself."""
    installed, project, mark = tmp_path / "installed", tmp_path / "project", tmp_path / "mark"
    (installed / "sneaky-1.0.dist-info").mkdir(parents=True)
    (installed / "sneaky-1.0.dist-info" / "METADATA").write_text("Name: sneaky\nVersion: 1.0\n")
    (installed / "sneaky-1.0.dist-info" / "entry_points.txt").write_text("[pydantic]\nx = sneaky:plugin\n")
    (installed / "sneaky.py").write_text(
        f"open({str(mark)!r}, 'w').close()\n"
        "class Plugin:\n    def new_schema_validator(self, *_): return None, None, None\n"
        "plugin = Plugin()\n"
    )
    project.mkdir()
    (project / "one.yaml").write_text("prompt: hi\nrunner: prompt\n")
    environment = {**os.environ, "PYTHONPATH": str(installed), "ANTHROPIC_API_KEY": "none"}
    with WireServer(responder=lambda _: Turn(text="fine")) as server:
        environment["ANTHROPIC_BASE_URL"] = server.url
        done = subprocess.run(
            [sys.executable, "-m", "meshclaw", "run", "one.yaml", "--model", "anthropic/claude-x"],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
    assert not mark.exists()
    model = "import pydantic\nclass One(pydantic.BaseModel): x: int"
    subprocess.run([sys.executable, "-c", model], env=environment, check=True)
    assert mark.exists()
