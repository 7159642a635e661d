"""Which of the project's files a check's command runs by name: `sh check.sh`, `./ci/test`, `pytest a.py`.

The script is read without a shell's eyes: what hides behind variables, functions or programs that start
others is not found, and a task has to name it in `protect:`.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox", "source", "."})
_INTERPRETER = re.compile(
    r"(?:python|pypy|node|nodejs|ruby|perl|php|lua|deno|bun|tsx|ts-node|Rscript|pwsh|julia|elixir|awk)[\d.]*"
)
TEST_RUNNERS = frozenset(
    {
        "ava",
        "bats",
        "behave",
        "jest",
        "mocha",
        "nose2",
        "phpunit",
        "prove",
        "py.test",
        "pytest",
        "robot",
        "rspec",
        "tap",
        "unittest",
        "vitest",
    }
)
"""Programs for which every file that is named is a test."""
_WRAPPERS = frozenset(
    {
        *("!", "{", "do", "elif", "else", "if", "then", "time", "until", "while"),
        *("command", "env", "exec", "nice", "nohup", "setsid", "stdbuf", "sudo", "timeout", "xargs"),
        *(
            "bundle",
            "hatch",
            "npx",
            "pdm",
            "pipenv",
            "pnpm",
            "poetry",
            "run",
            "uv",
            "uvx",
            "xvfb-run",
            "yarn",
        ),
    }
)
"""Words before a command that are none themselves, or run it."""
_NO_COMMAND = re.compile(r"-.*|[A-Za-z_]\w*=.*|\d[\d.]*[smhd]?|[$`]+")
_CODE = re.compile(r"-[a-z]*[ce]")
_WITH_VALUE = frozenset({"-W", "-X", "-o", "+o"})
_MAKEFILE = re.compile(r"(?:-f|--(?:make)?file=)(.+)")
_SUBSTITUTED = re.compile(r"(?<=\$\()[^()]+(?=\))|(?<=`)[^`]+(?=`)")
_BREAKS = re.compile(r"[;&|()]+")


def named_files(script: str, files: Collection[str]) -> set[str]:
    """Those of `files`, paths from the project, which `script` runs."""
    found: set[str] = set()
    folder = ""
    for words in _commands(script):
        for inner in _SUBSTITUTED.findall(" ".join(words)):
            found |= named_files(inner, files)
        start = _command_at(words)
        if start is None:
            continue
        command, rest = words[start], words[start + 1 :]
        name = posixpath.basename(command)
        if command == "cd" and rest:
            folder = posixpath.join(folder, rest[-1])
            continue
        for word in (command, *_run_by(name, rest)):
            # A `cd` may have failed, or been in a subshell: what lies at the top counts as well.
            places = (posixpath.normpath(place) for place in (posixpath.join(folder, word), word))
            found.update(path for path in places if path in files)
        if name in SHELLS:
            for option, code in pairwise(rest):
                if _CODE.fullmatch(option):
                    found |= named_files(code, files)
                    break
    return found


def _commands(script: str) -> Iterator[list[str]]:
    reading = shlex.shlex(script.replace("\n", " ; "), posix=True, punctuation_chars=";&|()<>")
    reading.whitespace_split, reading.commenters = True, ""
    words: list[str] = []
    try:
        for word in reading:
            if _BREAKS.fullmatch(word):
                yield words
                words = []
            elif word.strip("<>"):
                words.append(word)
    except ValueError:  # A quote is left open, as in a here-document.
        for part in re.split(r"[;&|()\n]+", script):
            yield re.findall(r"[^\s'\"<>]+", part)
    yield words


def _command_at(words: Sequence[str]) -> int | None:
    for index, word in enumerate(words):
        if word not in _WRAPPERS and not _NO_COMMAND.fullmatch(word):
            return index
    return None


def _run_by(name: str, words: Sequence[str]) -> Iterator[str]:
    """The words that may name what the program `name` runs, if there is such a file."""
    if name in TEST_RUNNERS:
        if not any("doctest" in word for word in words):
            yield from _tests(words)
    elif name in SHELLS or _INTERPRETER.fullmatch(name):
        yield from _run_by_interpreter(words)
    elif name in ("make", "gmake"):
        for option, word in pairwise(("", *words)):
            if option in ("-f", "--file", "--makefile"):
                yield word
            elif attached := _MAKEFILE.fullmatch(word):
                yield attached[1]


def _run_by_interpreter(words: Sequence[str]) -> Iterator[str]:
    for index, word in enumerate(words):
        if word == "-m":
            for module in words[index + 1 : index + 2]:
                yield from (*_module(module), *_run_by(module, words[index + 2 :]))
            return
        if _CODE.fullmatch(word):
            return
        if word.startswith(("-", "+")) or word in ("run", "test"):
            continue
        if words[index - 1] in _WITH_VALUE and index:
            continue
        yield from (words if "--test" in words else (word,))
        return


def _tests(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        path = word.partition("::")[0]
        yield path
        names = path.split(".")
        for count in range(1, len(names) + 1):  # `pkg.tests.Class.test` names `pkg/tests.py`.
            yield from _module(".".join(names[:count]))


def _module(name: str) -> tuple[str, str]:
    path = name.replace(".", "/")
    return f"{path}.py", f"{path}/__main__.py"
