"""The part of the shell's language that can be read with certainty: literal words and what joins them.

`parse_command_line` takes words (plain, quoted, escaped) joined by newline, `;`, `&&`, `||` and `|`, and
refuses all else with a reason. `ParsedScript.script` writes what was parsed with every word in single
quotes, so that the shell finds nothing to expand, assign, alias or reserve in it: what was reviewed is
what runs. The rules are those of POSIX, XCU chapter 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from meshclaw.frozen import dataclass

OPERATORS = ("&&", "||", ";", "|", "\n")

RESERVED = frozenset(
    {
        "!",
        "{",
        "}",
        "[[",
        "]]",
        "case",
        "coproc",
        "do",
        "done",
        "elif",
        "else",
        "esac",
        "fi",
        "for",
        "function",
        "if",
        "in",
        "select",
        "then",
        "time",
        "until",
        "while",
    }
)
"""Words that are grammar at the start of a command, in POSIX sh or in bash."""

_BARE = re.compile(r"[A-Za-z0-9_@%+,./:-][A-Za-z0-9_@%+,./:=-]*", re.ASCII)
"""Words that need no quotes where no command stands."""
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_LONGEST = 32_768
_REFUSED = {
    "$": "`$` (variables and substitution) is not allowed",
    "`": "command substitution is not allowed",
    "<": "redirection is not allowed",
    ">": "redirection is not allowed; stdout and stderr are both shown anyway",
    "(": "subshells and functions are not allowed",
    ")": "subshells and functions are not allowed",
    "{": "braces are not allowed outside quotes",
    "}": "braces are not allowed outside quotes",
    "*": "wildcards are not allowed outside quotes",
    "?": "wildcards are not allowed outside quotes",
    "[": "wildcards are not allowed outside quotes (for tests, write `test`)",
    "!": "`!` is not allowed outside quotes",
}


@dataclass(frozen=True, slots=True)
class SyntaxProblem:
    """Why a command line is not literal words; `position` counts characters from 0."""

    reason: str
    position: int = 0


@dataclass(frozen=True, slots=True)
class ParsedScript:
    """Commands as lists of words, and the operators between them (one fewer)."""

    commands: tuple[tuple[str, ...], ...]
    operators: tuple[str, ...]

    @property
    def script(self) -> str:
        """Means in any POSIX shell exactly these words and operators."""
        return self.written(quote)

    @property
    def text(self) -> str:
        """The same, quoted only where it must be: `parse_command_line` reads this again from it."""
        return self.written(quote_if_needed)

    def written(self, word: Callable[[str], str]) -> str:
        """Every word as `word` writes it, with the operators between the commands."""
        pieces = [" ".join(map(word, self.commands[0]))]
        for operator, words in zip(self.operators, self.commands[1:], strict=True):
            pieces.append("\n" if operator == "\n" else f" {operator} ")
            pieces.append(" ".join(map(word, words)))
        return "".join(pieces)


@dataclass(frozen=True, slots=True)
class Word:
    """A word's characters, and for each whether it stood outside all quotes."""

    text: str
    plain: tuple[bool, ...]

    @property
    def all_plain(self) -> bool:
        return all(self.plain)


class _Refused(Exception):
    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.problem = SyntaxProblem(reason, position)


def quote(word: str) -> str:
    """Always in quotes: `shlex.quote` leaves `a=b` and `if` bare, and bare they mean something."""
    return "'" + word.replace("'", "'\"'\"'") + "'"


def quote_if_needed(word: str) -> str:
    """For people: bare where any shell reads the same word, in quotes where not."""
    assigns = _ASSIGNMENT.match(word)
    return word if _BARE.fullmatch(word) and word not in RESERVED and not assigns else quote(word)


def parse_command_line(text: str) -> ParsedScript | SyntaxProblem:
    """Never raises."""
    try:
        return _assemble(_tokens(text, frozenset()))
    except _Refused as refused:
        return refused.problem


def parse_pattern(text: str) -> tuple[Word, ...] | SyntaxProblem:
    """The words of a pattern: as in a command, but `*` may stand outside quotes and nothing is joined."""
    try:
        tokens = _tokens(text, frozenset("*"))
        _assemble(tokens)
    except _Refused as refused:
        return refused.problem
    words = tuple(token for token, _ in tokens if isinstance(token, Word))
    if len(words) != len(tokens):
        return SyntaxProblem("a pattern is one command; give one pattern for each part")
    return words


def _assemble(tokens: list[tuple[Word | str, int]]) -> ParsedScript:
    commands: list[tuple[str, ...]] = []
    operators: list[str] = []
    words: list[str] = []
    for token, position in tokens:
        if isinstance(token, Word):
            if not words:
                _check_command_word(token, position)
            words.append(token.text)
        elif words:
            commands.append(tuple(words))
            operators.append(token)
            words = []
        elif token != "\n":
            raise _Refused(f"there is no command before `{token}`", position)
        # A newline after an operator or another newline joins nothing.
    if words:
        commands.append(tuple(words))
    elif operators and operators[-1] in (";", "\n"):
        operators.pop()
    elif operators:
        raise _Refused(f"there is no command after `{operators[-1]}`", tokens[-1][1])
    if not commands:
        raise _Refused("the command is empty", 0)
    return ParsedScript(tuple(commands), tuple(operators))


def _check_command_word(word: Word, position: int) -> None:
    if word.text in RESERVED and word.all_plain:
        raise _Refused(f"`{word.text}` (shell grammar) is not allowed; give plain commands", position)
    assignment = _ASSIGNMENT.match(word.text)
    if assignment and all(word.plain[: assignment.end()]):
        raise _Refused("setting variables is not allowed", position)


def _tokens(text: str, extra: frozenset[str]) -> list[tuple[Word | str, int]]:
    _check_characters(text)
    tokens: list[tuple[Word | str, int]] = []
    at = 0
    while at < len(text):
        if text[at] in " \t":
            at += 1
        elif text.startswith("\\\n", at):
            at += 2
        elif operator := next((item for item in OPERATORS if text.startswith(item, at)), None):
            if text.startswith((";;", "|&"), at):
                raise _Refused(f"`{text[at : at + 2]}` is not allowed", at)
            tokens.append((operator, at))
            at += len(operator)
        else:
            word, end = _word(text, at, extra)
            tokens.append((word, at))
            at = end
    return tokens


def _check_characters(text: str) -> None:
    if len(text) > _LONGEST:
        raise _Refused(f"the command is longer than {_LONGEST} characters", _LONGEST)
    for position, character in enumerate(text):
        if character in "\0\r" or "\ud800" <= character <= "\udfff":
            raise _Refused(f"the character {character!a} is not allowed", position)


def _word(text: str, start: int, extra: frozenset[str]) -> tuple[Word, int]:
    characters: list[str] = []
    plain: list[bool] = []
    at = start
    while at < len(text) and text[at] not in " \t\n;|&":
        character = text[at]
        if character == "'":
            end = text.find("'", at + 1)
            if end < 0:
                raise _Refused("a quote is not closed", at)
            quoted = text[at + 1 : end]
            at = end + 1
        elif character == '"':
            quoted, at = _double_quoted(text, at)
        elif character == "\\":
            if at + 1 == len(text):
                raise _Refused("nothing follows the last `\\`", at)
            quoted = "" if text[at + 1] == "\n" else text[at + 1]
            at += 2
        else:
            if character in _REFUSED and character not in extra:
                raise _Refused(_REFUSED[character], at)
            if character in "~#" and at == start:
                what = "`~`" if character == "~" else "a comment"
                raise _Refused(f"{what} is not allowed; quote it if it is meant as it stands", at)
            characters.append(character)
            plain.append(True)
            at += 1
            continue
        characters += quoted
        plain += [False] * len(quoted)
    if at < len(text) and text[at] == "&" and not text.startswith("&&", at):
        raise _Refused("running in the background is not allowed", at)
    return Word("".join(characters), tuple(plain)), at


def _double_quoted(text: str, start: int) -> tuple[str, int]:
    characters: list[str] = []
    at = start + 1
    while at < len(text) and text[at] != '"':
        character = text[at]
        if character in "$`":
            raise _Refused("`$` and backticks are not allowed in double quotes; use single quotes", at)
        if character == "\\" and at + 1 < len(text) and text[at + 1] in '$`"\\\n':
            character = "" if text[at + 1] == "\n" else text[at + 1]
            at += 1
        characters.append(character)
        at += 1
    if at == len(text):
        raise _Refused("a quote is not closed", start)
    return "".join(characters), at + 1
