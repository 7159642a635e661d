"""What comes along with a folder on PATH, or in a variable: programs, and nobody's secrets or sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from contained import PYTHON, Bench, needs_bubblewrap

from meshclaw.sandbox.mounts import survey
from meshclaw.sandbox.toolchains import FOLDER_VARIABLES

SECRET = "the-secret-2297"
APPLICATIONS = {
    ".docker": "config.json",
    ".fly": "config.yml",
    ".pulumi": "credentials.json",
    ".rd": "tokens",
    "deep/app": "settings.ini",
}
"""Folders of applications with programs of their own, and what else they hold."""


def program(folder: Path, name: str = "hello") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("#!/bin/sh\necho hello\n")
    (folder / name).chmod(0o755)


def secret(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SECRET)
    return path


def shows(bench: Bench, path: Path, **variables: str) -> bool:
    """Whether a command would see a file of the machine's, for all that is bound and masked."""
    environment = {**os.environ, "HOME": str(bench.home), "PATH": bench.path, **variables}
    machine = survey(environment, bench.home, bench.project)
    real = Path(os.path.realpath(path))
    bound = any(real.is_relative_to(one) for one in machine.read)
    return bound and not any(real.is_relative_to(one) for one in machine.masked)


@pytest.mark.parametrize("folder", APPLICATIONS)
def test_programs_come_without_what_lies_beside_them(bench: Bench, folder: str) -> None:
    above = bench.home / folder
    program(above / "bin")
    hidden, readme = secret(above / APPLICATIONS[folder]), secret(above / "readme")
    bench.path = f"{above / 'bin'}:{bench.path}"
    assert shows(bench, above / "bin" / "hello")
    assert not shows(bench, hidden)
    assert not shows(bench, readme)
    (above / "lib").mkdir()
    assert shows(bench, readme), "the probe itself does not work: with a library it is an installation"


@pytest.mark.parametrize(
    ("package", "mark"),
    [
        (".local/lib/node_modules/pnpm", "package.json"),
        (".local/lib/node_modules/@a/b", "package.json"),
        (".config/composer/vendor", "composer/installed.php"),
    ],
)
def test_a_package_comes_with_what_its_programs_load(bench: Bench, package: str, mark: str) -> None:
    """By a link in a folder on PATH, as npm and pnpm put it there, or as that folder (Composer)."""
    folder = bench.home / package
    program(folder / "bin", "run")
    loaded, key = secret(folder / "dist" / "main"), secret(folder / "auth.json")
    beside = secret(folder.parent / "auth.json")
    programs = folder / "bin"
    if mark == "package.json":
        programs = bench.home / ".local" / "bin"
        programs.mkdir()
        (programs / "run").symlink_to(os.path.relpath(folder / "bin" / "run", programs))
    bench.path = f"{programs}:{bench.path}"
    assert not shows(bench, loaded), "the probe itself does not work"
    secret(folder / mark)
    assert shows(bench, loaded)
    assert not shows(bench, key)
    assert not shows(bench, beside)


@needs_bubblewrap
async def test_a_program_in_such_a_folder_runs_and_finds_no_secret(bench: Bench) -> None:
    program(bench.home / ".docker" / "bin")
    hidden = secret(bench.home / ".docker" / "config.json")
    bench.path = f"{hidden.parent / 'bin'}:{bench.path}"
    script = f"hello; grep -q {SECRET} '{hidden}' && echo REACHED"
    held = await bench.contained(script)
    assert held.output.startswith("hello\n")
    assert "REACHED" not in held.output
    assert "REACHED" in (await bench.free(script)).output, "the probe itself does not work"


@needs_bubblewrap
@pytest.mark.parametrize("place", ["docker.sock", "run/a/docker.sock"])
async def test_no_socket_of_an_installation_answers(bench: Bench, place: str) -> None:
    tool = bench.home / "rd"
    program(tool / "bin")
    (tool / "lib").mkdir()
    (tool / place).parent.mkdir(parents=True, exist_ok=True)
    bench.path = f"{tool / 'bin'}:{bench.path}"
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(tool / place))
        served.listen()
        connect = (
            f"import socket; socket.socket(socket.AF_UNIX).connect('{tool / place}'); print('REACHED')"
        )
        script = f'hello; {PYTHON} -c "{connect}"'
        held = await bench.contained(script)
        assert held.output.startswith("hello")
        assert "REACHED" not in held.output
        assert "REACHED" in (await bench.free(script)).output, "the probe itself does not work"


@pytest.mark.parametrize("name", FOLDER_VARIABLES)
def test_a_variable_that_leads_into_the_project_names_nothing(bench: Bench, name: str) -> None:
    """Run 1 puts a link there, run 2 would bind where it leads."""
    key = secret(bench.home / "keys" / "id")
    inside, outside = bench.project / "tool", bench.home / "tool"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "bin").symlink_to(key.parent)
    (bench.project / "whole").symlink_to(bench.home)
    assert shows(bench, key, **{name: str(outside)}), "the probe itself does not work"
    assert not shows(bench, key, **{name: str(inside)})
    (bench.home / "bin").symlink_to(key.parent)
    assert not shows(bench, key, **{name: str(bench.project / "whole")})


WAYS = {
    "a link to the folder": "{project}/.venv/bin",
    "dots": "{outside}/../../project/.venv/bin",
    "a link to it from outside": "{outside}/way",
    "by another name of the project": "{outside}/same/.venv/bin",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_of_programs_that_leads_out_of_the_project_is_not_bound(bench: Bench, way: str) -> None:
    key = secret(bench.home / "keys" / "id")
    (bench.project / ".venv").mkdir()
    outside = bench.project.parent / "a" / "b"
    outside.mkdir(parents=True)
    (outside / "same").symlink_to("../../project")
    (outside / "way").symlink_to(bench.project / ".venv" / "bin")
    (bench.project / ".venv" / "bin").symlink_to(key.parent)
    usual = bench.path
    folder = Path(WAYS[way].format(project=bench.project, outside=outside))
    assert (folder / "id").is_file()
    bench.path = f"{folder}:{usual}"
    assert not shows(bench, key)
    bench.path = f"{key.parent}:{usual}"
    assert shows(bench, key), "the probe itself does not work"


def test_of_a_projects_programs_only_an_interpreter_is_followed(bench: Bench) -> None:
    """What is called python is one only with its library."""
    real, false = bench.home / "real", bench.home / "false"
    for folder in (real, false):
        program(folder / "bin", "python3")
        (folder / "lib").mkdir()
    (real / "lib" / "python3.11").mkdir()
    (real / "lib" / "python3.11" / "os.py").touch()
    programs = bench.project / ".venv" / "bin"
    programs.mkdir(parents=True)
    bench.path = f"{programs}:{bench.path}"
    for folder, followed in ((real, True), (false, False)):
        (programs / "python").unlink(missing_ok=True)
        (programs / "python").symlink_to(folder / "bin" / "python3")
        assert shows(bench, folder / "lib") is followed


CLOSED = """
import os, sys
from pathlib import Path
from meshclaw.sandbox import kernel
from meshclaw.sandbox.mounts import survey
home = Path(sys.argv[1])
kernel.give_up_rights()
machine = survey(os.environ, home, home / "project", extra=[home / "closed" / "more"])
print(*(path.relative_to(home) for path in machine.read if path.is_relative_to(home)))
print(*(path.relative_to(home) for path in machine.masked if path.name == "auth.json"))
"""


def test_what_this_account_may_not_look_into_stops_no_command(tmp_path: Path) -> None:
    """As for a shell, which passes over it. As an ordinary account: root's rights are given up for that."""
    for name in ("closed/bin", "closed/go/bin", "no-list", "nothing", "tool/bin", "tool/lib"):
        program(tmp_path / name)
    secret(tmp_path / "tool" / "auth.json")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "away").symlink_to(tmp_path / "closed" / "bin" / "hello")
    modes = {"closed": 0, "no-list": 0o311, "nothing": 0}
    for name, mode in modes.items():
        (tmp_path / name).chmod(mode)
    named = ("closed/bin", "no-list", "nothing", "links", "tool/bin")
    variables = {
        "PATH": os.pathsep.join([*(str(tmp_path / name) for name in named), "/usr/bin"]),
        "GOROOT": str(tmp_path / "closed" / "go"),
    }
    argv = [sys.executable, "-c", CLOSED, str(tmp_path)]
    done = subprocess.run(argv, env=variables, capture_output=True, text=True, check=False)
    for name in modes:
        (tmp_path / name).chmod(0o700)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["links no-list nothing tool", "tool/auth.json"]
