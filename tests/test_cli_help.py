"""Every command explains itself. The help texts are goldens: this file, run as a script, writes them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from meshclaw.cli.main import COMMANDS, app
from meshclaw.errors import EXIT_MEANINGS

GOLDENS = Path(__file__).parent / "goldens" / "help"


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from _commands(command.get_command(None, name), (*path, name))


ALL = dict(_commands(typer.main.get_command(app)))


def _help(path: tuple[str, ...]) -> str:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-m", "meshclaw", *path, "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def _golden(path: tuple[str, ...]) -> Path:
    return GOLDENS / f"{'-'.join(('meshclaw', *path))}.txt"


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_is_what_was_read_and_approved(path: tuple[str, ...]) -> None:
    assert _help(path) == _golden(path).read_text()


def test_there_is_no_golden_without_its_command() -> None:
    assert {path.name for path in GOLDENS.iterdir()} == {_golden(path).name for path in ALL}


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_and_option_has_a_help_text(path: tuple[str, ...]) -> None:
    command = ALL[path]
    assert command.help
    assert [param.name for param in command.params if not param.help] == []


def test_one_line_helps_agree_with_the_commands_own() -> None:
    for name, line in COMMANDS.items():
        first = ALL[(name,)].help.splitlines()[0]
        assert first.split()[0] == line.split()[0]


def test_the_table_of_exit_codes_is_in_the_help_of_run() -> None:
    shown = _help(("run",))
    for code, meaning in EXIT_MEANINGS.items():
        assert f"{int(code):>5}  {meaning}\n" in shown


if __name__ == "__main__":
    GOLDENS.mkdir(parents=True, exist_ok=True)
    for one in ALL:
        _golden(one).write_text(_help(one))
