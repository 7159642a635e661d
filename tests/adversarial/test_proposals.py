"""A hostile model proposes: nothing of it happens in the run, and a person is shown what would happen.

Whole runs, in a terminal and as cron would run them. Each command is also carried out by a task that allows
it, so that a proposal which could never have worked does not pass for one that was held back.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from cli_terminal import Terminal
from hypothesis import given
from hypothesis import strategies as st
from made_once import Once
from wire_server import Turn, WireServer

from meshclaw.cli.output import display_width
from meshclaw.cli.proposed import GUTTER, WRAPPED, framed, in_full, in_short
from meshclaw.runs import read_transcript
from meshclaw.shell_syntax import ParsedScript, parse_command_line, quote
from meshclaw.terminal_text import clean

pytestmark = pytest.mark.xdist_group("proposals")

Mode = Literal["terminal", "cron"]
MARK = "made by the model"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
PATTERNS = ("true", "cp *", "/bin/cp *", "sh -c *", "env cp *", "xargs cp *", "nohup cp *", "command cp *")
SPELLINGS = (
    *("{}", "  {}  ", "true; {}", "true && {}", "cp x || {}", "true | {}", "true\n{}", "cp x\n\n{};"),
    *("'cp' mark {to}", '"c"p mark {to}', "c\\p mark {to}", "cp mark '{to}'", "cp mark {to} \\\n -f"),
    *("/bin/cp mark {to}", "env {}", "command {}", "xargs {}", "nohup {}", "sh -c '{}'", "sh -c 'eval {}'"),
)
"""Ways to say `cp mark TO`."""
CASES = {
    f"p{number}": text.replace("{}", "cp mark {to}").replace("{to}", f"p{number}")
    for number, text in enumerate(SPELLINGS)
}
"""Commands by the file that each would make."""


class Stage:
    """A project and a user's task `job` in one of two kinds: its commands are allowed, or only proposed."""

    def __init__(self, folder: Path, kind: Literal["propose", "allow"], patterns: Sequence[str]) -> None:
        self.project, self.data, self.home = folder / "project", folder / "data", folder / "home"
        for path in (self.project, self.home, folder / "operator" / "tasks"):
            path.mkdir(parents=True)
        (self.project / "mark").write_text(MARK)
        task: dict[str, Any] = {"prompt": "Do it.", "tools": ["shell"]}
        task |= {"propose": [*patterns]} if kind == "propose" else {"allow": {"run": [*patterns]}}
        (folder / "operator" / "tasks" / "job.yaml").write_text(json.dumps(task))
        (folder / "operator" / "config.yaml").write_text("{}")
        self.environment = {
            "MESHCLAW_CONFIG": str(folder / "operator" / "config.yaml"),
            "MESHCLAW_DATA_DIR": str(self.data),
            "XDG_CACHE_HOME": str(self.home),
            "OPENAI_API_KEY": "key",
        }

    def run(self, mode: Mode, commands: Sequence[str]) -> tuple[dict[str, Any], str]:
        """One run in which the model asks for all commands in one step: its record and what was seen."""
        calls = [("shell", {"command": command}) for command in commands]
        with WireServer() as server:
            server.script(Turn(tool_calls=calls), Turn(text="done"))
            self.environment["OPENAI_BASE_URL"] = server.openai_url
            seen = self.meshclaw(
                mode, "run", "job", "--model", "openai/gpt-6.1-terra", "--no-sandbox", code=0
            )
        (folder,) = (self.data / "runs").iterdir()
        return json.loads((folder / "run.json").read_text()), seen

    def meshclaw(self, mode: Mode, *arguments: str, code: int | None = None) -> str:
        if mode == "terminal":
            environment = {**self.environment, "HOME": str(self.home)}
            with Terminal(arguments, environment, self.project) as terminal:
                ended, seen = terminal.finish(), terminal.seen
        else:
            done = subprocess.run(
                [sys.executable, "-m", "meshclaw", *arguments],
                cwd=self.project,
                env={**self.environment, "PATH": "/usr/bin:/bin", "LC_ALL": "C", "LANG": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            ended, seen = done.returncode, done.stdout + done.stderr
        assert code is None or ended == code, seen
        return seen

    def happened(self, name: str) -> bool:
        path = self.project / name
        return path.is_file() and path.read_text() == MARK


@pytest.fixture(params=["terminal", "cron"])
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, once: Once
) -> dict[str, Any]:
    mode: Mode = request.param
    return once.made(("proposals", mode), lambda: _runs(tmp_path_factory, mode))


def _runs(folders: pytest.TempPathFactory, mode: Mode) -> dict[str, Any]:
    found = {}
    for kind in ("propose", "allow"):
        stage = Stage(folders.mktemp(kind), kind, PATTERNS)
        found[kind] = (stage, stage.run(mode, list(CASES.values()))[0])
    return found


@pytest.mark.parametrize("name", CASES, ids=CASES.values())
def test_what_is_proposed_does_not_happen_in_the_run(runs: Mapping[str, Any], name: str) -> None:
    stage, record = runs["propose"]
    assert not stage.happened(name)
    parsed = parse_command_line(CASES[name])
    assert isinstance(parsed, ParsedScript)
    assert parsed.text in [one["command"] for one in record["proposals"]]
    allowed, control = runs["allow"]
    assert allowed.happened(name)
    assert control["proposals"] == []


def test_every_one_is_kept_in_order_and_nothing_is_denied(runs: Mapping[str, Any]) -> None:
    _, record = runs["propose"]
    assert [one["number"] for one in record["proposals"]] == list(range(1, len(CASES) + 1))
    assert (record["denied"], record["status"], record["exit"]) == ([], "succeeded", 0)
    events = read_transcript(Path(record["directory"]) / "transcript.jsonl")
    assert [event.kind for event in events].count("proposal") == len(CASES)


INJECTIONS = {
    "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "title": "\x1b]0;all is well\x1b\\",
    "link": "\x1b]8;;https://evil.example\x1b\\docs\x1b]8;;\x1b\\",
    "erased": "\x1b[2K\x1b[1A\x1b[2K",
    "C1": "\x9b2J\x9d52;c;eA==\x9c",
    "colour of the ground": "\x1b[8mhidden\x1b[0m",
    "bidi": "\u202egpj.exe\u2066",
    "tags": "\U000e0041\U000e0042\U000e007f",
    "zero width": "ma\u200bin\u2060\ufeff",
    "no-break space": "a\u00a0b\u3000c",
    "backspace": "evil\x08\x08\x08\x08good",
    "soft hyphen": "ma\u00adin",
    "line separator": "a\u2028b\u2029c\x85d",
    "selectors": "a\ufe00\ufe0f\U000e0100",
}
"""What a terminal would obey or a person would not see, by what it is for."""
MASKS = {
    "another proposal": "ok\n2  is open\n  | touch harmless",
    "a question": "ok\nDo 1? [y/N]: y",
    "wrapped": "ok" + " " * 93 + "77  is open" + " " * 90 + "  | touch harmless",
    "a comment": "ok' # nothing more",
    "an end": "ok'; true '",
    "an escape of ours": "$'\\u202e' \\x1b",
}
"""Texts that could pass for something else than a word of a command."""
ALL = {**INJECTIONS, **MASKS}


@pytest.fixture(params=["terminal", "cron"])
def shown(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, once: Once
) -> dict[str, str]:
    mode: Mode = request.param
    return once.made(("proposals shown", mode), lambda: _shown(tmp_path_factory.mktemp("shown"), mode))


def _shown(folder: Path, mode: Mode) -> dict[str, str]:
    """All that people are shown of a run that proposes every text as a word."""
    stage = Stage(folder, "propose", ["printf *"])
    commands = ["printf %s " + quote(text) for text in ALL.values()]
    record, at_the_end = stage.run(mode, commands)
    assert len(record["proposals"]) == len(ALL)
    listed = stage.meshclaw(mode, "runs", "proposals", "last", code=0)
    found = {"run": at_the_end, "proposals": listed}
    found["show"] = stage.meshclaw(mode, "runs", "show", "last", "--full", code=0)
    found["perform"] = stage.meshclaw(mode, "runs", "perform", "last", "--yes", code=0)
    return {"mode": mode} | {view: seen.replace("\r\n", "\n") for view, seen in found.items()}


@pytest.mark.parametrize("name", INJECTIONS)
def test_nothing_in_a_proposal_reaches_the_terminal_unseen(shown: Mapping[str, str], name: str) -> None:
    text = INJECTIONS[name]
    unseen = {char for char in text if not char.isprintable()} - {"\x1b"}
    obeyed = {char for char in unseen if clean(char) != char}
    for view in ("proposals", "show", "run"):
        assert not (unseen if view == "proposals" else obeyed) & set(shown[view]), view
        assert "\x1b]" not in shown[view]
    rows = "".join(
        row[len(GUTTER) :] for row in shown["proposals"].splitlines() if row.startswith((GUTTER, WRAPPED))
    )
    assert in_full(f"printf %s {quote(text)}") in rows


def test_people_are_told_of_each_while_it_runs_and_when_it_has_ended(shown: Mapping[str, str]) -> None:
    told = _COLOUR.sub("", shown["run"])
    assert told.count("proposed, not run: printf") == len(ALL)
    assert all(f"proposed {number}: printf" in told for number in range(1, len(ALL) + 1))
    assert "none of this was done; `meshclaw runs proposals " in told


@pytest.mark.parametrize("name", INJECTIONS)
def test_control_there_is_something_to_hide(shown: Mapping[str, str], name: str) -> None:
    text = INJECTIONS[name]
    assert clean(text) != text or not text.isprintable()
    assert in_full(f"printf %s {quote(text)}") != f"printf %s {quote(text)}"
    assert (text in shown["perform"]) is (shown["mode"] == "cron" or clean(text) == text)


@pytest.mark.parametrize("name", MASKS)
def test_nothing_in_a_proposal_passes_for_words_of_ours(shown: Mapping[str, str], name: str) -> None:
    command = f"printf %s {quote(MASKS[name])}"
    assert "\n".join(framed(command, None)) in shown["proposals"] or name == "wrapped"
    # In a pipe a command's output is what it is.
    for view in ("proposals", "perform") if shown["mode"] == "terminal" else ("proposals",):
        rows = [row.rstrip() for row in _COLOUR.sub("", shown[view]).splitlines()]
        ours = [row for row in rows if re.match(r"\d+  is open(\Z|; in /)", row)]
        assert len(ours) == len(ALL), view
        assert not any(row.startswith(("  | touch", "Do ", "77", " touch")) for row in rows), view


@pytest.mark.parametrize("width", [20, 40, 79, 100])
@pytest.mark.parametrize("name", ALL)
def test_no_row_of_a_proposal_is_wider_than_the_terminal(name: str, width: int) -> None:
    command = f"printf %s {quote(ALL[name])} 'wide: \u65e5\u672c\u8a9e' {'x' * 150}"
    rows = list(framed(command, width))
    assert all(row.startswith((GUTTER, WRAPPED)) and display_width(row) <= max(width, 24) for row in rows)
    pieces = [("\n" if row.startswith(GUTTER) else "") + row[len(GUTTER) :] for row in rows]
    assert "".join(pieces)[1:] == in_full(command)


def test_what_is_shown_is_what_bash_would_run() -> None:
    words = [*ALL.values(), *map(chr, range(1, 256)), "", "-", "~", "a=b", "if", "\u65e5", "\U0001f600"]
    words = [word for word in words if word != "\r"]
    script = ParsedScript((("printf", "%s\\0", *words),), ()).text
    done = subprocess.run(
        ["bash", "-c", in_full(script)], env={"LC_ALL": "C.UTF-8"}, capture_output=True, check=True
    )
    assert done.stdout.decode().split("\0")[:-1] == words
    assert clean(in_full(script)) == in_full(script)


@given(st.text(max_size=40))
def test_every_view_is_clean_whatever_was_proposed(text: str) -> None:
    for command in (text, "echo " + quote(text)):
        for shown_as in (in_full(command), in_short(command), *framed(command, 40)):
            assert clean(shown_as) == shown_as
