"""`{{ name }}` lookup, and nothing else: no expressions, no filters, no second expansion.

`{{ "{{" }}` gives two literal braces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from meshclaw.frozen import dataclass

_OPEN = re.compile(r"\{\{")
_NAME = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_BRACES = re.compile(r"""\{\{\s*(['"])\{\{\1\s*\}\}""")


class TemplateError(ValueError):
    """A `{{` that is not a lookup; `offset` is its place in the text, in characters."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Lookup:
    """One `{{ name }}` and its place in the text, in characters."""

    name: str
    offset: int


def lookups(text: str) -> list[Lookup]:
    """All lookups of `text`, in their order. Raises TemplateError for anything else in double braces."""
    found: list[Lookup] = []
    place = 0
    while match := _OPEN.search(text, place):
        if braces := _BRACES.match(text, match.start()):
            place = braces.end()
        elif name := _NAME.match(text, match.start()):
            found.append(Lookup(name[1], match.start()))
            place = name.end()
        else:
            shown = text[match.start() : match.start() + 30].split("\n")[0]
            raise TemplateError(f"'{shown}' is not a lookup: only '{{{{ name }}}}' is", match.start())
    return found


def render(text: str, values: Mapping[str, str]) -> str:
    """`text` with every lookup replaced. What is put in is not looked at again.

    Raises TemplateError for a name without a value.
    """
    pieces: list[str] = []
    place = 0
    while match := _OPEN.search(text, place):
        pieces.append(text[place : match.start()])
        if braces := _BRACES.match(text, match.start()):
            pieces.append("{{")
            place = braces.end()
            continue
        name = _NAME.match(text, match.start())
        if name is None or name[1] not in values:
            raise TemplateError(f"nothing is known for '{name[1] if name else '{{'}'", match.start())
        pieces.append(values[name[1]])
        place = name.end()
    return "".join([*pieces, text[place:]])
