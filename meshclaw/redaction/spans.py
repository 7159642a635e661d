"""Parts of a text, and the text without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

REDACTED = "[redacted]"

Span = tuple[int, int]
"""From the first character to behind the last."""


def occurrences(text: str, parts: Iterable[str]) -> list[Span]:
    """Where any of `parts` stands; each part's own do not overlap."""
    return [span for part in parts if part in text for span in _occurrences(text, part)]


def merged(spans: Iterable[Span]) -> list[Span]:
    """In order; those that overlap are one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start < found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def replaced(text: str, spans: Iterable[Span]) -> str:
    """`text` with `[redacted]` for each of `spans`, which are merged."""
    pieces, place = [], 0
    for start, end in spans:
        pieces += [text[place:start], REDACTED]
        place = end
    return "".join([*pieces, text[place:]]) if pieces else text


def masked(text: str, spans: Iterable[Span]) -> str:
    """`text` with something else in place of `spans`, all other characters where they were."""
    pieces, place = [], 0
    for start, end in spans:
        pieces += [text[place:start], "[" * (end - start)]
        place = end
    return "".join([*pieces, text[place:]]) if pieces else text


def _occurrences(text: str, part: str) -> Iterator[Span]:
    place = text.find(part)
    while place >= 0:
        end = place + len(part)
        yield place, end
        place = text.find(part, end)
