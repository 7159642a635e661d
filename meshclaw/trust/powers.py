"""What a project could make happen, as data: its digest, and how a person reads it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from difflib import unified_diff
from typing import Any

from meshclaw.documents import plain_value
from meshclaw.frozen import dataclass
from meshclaw.terminal_text import clean

_MISREAD = re.compile(r"\A(?:[\"'\[{|]|-(?: |\Z))|:(?: |\Z)")


@dataclass(frozen=True, slots=True)
class Untrusted:
    """What a project has that is not trusted as it is.

    `name` is a file's path in the project, `powers` what that could make happen, `before` the powers that
    were trusted (None: none ever were).
    """

    name: str
    powers: Any
    before: Any = None

    def text(self) -> str:
        """The powers as lines of YAML's kind; characters that cannot be seen are shown as escapes."""
        return "\n".join(_lines(self.powers))

    def diff(self, redact: Callable[[Any], Any] = lambda powers: powers) -> str:
        """What has changed since it was trusted, as a unified diff; `redact` is the store's own."""
        before, now = list(_lines(redact(self.before))), list(_lines(redact(self.powers)))
        return "\n".join(unified_diff(before, now, "as trusted", "now", lineterm=""))


def digest(powers: Any) -> str:
    """The SHA-256 of one item's powers, in hex: the same whatever the order of their keys."""
    return hashlib.sha256(canonical(powers).encode("ascii")).hexdigest()


def canonical(value: Any) -> str:
    """One text for equal data."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def visible(text: str) -> str:
    """`text` on one line; quoted, with escapes, if anything in it could not be seen or be misread."""
    misread = text != text.strip() or _MISREAD.search(text) or not isinstance(plain_value(text), str)
    if not misread and _is_plain(text):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    shown = "".join(json.dumps(char)[1:-1] if is_hidden(char) else char for char in quoted)
    # What is hidden by its neighbours, such as a heap of accents, is found only in the whole.
    return shown if clean(shown) == shown else json.dumps(text)


def is_hidden(char: str) -> bool:
    """A terminal would obey it, or nobody would see it."""
    return not char.isprintable() or clean(char) != char


def _is_plain(text: str) -> bool:
    return not any(map(is_hidden, text)) and clean(text) == text


def _lines(value: Any, indent: str = "") -> Iterator[str]:
    """JSON-able data as lines of YAML's kind, mappings by key: for people, never read back."""
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from _entry(f"{indent}{visible(key)}:", value[key], indent)
    elif isinstance(value, list) and value:
        for item in value:
            yield from _entry(f"{indent}-", item, indent)
    else:
        yield indent + _scalar(value)


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield head
        yield from _lines(value, f"{indent}  ")
    elif isinstance(value, str) and "\n" in value and _is_plain(value.translate(_BLOCK)):
        yield f"{head} |"
        yield from (f"{indent}  {line}" for line in value.split("\n"))
    else:
        yield f"{head} {_scalar(value)}"


_BLOCK = str.maketrans("\n\t", "  ")


def _scalar(value: Any) -> str:
    return visible(value) if isinstance(value, str) else json.dumps(value)
