"""What an agent may do. Default deny: what is not declared, parsed and allowed does not happen."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from meshclaw.shell_syntax import SyntaxProblem, Word, parse_command_line, parse_pattern


@dataclass(frozen=True, slots=True)
class Effects:
    """What one tool call would touch, declared before it happens.

    Paths are relative to the project, `/`-separated. `commands` are shell command lines. `hosts` are
    `host` or `host:port`.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    @property
    def only_reads(self) -> bool:
        """True when the call can run beside others and be repeated without harm."""
        return not (self.writes or self.commands or self.hosts)


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed, or denied with a `reason` and the `remedy`: the task's line or the flag to add."""

    allowed: bool
    reason: str = ""
    remedy: str = ""


class Policy(Protocol):
    def review(self, effects: Effects) -> Decision:
        """Decides. Never raises: an error inside a guard denies."""
        ...


FULL_SHELL = "*"
"""The one pattern of `allow.run` that lets any text through to the shell."""

PROTECTED = ("meshclaw.yaml", "tasks")
"""Written only where a pattern names them at its start: they decide what later runs may do."""

SPECIAL_COMMANDS = frozenset(
    {
        ".",
        "alias",
        "builtin",
        "command",
        "enable",
        "env",
        "eval",
        "exec",
        "export",
        "hash",
        "nohup",
        "set",
        "source",
        "sudo",
        "trap",
        "unalias",
        "unset",
        "xargs",
    }
)
"""Commands that run their words as other commands, or change what later words mean. They match only a
pattern whose first word is exactly their name."""


class TaskPolicy:
    """Allows reading the project, and of all else only what a task or the operator's flags name.

    `write` holds globs, matched as `matches_glob` says. `run` holds command patterns, matched as
    `matches_command` says. `network` holds hosts (`example.com`, `*.example.com`, `host:port`).
    `shell_enabled` is True when the operator gave `--no-sandbox`, or when there is a sandbox.
    `source` is the task's file, for the remedies.
    """

    def __init__(
        self,
        write: Sequence[str] = (),
        run: Sequence[str] = (),
        network: Sequence[str] = (),
        *,
        shell_enabled: bool = False,
        source: str = "",
    ) -> None:
        self.write = tuple(write)
        self.run = tuple(run)
        self.network = tuple(network)
        self.shell_enabled = shell_enabled
        self.source = source or "the task"
        self._commands = [words for words in map(parse_pattern, self.run) if isinstance(words, tuple)]

    def review(self, effects: Effects) -> Decision:
        """Denies with the first thing that is not allowed. Never raises."""
        try:
            return next(self._denials(effects), Decision(True))
        except Exception as error:
            return Decision(False, f"the policy could not decide ({type(error).__name__})")

    def _denials(self, effects: Effects) -> Iterator[Decision]:
        for path in effects.reads:
            if not _is_inside(path):
                yield Decision(False, f"reading {path} is not allowed")
        for path in effects.writes:
            if not self._may_write(path):
                yield self._denied_write(path)
        for command in effects.commands:
            reason = self._why_not_run(command)
            if reason or not self.shell_enabled:
                yield self._denied_command(command, reason)
        for host in effects.hosts:
            if not any(_matches_host(host, pattern) for pattern in self.network):
                remedy = f"add {json.dumps(host)} to allow.network in {self.source}"
                yield Decision(False, f"connecting to {host} is not allowed", remedy)

    def _may_write(self, path: str) -> bool:
        if not _is_inside(path) or not path:
            return False
        protected = path.split("/")[0] in PROTECTED
        return any(
            matches_glob(path, pattern)
            for pattern in self.write
            if not protected or pattern.removeprefix("./").split("/")[0] in PROTECTED
        )

    def _denied_write(self, path: str) -> Decision:
        if not _is_inside(path) or not path:
            return Decision(False, f"writing {path or 'the project folder'} is never allowed")
        allowed = f"; allowed are {', '.join(self.write)}" if self.write else ""
        return Decision(
            False,
            f"writing {path} is not allowed{allowed}",
            f"add {json.dumps(path)} to allow.write in {self.source}, or pass "
            f"--allow-write {shlex.quote(path)}",
        )

    def _why_not_run(self, command: str) -> str:
        """Empty when the patterns allow the command."""
        if FULL_SHELL in self.run:
            return "the command holds a NUL character" if "\0" in command else ""
        parsed = parse_command_line(command)
        if isinstance(parsed, SyntaxProblem):
            return parsed.reason
        for words in parsed.commands:
            if not any(matches_command(words, pattern) for pattern in self._commands):
                return f"running {shlex.join(words)} is not allowed"
        return ""

    def _denied_command(self, command: str, reason: str) -> Decision:
        allowed = f"; allowed are {', '.join(self.run)}" if self.run and reason else ""
        missing = [] if self.shell_enabled else ["--no-sandbox"]
        remedy = "pass --no-sandbox: there is no sandbox yet, and without one no command runs"
        if reason:
            pattern = self._missing_pattern(command)
            missing.append(f"--allow-run {shlex.quote(pattern)}")
            what = " (a full shell)" if pattern == FULL_SHELL else ""
            line = f"add {json.dumps(pattern)}{what} to allow.run in {self.source}"
            remedy = f"{line}, or pass {' '.join(missing)}"
        return Decision(False, (reason or "commands are not allowed without a sandbox") + allowed, remedy)

    def _missing_pattern(self, command: str) -> str:
        parsed = parse_command_line(command)
        if isinstance(parsed, SyntaxProblem):
            return FULL_SHELL
        for words in parsed.commands:
            if not any(matches_command(words, pattern) for pattern in self._commands):
                return shlex.join(words)
        return FULL_SHELL


def matches_glob(path: str, pattern: str) -> bool:
    """Whether the whole of `path` fits `pattern`, both from the project's root, `/`-separated.

    `*`, `?` and `[...]` match within one name, a leading dot included; `**` as a whole name matches any
    number of folders, none included, and at the end everything beneath. So `src/**` is all beneath src,
    `*.md` only what lies at the top, `**/*.md` every such file. A trailing `/` is read as `/**`.
    """
    pattern = pattern.removeprefix("./")
    if pattern.endswith("/"):
        pattern += "**"
    names = path.split("/")
    # Which beginnings of `names`, by length, the pattern's names so far can match.
    reached = {0}
    wanted = pattern.split("/")
    for index, name_pattern in enumerate(wanted):
        if name_pattern == "**":
            least = min(reached) + (index == len(wanted) - 1)
            reached = set(range(least, len(names) + 1))
        else:
            reached = {
                length + 1
                for length in reached
                if length < len(names) and fnmatchcase(names[length], name_pattern)
            }
        if not reached:
            return False
    return len(names) in reached


def matches_command(words: Sequence[str], pattern: Sequence[Word]) -> bool:
    """Whether one command's words fit a pattern of `allow.run`, word by word.

    A `*` outside quotes matches any text within its word, `/` included; a last word that is only `*`
    matches zero or more words. See SPECIAL_COMMANDS for the exception.
    """
    if not words or not pattern:
        return False
    if words[0] in SPECIAL_COMMANDS and words[0] != pattern[0].text:
        return False
    any_rest = len(pattern) > 1 and pattern[-1].text == "*" and pattern[-1].all_plain
    fixed = pattern[:-1] if any_rest else pattern
    if len(words) < len(fixed) or (len(words) > len(fixed) and not any_rest):
        return False
    return all(_matches_word(text, word) for text, word in zip(words, fixed, strict=False))


def run_pattern_problem(pattern: str) -> str | None:
    """Why a pattern of `allow.run` could never match, or None. For whoever reads task files."""
    parsed = parse_pattern(pattern)
    return parsed.reason if isinstance(parsed, SyntaxProblem) else None


def _matches_word(text: str, pattern: Word) -> bool:
    """Linear in both: each piece between two stars is sought from where the one before ended."""
    pieces = [""]
    for character, plain in zip(pattern.text, pattern.plain, strict=True):
        if character == "*" and plain:
            pieces.append("")
        else:
            pieces[-1] += character
    if len(pieces) == 1:
        return text == pieces[0]
    first, *middle, last = pieces
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _is_inside(path: str) -> bool:
    """A normal path beneath the project, and not in a `.git`."""
    names = path.split("/")
    return not path or not any(name in ("", ".", "..") or name.lower() == ".git" for name in names)


def _matches_host(host: str, pattern: str) -> bool:
    host, pattern = host.lower(), pattern.lower()
    without_port = re.sub(r":\d+$", "", host)
    return fnmatchcase(host, pattern) or fnmatchcase(without_port, pattern)
