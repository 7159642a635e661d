"""How paths, commands and hosts match the patterns of `allow` and `policy`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from meshclaw.shell_syntax import SyntaxProblem, Word, parse_pattern

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

WEB_PORTS = ("80", "443")
"""What a pattern of hosts that names no port allows."""

_HOST = re.compile(r"[^\s/\\?#@]+")


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


def write_pattern_problem(pattern: str) -> str | None:
    """Why a glob of `allow.write` could never match, or None. For whoever reads task files."""
    if pattern.startswith("/"):
        return "paths begin at the project's folder, without a /"
    names = pattern.removeprefix("./").removesuffix("/").split("/")
    if ".." in names:
        return "it leads out of the project"
    if any(name in ("", ".") for name in names):
        return 'it names nothing; "**" is all of the project'
    # The project's own is for commands, such as `git commit`; file tools never write there.
    if any(name.lower() == ".git" for name in names[1:]):
        return "nothing in another repository's .git is ever written"
    return None


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


def is_inside(path: str) -> bool:
    """A normal path beneath the project, and not in a `.git`."""
    names = path.split("/")
    return not path or not any(name in ("", ".", "..") or name.lower() == ".git" for name in names)


def matches_host(host: str, pattern: str) -> bool:
    """Whether `host` (`name:port`, or `name` for its web ports) fits.

    A pattern that names no port allows WEB_PORTS, one with `:*` every port. Names match as `*` and `?` say.
    """
    if not _HOST.fullmatch(host):
        return False
    name, port = _split_port(host.lower())
    wanted, wanted_port = _split_port(pattern.lower())
    ports = (None, *WEB_PORTS) if wanted_port is None else (wanted_port,)
    # Brackets are an IPv6 address's, not a choice of characters.
    return (port in ports or wanted_port == "*") and fnmatchcase(name, wanted.replace("[", "[[]"))


def host_pattern_problem(pattern: str) -> str | None:
    """Why a pattern of `allow.network` could never match, or None. For whoever reads task files."""
    name, port = _split_port(pattern)
    if "/" in pattern or "@" in pattern:
        return "a host stands alone, without https:// and a path: example.com, *.example.com, host:8443"
    if not _HOST.fullmatch(name) or (":" in name and not re.fullmatch(r"\[[0-9A-Fa-f:.]+\]", name)):
        return "it is no host: write example.com, *.example.com, host:8443 or [2001:db8::1]:443"
    if port not in (None, "*") and not 0 < int(port) < 65_536:
        return f"{port} is no port"
    return None


def _split_port(host: str) -> tuple[str, str | None]:
    """Host and port; None without one. The colons of an IPv6 address are told apart by its brackets."""
    name, colon, port = host.rpartition(":")
    bare = ":" not in name or name.endswith("]")
    if colon and bare and (port == "*" or (port.isascii() and port.isdecimal())):
        return name, port
    return host, None
