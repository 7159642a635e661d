"""Text that a terminal obeys or nobody sees, through every command that shows what others wrote.

All of it at once in every place: names, descriptions, prompts, settings, what a model says and asks for,
what tools, commands and providers answer, and what is typed. Each command is run into a pipe and into a
terminal, and the control is that the text around it comes out: it was shown, not left out.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_terminal import trust_project
from hostile_text import ALL_TERMINAL, TERMINAL, obeyed
from wire_server import Failure, Turn, WireServer

from meshclaw.cli.main import invoke
from meshclaw.terminal_text import clean

MODES = ("pipe", "terminal")
MODEL = ("--model", "openai/gpt-6.1-terra", "--no-sandbox")
EVIL = ALL_TERMINAL.replace("\r", "")
"""Fit for a line of YAML's quoted text and a command's argument."""
NAME = EVIL.replace("/", "")
"""Fit for a file's name, as far as names can be that long."""
SHORT = "\x1b]0;x\x07\x9b2J\u202e\u200b\U000e0041"


def between(text: str = EVIL, at: str = "mark") -> str:
    return f"<{at}{text}{at}>"


def yaml(data: object) -> str:
    """JSON is YAML, but for characters beyond the first 65 536."""

    def one(pair: re.Match[str]) -> str:
        return "\\U{:08x}".format(ord(json.loads(f'"{pair[0]}"')))

    return re.sub(r"\\ud[89ab]..\\ud[c-f]..", one, json.dumps(data))


@dataclass
class Place:
    """A project whose every word is hostile, and the account that looks at it."""

    folder: Path
    server: WireServer
    capsys: pytest.CaptureFixture[str]

    def __post_init__(self) -> None:
        self.project = self.folder / f"project{SHORT}"
        (self.project / "tasks").mkdir(parents=True)
        (self.project / "odd").mkdir()
        (self.project / "odd" / f"file{SHORT}.txt").write_text(between())
        (self.project / "in.txt").write_text(between(at="input"))
        task = {
            "description": between(at="about"),
            "prompt": between(at="prompt") + " {{ p }} {{ i }}",
            "system": between(at="system"),
            "params": {"p": {"default": between(at="default"), "description": between(at="param")}},
            "inputs": {"i": {"file": "in.txt", "trusted": True}},
            "tools": ["read", "list", "shell", "write"],
            "allow": {
                "run": ["cat *", f"echo '{EVIL}pattern'"],
                "write": [between(at="glob").replace("//", "/")],
            },
        }
        self.task(f"evil{SHORT}", task)
        self.task("evil", task)
        models = {f"alias{SHORT}": f"anthropic/{between(at='model')}"}
        (self.project / "meshclaw.yaml").write_text(yaml({"models": models}))
        self.environment = {
            **os.environ,
            "OPENAI_API_KEY": "key",
            "OPENAI_BASE_URL": self.server.openai_url,
            "MESHCLAW_DATA_DIR": str(self.folder / "data"),
        }

    def task(self, name: str, data: object) -> None:
        (self.project / "tasks" / f"{name}.yaml").write_text(yaml(data))

    def trust(self) -> None:
        trust_project(self.project, {"MESHCLAW_DATA_DIR": str(self.folder / "data")})

    def show(self, mode: str, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error; in a terminal both are one."""
        if mode == "terminal":
            return in_terminal(arguments, self.environment, self.project)
        code = invoke(arguments, self.environment, self.project)
        out, err = self.capsys.readouterr()
        return code, out, err


def in_terminal(arguments: tuple[str, ...], environment: dict[str, str], cwd: Path) -> tuple[int, str, str]:
    """The command in this process, its streams a pseudo-terminal that is wide enough not to wrap."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 9_000, 0, 0))
    seen: list[bytes] = []

    def read() -> None:
        while True:
            try:
                data = os.read(master, 65_536)
            except OSError:
                return
            if not data:
                return
            seen.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    before = sys.stdout, sys.stderr, os.environ.get("TERM")
    with os.fdopen(slave, "w", encoding="utf-8") as screen:
        sys.stdout = sys.stderr = screen
        os.environ["TERM"] = "xterm-256color"
        try:
            code = invoke(arguments, environment, cwd)
        finally:
            sys.stdout, sys.stderr = before[:2]
            os.environ.pop("TERM")
            if before[2] is not None:
                os.environ["TERM"] = before[2]
    reader.join()
    os.close(master)
    return code, b"".join(seen).decode("utf-8", "replace"), ""


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, server: WireServer, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path, server, capsys)


LOOKS: dict[str, tuple[tuple[str, ...], str]] = {
    "tasks list": (("tasks", "list"), "<about"),
    "tasks show": (("tasks", "show", "evil"), "<prompt"),
    "tasks check": (("tasks", "check", "broken"), "<key"),
    "trust": (("trust", "--yes"), "pattern"),
    "config show": (("config", "show"), "<model"),
    "a task that is not there": (("run", between(at="typed")), "<typed"),
    "an option that is not there": (("run", "evil", f"--{between(at='typed')}"), "<typed"),
    "a command that is not there": ((between(at="typed"),), "<typed"),
    "a moment that is none": (("report", "--since", between(at="typed")), "<typed"),
    "a key that is none": (("report", "--by", between(at="typed")), "<typed"),
    "a parameter that is none": (("run", "evil", "-p", f"x={between(at='typed')}", *MODEL), "evil"),
    "a folder that is not there": (("--project", between(at="typed"), "report"), "<typed"),
    "ledger verify": (("--ledger", f"x{SHORT}y.jsonl", "ledger", "verify"), "y.jsonl"),
    "doctor": (("doctor",), "project"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LOOKS)
def test_no_command_that_looks_shows_it(place: Place, name: str, mode: str) -> None:
    arguments, around = LOOKS[name]
    (place.project / "tasks" / "broken.yaml").write_text(yaml({"prompt": "x", between(SHORT, "key"): 1}))
    code, out, err = place.show(mode, *arguments)
    assert obeyed(out + err) == [], (code, out, err)
    assert around in out + err


def script(answer: str) -> list[Turn | Failure]:
    calls: list[tuple[str, dict[str, str] | str]] = [
        ("read", {"path": "in.txt"}),
        ("list", {"path": "odd"}),
        ("shell", {"command": "cat in.txt"}),
        ("shell", {"command": between(at="denied")}),
        ("read", {"path": between(at="missing")}),
        ("write", {"path": between(at="unwritten"), "content": between()}),
        (between(at="tool").encode("ascii", "ignore").decode(), between(at="arguments")),
    ]
    return [
        Failure(529, None, {"retry-after": "0"}, "overloaded_error", between(at="busy")),
        Turn(text=between(at="said"), thinking=between(at="thought"), tool_calls=calls, model=between()),
        Turn(text=answer),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_no_run_shows_it_nor_what_looks_at_the_run(place: Place, mode: str) -> None:
    place.trust()
    place.server.script(*script(between(at="answer")))
    code, out, err = place.show(mode, "run", f"evil{SHORT}", *MODEL)
    assert code == 0, out + err
    if mode == "pipe":
        assert out == between(at="answer") + "\n", "into a pipe a result goes as it is"
        assert obeyed(err) == []
    else:
        assert obeyed(out) == []
        assert "<answer" in out
    for around in ("<denied", "<missing", "<busy", "<unwritten"):
        assert around in out + err, around
    (folder,) = (place.folder / "data" / "runs").iterdir()
    kept = (folder / "transcript.jsonl").read_text()
    assert json.dumps(EVIL, ensure_ascii=False)[1:-1] in kept, "the control: this is what was shown"
    for arguments in (
        ("runs", "show", "last"),
        ("runs", "show", "last", "--full"),
        ("runs", "list"),
        ("report", "--by", "task,model,project"),
        ("report", "--format", "csv"),
        ("report", "--format", "md"),
        ("report", "--format", "html"),
    ):
        code, out, err = place.show(mode, *arguments)
        assert code == 0
        assert obeyed(out + err) == [], arguments
        assert "evil" in out
    for mistyped in (
        ("runs", "show", between(at="typed")),
        ("run", "evil", "--model", between(at="typed")),
    ):
        code, out, err = place.show(mode, *mistyped)
        assert (code, obeyed(out + err)) == (2, [])
        assert "<typed" in out + err


@pytest.mark.parametrize("mode", MODES)
def test_no_end_shows_it_either(place: Place, mode: str) -> None:
    place.trust()
    place.server.script(Failure(400, error_type="invalid_request_error", message=between(at="refusal")))
    code, out, err = place.show(mode, "run", "evil", *MODEL)
    assert (code, obeyed(out + err)) == (7, [])
    assert "<refusal" in out + err


@pytest.mark.parametrize("name", TERMINAL)
def test_each_of_it_is_found_by_what_looks_for_it(name: str) -> None:
    """The control of all the others: what is not cleaned is seen, and what is cleaned is not."""
    shown = f"a{TERMINAL[name]}b"
    if name == "CSI, concealed":
        with pytest.raises(AssertionError):
            obeyed(shown)
    else:
        assert obeyed(shown)
    assert obeyed(clean(shown)) == []


def test_a_name_that_would_be_obeyed_is_not_completed(place: Place) -> None:
    from meshclaw.cli.completion import task_names

    before = Path.cwd()
    os.chdir(place.project)
    try:
        names = [name for name, _ in task_names("evil")]
    finally:
        os.chdir(before)
    assert names == ["evil"]
