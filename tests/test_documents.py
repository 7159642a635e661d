"""What the documents say holds for the code: commands parse, files load, tables and links are right."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from meshclaw.cli.main import COMMANDS, app
from meshclaw.cli.session import Session
from meshclaw.config import load_config
from meshclaw.config.presets import BUILT_IN as BUILT_IN_PROVIDERS
from meshclaw.config.presets import PRESETS
from meshclaw.config.settings import SCALARS, SECTIONS
from meshclaw.documents import parse
from meshclaw.errors import EXIT_MEANINGS, Problem
from meshclaw.messages import EFFORTS
from meshclaw.plugins import Plugins
from meshclaw.tasks import parse_task
from meshclaw.tasks.fields import ALLOW, AXIS, BUDGET, CHECKS, INPUT, MATRIX, OUTPUT, PARAM, TASK

ROOT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
}
README, GUIDE = PAGES["README.md"], PAGES["docs/guide.md"]
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SETTINGS = {*SECTIONS, *(one.key.partition(".")[0] for one in SCALARS)}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^\n)((?:^    .*\n|^\n(?=    ))+)", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_REDIRECTIONS = ("<", ">", ">>")


@dataclass(frozen=True)
class Block:
    """A block of code: the fence's word ("" for an indented one) and what stands in it."""

    page: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text.splitlines()[0]}"


def blocks(page: str) -> Iterator[Block]:
    for language, text in _FENCE.findall(PAGES[page]):
        yield Block(page, language, text)
    for text in _INDENTED.findall(_FENCE.sub("", PAGES[page])):
        yield Block(page, "", textwrap.dedent(text))


BLOCKS = [block for page in PAGES for block in blocks(page)]
YAML = [block for block in BLOCKS if block.language == "yaml"]


def spans(page: str) -> list[str]:
    """What stands between backticks in the text."""
    return _CODE.findall(_FENCE.sub("", PAGES[page]))


def words(line: str) -> list[str]:
    """A shell line's words, operators apart; comments are left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        return []


def commands(line: str) -> Iterator[tuple[str, ...]]:
    """The arguments of each `meshclaw` that the line calls."""
    found: list[str] | None = None
    previous = ""
    for word in (*words(line), ";"):
        if found is None and word == "meshclaw":
            found = []
        elif found is not None and previous not in _REDIRECTIONS and word not in _REDIRECTIONS:
            if set(word) <= set("();|&"):
                yield tuple(found)
                found = None
            else:
                found.append(word)
        previous = word


def command_lines() -> Iterator[tuple[str, tuple[str, ...]]]:
    for block in BLOCKS:
        if block.language not in ("", "console", "bash"):
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            if block.language != "console" or line.startswith("$ "):
                yield from ((block.page, found) for found in commands(line.removeprefix("$ ")))
    for page in PAGES:
        for span in spans(page):
            first, _, rest = span.partition(" ")
            if first == "meshclaw":
                yield from ((page, found) for found in commands(span))
            elif first in COMMANDS and re.match(r"[a-z]+( [A-Z]+)?( --\w+)*\Z", rest):
                yield page, tuple(span.split())


COMMAND_LINES = sorted(set(command_lines()))


def parse_command(arguments: tuple[str, ...]) -> dict[str, Any]:
    """The values that the CLI's own parser makes of `arguments`; nothing is called."""
    command: Any = typer.main.get_command(app)
    if arguments and arguments[0].startswith("--"):
        # These act as soon as they are parsed.
        assert arguments[0] in {option for one in command.params for option in one.opts}
        return {}
    context = command.make_context("meshclaw", list(arguments), obj=Session({}, ROOT))
    values = dict(context.params)
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
        values |= context.params
    return values


def names_a_command(arguments: tuple[str, ...]) -> bool:
    """`meshclaw runs show` in the text is the name of a command that there is, not a call of it."""
    command: Any = typer.main.get_command(app)
    for word in arguments:
        command = command.get_command(None, word) if hasattr(command, "get_command") else None
    return command is not None


@pytest.mark.parametrize(
    ("page", "arguments"), COMMAND_LINES, ids=[f"{page}: {' '.join(line)}" for page, line in COMMAND_LINES]
)
def test_every_command_line_parses(page: str, arguments: tuple[str, ...]) -> None:
    if names_a_command(arguments):
        return
    task = parse_command(arguments).get("task")
    known = {path.stem for path in (ROOT / "tasks").glob("*.yaml")}
    known |= set(
        re.findall(r"^# tasks/([\w-]+)\.yaml$", "".join(block.text for block in YAML), re.MULTILINE)
    )
    if arguments[0] == "run":
        assert task in known or not re.match(r"[a-z-]+\Z", str(task))


def test_command_lines_are_found_and_wrong_ones_do_not_parse() -> None:
    found = {line for _, line in COMMAND_LINES}
    assert ("run", "extract", "--model", "local/qwen2.5-coder-1.5b") in found
    assert ("run", "summarize", "--input", "text=logs/night.log", "--quiet") in found
    assert ("run", "commit-message", "--quiet") in found
    assert {page for page, _ in COMMAND_LINES} >= {"README.md", "docs/guide.md", "docs/ledger.md"}
    for wrong in (("run",), ("run", "x", "--no-such"), ("ledger", "verfy"), ("runs", "list", "-n", "x")):
        with pytest.raises(typer.TyperException):
            parse_command(wrong)


@pytest.mark.parametrize("block", YAML, ids=str)
def test_every_yaml_block_is_a_task_or_settings(block: Block, tmp_path: Path) -> None:
    """A part of a task gets the `prompt` that it lacks."""
    problems: list[Problem] = []
    keys = set(parse(block.text.encode(), str(block), problems).keys)
    assert problems == []
    assert keys <= set(TASK) or keys <= SETTINGS
    if keys <= set(TASK):
        text = block.text if "prompt" in keys else f"{block.text}\nprompt: Say hello.\n"
        names = Plugins()
        parse_task(
            text.encode(),
            str(block),
            "task",
            tools=names.names("tools"),
            runners=names.names("runners"),
            checks=names.names("checks"),
        )
    if keys <= SETTINGS:
        path = tmp_path / "config.yaml"
        path.write_text(block.text, encoding="utf-8")
        load_config(path, None, {"HOME": str(tmp_path)})


def tables(page: str, head: str) -> list[list[str]]:
    """The cells of all tables of the page whose first line is `head`."""
    found = re.findall(rf"^{re.escape(head)}\n\|[-|]+\|\n((?:^\|.*\|\n)+)", PAGES[page], re.MULTILINE)
    assert found, f"{page} has no table {head}"
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for table in found
        for line in table.splitlines()
    ]


def test_exit_codes_are_those_of_the_code() -> None:
    rows = tables("README.md", "| exit | meaning |")
    assert rows == [[str(int(code)), meaning] for code, meaning in EXIT_MEANINGS.items()]


def test_the_guide_describes_every_key_of_a_task_and_no_other() -> None:
    nested: Mapping[str, Mapping[str, object]] = {
        "params.NAME": PARAM,
        "inputs.NAME": INPUT,
        "matrix.NAME": AXIS,
        "matrix": MATRIX,
        "allow": ALLOW,
        "output": OUTPUT,
        "budget": BUDGET,
    }
    expected = [*TASK, *(f"{table}.{key}" for table, keys in nested.items() for key in keys)]
    rows = tables("docs/guide.md", "| key | meaning |")
    described = [name for row in rows for name in _CODE.findall(row[0])]
    assert Counter(described) == Counter(expected)


def test_the_guide_describes_every_check_and_its_options() -> None:
    rows = tables("docs/guide.md", "| check | options | passes when |")
    described = {_CODE.findall(row[0])[0]: set(_CODE.findall(row[1])) for row in rows}
    assert described == {kind: set(one.fields) for kind, one in CHECKS.items()}


def test_the_guide_names_the_tools_runners_and_efforts_there_are() -> None:
    meanings = {row[0]: _CODE.findall(row[1]) for row in tables("docs/guide.md", "| key | meaning |")}
    assert meanings["`tools`"] == list(Plugins().names("tools"))
    assert set(meanings["`runner`"]) == set(Plugins().names("runners"))
    assert meanings["`effort`"] == list(EFFORTS)


def test_the_guide_names_the_providers_there_are() -> None:
    rows = tables("docs/guide.md", "| provider | needs |")
    named = [name.partition("/")[0] for row in rows for name in _CODE.findall(row[0])]
    assert sorted(named) == sorted({**BUILT_IN_PROVIDERS, **PRESETS})


def test_the_example_tasks_are_those_that_there_are() -> None:
    found = re.search(r"copies (\w+) tasks to begin with \((.*?)\)", README, re.DOTALL)
    assert found
    listed = _CODE.findall(found[2])
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "tasks").glob("*.yaml"))
    assert NUMBERS.index(found[1]) == len(listed)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", PAGES[page])):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.is_file(), f"{page}: {target}"
        if heading:
            assert heading in headings(path.read_text(encoding="utf-8")), f"{page}: {target}"


def headings(text: str) -> list[str]:
    """The anchors that a page's headings make."""
    titles = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def test_documented_variables_are_those_that_are_read() -> None:
    """Those of parameters and inputs are named after them."""
    read = set()
    for path in (ROOT / "meshclaw").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                read |= set(re.findall(r"\AMESHCLAW_[A-Z_]*[A-Z]\Z", node.value))
    named = set(re.findall(r"\bMESHCLAW_[A-Z_]*[A-Z]\b", README + GUIDE + PAGES["docs/settings.md"]))
    documented = {name for name in named if not name.startswith(("MESHCLAW_PARAM_", "MESHCLAW_INPUT_"))}
    assert {"MESHCLAW_MODEL", "MESHCLAW_CONFIG"} <= read
    assert documented == read


def test_benchmarks_that_are_named_exist_and_the_readme_names_them_all() -> None:
    existing = {path.relative_to(ROOT).as_posix() for path in (ROOT / "benchmarks").glob("*.py")}
    for page, text in PAGES.items():
        assert set(re.findall(r"\bbenchmarks/\w+\.py\b", text)) <= existing, page
    assert set(re.findall(r"\bbenchmarks/\w+\.py\b", README)) == existing


def test_make_has_the_targets_that_are_named() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        target
        for block in BLOCKS
        if block.language == ""
        for target in re.findall(r"^make (\w+)", block.text, re.MULTILINE)
    }
    assert {"demo", "test"} <= named <= targets
