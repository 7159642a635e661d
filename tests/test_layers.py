"""The rooms hold: imports point down, one library has one room, nothing slow is imported at start-up."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from layer_rules import LIBRARIES, ROWS, violations

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "meshclaw"
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES)
def test_house_rules_hold(path: str) -> None:
    assert violations(path, (PACKAGE / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("usage.py", "import meshclaw.cli.main", "usage imports cli, which stands above it"),
        ("usage.py", "from meshclaw.runs import Run", "usage imports runs, which stands above it"),
        (
            "budgets.py",
            "from meshclaw import tasks, errors",
            "budgets imports tasks, which stands above it",
        ),
        ("errors.py", "from meshclaw.usage import Usage", "a room in the same row"),
        ("ledger/file.py", "def f():\n    from meshclaw.providers import base", "a room in the same row"),
        ("ledger/file.py", "from ..metering import Metered", "ledger imports metering"),
        ("ledger/file.py", "from .. import dispatch", "ledger imports dispatch"),
        ("ledger/file.py", "from .nothing import x", None),
        (
            "ledger/file.py",
            "from importlib import import_module\nimport_module('meshclaw.app')",
            "imports app",
        ),
        (
            "runs.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from meshclaw.tasks import Task",
            "runs imports tasks",
        ),
        ("runs.py", "class A:\n    def f(self):\n        import meshclaw.config", "runs imports config"),
        ("gadgets.py", "", "room 'gadgets' is in no row"),
        ("runs.py", "import meshclaw.gadgets", "unknown room 'gadgets'"),
        ("__main__.py", "from meshclaw.app import App", "__main__ imports app"),
        ("__main__.py", "from meshclaw.cli.main import main", None),
        ("runs.py", "import typer", "library 'typer' belongs in cli"),
        ("cli/main.py", "import typer", None),
        ("tasks/load.py", "def f():\n    import yaml", "library 'yaml' belongs in documents"),
        ("documents.py", "import yaml", "import it in a function"),
        ("documents.py", "def f():\n    import yaml", None),
        (
            "providers/wire.py",
            "def f():\n    from openai import OpenAI",
            "belongs in providers/openai_client",
        ),
        ("providers/anthropic.py", "import anthropic", "import it in a function"),
        ("runs.py", "import requests", "library 'requests' has no room"),
        ("runs.py", "import os\nx = os.environ['HOME']", "reads the environment"),
        ("runs.py", "from os import getenv", "reads the environment"),
        ("app/app.py", "import os\nx = os.environ", None),
        ("runs.py", "x = 1\n" * 301, "301 lines"),
        ("runs.py", "x = 1\n" * 300, None),
    ],
)
def test_the_checker_sees_each_kind_of_violation(path: str, source: str, complaint: str | None) -> None:
    found = violations(path, source)
    if complaint is None:
        assert found == []
    else:
        assert len(found) == 1
        assert complaint in found[0]


def test_every_room_of_the_table_is_named_once() -> None:
    rooms = [room for row in ROWS for room in row]
    assert len(rooms) == len(set(rooms))


def test_every_library_is_a_declared_dependency() -> None:
    names = {"yaml": "pyyaml", "referencing": "jsonschema", "click": "typer"}
    declared = {re.split(r"[^A-Za-z0-9_-]", line, maxsplit=1)[0] for line in requires("meshclaw") or []}
    wanted = {names.get(library, library).replace("_", "-") for library in LIBRARIES}
    assert declared == wanted


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = [line for lines in project["project"]["optional-dependencies"].values() for line in lines]
    tools = [line for line in project["dependency-groups"]["dev"] if not line.startswith("types-")]
    declared = [*project["project"]["dependencies"], *extras, *tools, *project["build-system"]["requires"]]
    reasons = (ROOT / "docs" / "decisions.md").read_text()
    names = [re.split(r"[^A-Za-z0-9_-]", line, maxsplit=1)[0] for line in declared]
    assert [name for name in names if f"`{name}`" not in reasons] == []


def test_no_test_file_is_longer_than_a_thought() -> None:
    folders = (ROOT / "tests", ROOT / "benchmarks")
    sizes = {path.name: path.read_text().count("\n") for folder in folders for path in folder.glob("*.py")}
    assert {name: size for name, size in sizes.items() if size > 450} == {}


SDKS = {"anthropic", "openai", "httpx2", "xllamacpp", "genai_prices"}
SLOW = SDKS | {"jsonschema", "yaml"}


@pytest.mark.parametrize(
    ("arguments", "never"),
    [(["--help"], SLOW), (["run", "--help"], SLOW), (["--version"], SLOW), (["tasks", "list"], SDKS)],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_start_up_imports_nothing_slow(arguments: list[str], never: set[str]) -> None:
    assert _imported_by(arguments) & never == set()


def test_start_up_control() -> None:
    """The probe does see a library that a command needs."""
    assert "yaml" in _imported_by(["tasks", "check", str(ROOT / "tasks" / "summarize.yaml")])


def _imported_by(arguments: list[str]) -> set[str]:
    probe = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('\\n'.join(sys.modules), file=sys.stderr))\n"
        f"sys.argv = ['meshclaw', *{arguments!r}]\n"
        "from meshclaw.cli.main import main\n"
        "raise SystemExit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stderr.split())


def test_entry_points_are_installed_as_declared() -> None:
    """A stale installation would load yesterday's table."""
    from importlib.metadata import distribution

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    installed: dict[str, dict[str, str]] = {}
    for entry in distribution("meshclaw").entry_points:
        if entry.group != "console_scripts":
            installed.setdefault(entry.group, {})[entry.name] = entry.value
    assert installed == declared
