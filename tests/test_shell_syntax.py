"""What is read as literal words is what a real shell runs, and nothing else gets through."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshclaw.shell_syntax import ParsedScript, SyntaxProblem, parse_command_line, parse_pattern, quote

HOSTILE = st.text(
    alphabet=st.sampled_from(list("ab= \t\n'\"\\;&|$`<>(){}*?[]!#~%^+,:.-/\x01\x1b\x7fé\u2028\u00a0")),
    max_size=30,
)


def parsed(text: str) -> ParsedScript:
    result = parse_command_line(text)
    assert isinstance(result, ParsedScript), result
    return result


@pytest.mark.parametrize(
    ("text", "commands", "operators"),
    [
        ("pytest -q", [("pytest", "-q")], []),
        ("  a  'b c'\t\"d e\"f\\ g ", [("a", "b c", "d ef g")], []),
        ("a&&b||c;d|e\nf", [("a",), ("b",), ("c",), ("d",), ("e",), ("f",)], ["&&", "||", ";", "|", "\n"]),
        ("\n\na;\nb\n", [("a",), ("b",)], [";"]),
        ("a &&\n b |\n c", [("a",), ("b",), ("c",)], ["&&", "|"]),
        ("a \\\n b", [("a", "b")], []),
        ("a b\\\nc", [("a", "bc")], []),
        ('a "x\\\ny\\"\\$\\q"', [("a", 'xy"$\\q')], []),
        ("a '' \"\"", [("a", "", "")], []),
        ("'if' 'A=b' '!' '#x' '~'", [("if", "A=b", "!", "#x", "~")], []),
        ("a if x=1 b#c d~e -{}".replace("{}", ""), [("a", "if", "x=1", "b#c", "d~e", "-")], []),
        ("a 'line\nbreak'", [("a", "line\nbreak")], []),
    ],
)
def test_literal_words(text: str, commands: list[tuple[str, ...]], operators: list[str]) -> None:
    result = parsed(text)
    assert list(result.commands) == commands
    assert list(result.operators) == operators


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n ",
        "echo $HOME",
        'echo "$HOME"',
        "echo `id`",
        'echo "`id`"',
        "echo $(id)",
        "a > b",
        "a < b",
        "a 2>&1",
        "a >> b",
        "a <<EOF\nx\nEOF",
        "a <<< b",
        "a &",
        "a & b",
        "a |& b",
        "a ;; b",
        "a ;& b",
        "a &&& b",
        "a ||| b",
        "(a)",
        "a()",
        "{ a; }",
        "a {b,c}",
        "ls *",
        "ls ?",
        "ls [ab]",
        "ls ~",
        "ls ~root",
        "~/bin/x",
        "A=1 b",
        "A+=1 b",
        "A=1",
        "if true",
        "time a",
        "! a",
        "function f",
        "a # comment",
        "# comment",
        "a \\\n# comment",
        "a 'b",
        'a "b',
        'a "b\\',
        "a \\",
        "&& a",
        "a &&",
        "a | ; b",
        "; a",
        "a; ; b",
        "a\r\nb",
        "a '\r'",
        "a \0 b",
        "a \ud800",
        "a " + "b" * 40_000,
    ],
)
def test_everything_else_is_refused_with_a_reason(text: str) -> None:
    result = parse_command_line(text)
    assert isinstance(result, SyntaxProblem), result
    assert result.reason
    assert isinstance(parse_command_line("echo positive control"), ParsedScript)


@given(HOSTILE)
def test_what_was_parsed_parses_to_the_same_again(text: str) -> None:
    result = parse_command_line(text)
    if isinstance(result, ParsedScript):
        assert parse_command_line(result.script) == result


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"))))
def test_quoted_words_come_back(words: list[str]) -> None:
    line = " ".join(map(quote, ["x", *words]))
    assert parsed(line).commands == (("x", *words),)
    assert shlex.split(line) == ["x", *words]


def _beyond_shlex(text: str) -> bool:
    """shlex knows neither line continuations nor that a trailing `;` ends a command."""
    return "\\\n" in text or ";" in text


@given(HOSTILE)
def test_words_agree_with_the_standard_library(text: str) -> None:
    result = parse_command_line(text)
    if isinstance(result, ParsedScript) and not result.operators and not _beyond_shlex(text):
        assert tuple(shlex.split(text)) == result.commands[0]


SHELLS = [shell for shell in ("/bin/sh", "/bin/bash") if Path(shell).exists()]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_runs_what_was_parsed(tmp_path: Path, shell: str) -> None:
    """Thousands of random lines, in few processes: each line both as given and as written back.

    The words call a program by its absolute path, which logs its arguments, so that a stray command,
    an expansion or a lost word would show.
    """
    log = tmp_path / "log"
    logs = tmp_path / "logs.py"
    logs.write_text(f"import json, sys\nopen({str(log)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n")
    program = tmp_path / "p"
    program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-S", str(logs)])} "$@"\n')
    program.chmod(0o755)
    # A function would be faster than a program for each line, and has the same argument list.
    prelude = "p() { for w in \"$@\"; do printf '%s\\0' \"$w\"; done; printf '\\036'; }\n"
    generator = random.Random(7)
    alphabet = "ab= \t\n'\"\\;#~%^+,:.-/$*?{}!é\x01\x7f"
    lines: list[tuple[str, ParsedScript]] = []
    while len(lines) < 3_000:
        tail = "".join(generator.choice(alphabet) for _ in range(generator.randrange(1, 14)))
        result = parse_command_line(f"p {tail}")
        if isinstance(result, ParsedScript) and all(words[0] == "p" for words in result.commands):
            lines.append((f"p {tail}", result))
    expected = [words[1:] for _, result in lines for words in result.commands]
    for script in (
        "\n".join(result.script for _, result in lines),
        "\n".join(text for text, _ in lines),
    ):
        done = subprocess.run(
            [shell, "-c", prelude + script], capture_output=True, check=False, cwd=tmp_path, env={}
        )
        records = done.stdout.decode().split("\x1e")[:-1]
        assert [tuple(record.split("\0")[:-1]) for record in records] == expected
        assert done.stderr == b""
    # And one through a real program, operators and quoted specials included.
    text = f"{program} 'a b' && {program} \"c'd\" | {program} e; {program} 'A=1' '*' 'x\ny'"
    subprocess.run([shell, "-c", parsed(text).script], check=True, env={})
    logged = sorted(json.loads(line) for line in log.read_text().splitlines())
    assert logged == sorted([["a b"], ["c'd"], ["e"], ["A=1", "*", "x\ny"]])


@pytest.mark.parametrize("word", ["if", "A=b", "!", "{", "time", "[[", "~", "*", "#"])
def test_quoting_takes_the_meaning_from_words(word: str) -> None:
    script = parsed(f"'{word}' x").script
    done = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, check=False, env={"PATH": "/none"}
    )
    assert done.returncode == 127


def test_patterns_may_hold_stars_and_nothing_else() -> None:
    words = parse_pattern("pytest 'a *b' c*")
    assert not isinstance(words, SyntaxProblem)
    assert [word.text for word in words] == ["pytest", "a *b", "c*"]
    assert [word.all_plain for word in words] == [True, False, True]
    for text in ("a; b", "a && b", "a $x", "A=1 b", "", "a ?", "a > b"):
        assert isinstance(parse_pattern(text), SyntaxProblem)
