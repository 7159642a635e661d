"""A secret in every place that a run reads, writes or shows: none of it is left anywhere, in any form.

Each place has a secret of its own. The control is the same run by somebody to whose machine these values
are no secrets: there each of them comes out, so each probe reaches what it is meant to reach.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from cli_terminal import Terminal
from made_once import Once
from secret_forms import FORMS, spellings
from wire_server import Failure, Turn, WireServer

pytestmark = pytest.mark.xdist_group("secret places")

Mode = Literal["terminal", "pipe", "json", "stream"]
MODES: tuple[Mode, ...] = ("terminal", "pipe", "json", "stream")
FLAGS: dict[Mode, list[str]] = {
    "terminal": [],
    "pipe": [],
    "json": ["--json"],
    "stream": ["--stream-json"],
}
LOOKS: dict[Mode, tuple[tuple[str, ...], ...]] = {
    "terminal": (("runs", "show", "last", "--full"), ("runs", "list")),
    "pipe": (("runs", "show", "last", "--full"), ("report", "--by", "task,model,status")),
    "json": (("runs", "show", "last", "--json"),),
    "stream": (),
}
PLACES = (
    *("prompt", "system", "parameter", "input file", "input command", "key file"),
    *("provider error", "thinking", "model text", "served model", "usage"),
    *("tool arguments", "escaped arguments", "tool output", "long tool output", "denied path"),
    *("file", "file name", "search hit", "result"),
)
SECRETS = {place: f"kX7.pQ+{number:02}zT~vN4w,Lm9=rB5" for number, place in enumerate(PLACES)}


def every_form(place: str) -> str:
    return "\n".join(spell(SECRETS[place]) for spell in FORMS.values()) + "\n"


@dataclass(frozen=True, slots=True)
class Leak:
    """What a run showed, and the bytes of all files that it left."""

    shown: str
    files: dict[str, bytes]

    def places_of(self, needle: str) -> list[str]:
        data = needle.encode()
        found = [name for name, content in self.files.items() if data in content]
        return found + ["shown"] * (needle in self.shown)


class House:
    """An operator whose task, files, model and provider hold a secret wherever they can."""

    def __init__(self, folder: Path, *, known: bool) -> None:
        self.project, self.data = folder / "project", folder / "data"
        (folder / "operator" / "tasks").mkdir(parents=True)
        self.project.mkdir()
        for name, place in (("input.txt", "input file"), ("command.txt", "input command")):
            (self.project / name).write_text(every_form(place))
        (self.project / "shell.txt").write_text(every_form("tool output"))
        (self.project / "read.txt").write_text(every_form("file"))
        (self.project / f"named-{SECRETS['file name']}").write_text("x")
        (self.project / "hit.txt").write_text(f"needle {SECRETS['search hit']}\n")
        (self.project / "long.txt").write_text(every_form("long tool output") + "filling\n" * 10_000)
        key = folder / "operator" / "key"
        key.write_text(SECRETS["key file"])
        key.chmod(0o600)
        task = {
            "prompt": f"{every_form('prompt')} {{{{ p }}}} {{{{ f }}}} {{{{ c }}}}",
            "system": every_form("system"),
            "params": {"p": {}},
            "inputs": {
                "f": {"file": "input.txt", "trusted": True},
                "c": {"command": "cat command.txt", "trusted": True},
            },
            "tools": ["read", "list", "search", "write", "shell"],
            "allow": {"run": ["cat *"], "write": ["out/**"]},
            "output": {"file": "out/result.txt"},
        }
        (folder / "operator" / "tasks" / "leak.yaml").write_text(json.dumps(task))
        self.config = folder / "operator" / "config.yaml"
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "MESHCLAW_CONFIG": str(self.config),
            "MESHCLAW_DATA_DIR": str(self.data),
            **(
                {f"PLACE_{number}_TOKEN": one for number, one in enumerate(SECRETS.values())}
                if known
                else {}
            ),
        }
        if known:
            del self.environment[f"PLACE_{PLACES.index('key file')}_TOKEN"]
        self.known = known

    def leak(self, mode: Mode) -> Leak:
        with WireServer() as server:
            server.script(*script(echoes_key=self.known))
            key = {"key_file": str(self.config.with_name("key"))} if self.known else {}
            provider = {"kind": "anthropic", "base_url": server.url, **key}
            self.config.write_text(json.dumps({"providers": {"wire": provider}}))
            arguments = ["run", "leak", "-p", f"p={SECRETS['parameter']}", "--model", "wire/m"]
            shown = self.run(mode, *arguments, "--no-sandbox", *FLAGS[mode])
        for look in LOOKS[mode]:
            shown += self.run(mode, *look)
        files = [path for folder in (self.data, self.project / "out") for path in folder.rglob("*")]
        return Leak(shown, {str(path): path.read_bytes() for path in files if path.is_file()})

    def run(self, mode: Mode, *arguments: str) -> str:
        if mode == "terminal":
            with Terminal(arguments, self.environment, self.project, columns=8_000) as terminal:
                code = terminal.finish()
            assert code == 0, terminal.seen[-3_000:]
            return terminal.seen
        done = subprocess.run(
            [sys.executable, "-m", "meshclaw", *arguments],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3_000:]
        return done.stdout + done.stderr


def script(*, echoes_key: bool) -> list[Turn | Failure]:
    escaped = "".join(f"\\u{ord(char):04x}" for char in SECRETS["escaped arguments"])
    return [
        Failure(
            529,
            error_type="overloaded_error",
            message=f"try later, {SECRETS['provider error']}",
            headers={"retry-after": "0"},
        ),
        Turn(
            thinking=SECRETS["thinking"],
            text=every_form("model text") + (every_form("key file") if echoes_key else ""),
            model=SECRETS["served model"],
            wire_usage={"input_tokens": 10, "output_tokens": 10, "service": SECRETS["usage"]},
            tool_calls=[
                ("shell", {"command": "cat shell.txt"}),
                ("read", {"path": "read.txt"}),
                ("read", {"path": "long.txt"}),
                ("shell", {"command": "cat long.txt"}),
                ("list", {"path": "."}),
                ("search", {"pattern": "needle"}),
                ("read", {"path": f"not-there-{SECRETS['tool arguments']}"}),
                ("read", f'{{"path": "nor-there-{escaped}"}}'),
                ("write", {"path": f"denied/{SECRETS['denied path']}", "content": "x"}),
            ],
        ),
        Turn(text=every_form("result")),
    ]


@pytest.fixture(scope="module")
def unknown(tmp_path_factory: pytest.TempPathFactory) -> Leak:
    return House(tmp_path_factory.mktemp("unknown"), known=False).leak("stream")


@pytest.fixture(params=MODES)
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, once: Once) -> Leak:
    return once.made(
        ("secret places", request.param),
        lambda: House(tmp_path_factory.mktemp("known"), known=True).leak(request.param),
    )


@pytest.mark.parametrize("place", PLACES)
def test_no_form_of_it_is_left(known: Leak, unknown: Leak, place: str) -> None:
    for needle in spellings(SECRETS[place]):
        assert known.places_of(needle) == [], needle
    if place != "key file":
        assert unknown.places_of(SECRETS[place]), "the control: it comes out where it is no secret"
