"""The Redactor: known secrets in all their forms, and what looks like a vendor's key."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from meshclaw.redaction.decoded import Origins, decode
from meshclaw.redaction.spans import Span, masked, merged, occurrences, replaced
from meshclaw.redaction.vendors import find_private_keys, find_tokens

if TYPE_CHECKING:
    from meshclaw.redaction.stream import RedactedStream

SHORTEST_SECRET = 8
"""A shorter value is not treated as a secret: it would be found everywhere."""
_SHORTEST_LINE = 32
"""A line of a secret of several lines is a secret itself from this length on."""
_WORD = 64
"""The longest text that is remembered as clean: names of fields, models, tools come again and again."""
_MOST_WORDS = 10_000
_PLAIN = frozenset({int, bool, float, type(None)})
"""Most values that are no text: nothing to look for, and told apart without going through all kinds."""


class Redactor:
    """Replaces secrets by `[redacted]`. Idempotent; text without secrets stays as it is."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets: tuple[str, ...] = tuple(
            sorted({part for secret in secrets for part in _parts(secret)}, key=len, reverse=True)
        )
        """What is looked for in text as it stands, longest first."""
        forms = {form for secret in self.secrets for form in _forms(secret)}
        self.forms: tuple[str, ...] = tuple(sorted(forms, key=len, reverse=True))
        """What is looked for in decoded text, longest first."""
        self._clean: set[str] = set()

    def text(self, text: str) -> str:
        """`text` without secrets."""
        if len(text) < SHORTEST_SECRET or text in self._clean:
            return text
        spans = self.spans(text)
        if not spans and len(text) <= _WORD and len(self._clean) < _MOST_WORDS:
            self._clean.add(text)
        return replaced(text, spans)

    def known(self, text: str) -> str:
        """`text` without known secrets: what only looks like a key stays, so that nobody hides in it."""
        return text if text in self._clean else replaced(text, self.known_spans(text))

    def words(self, text: str) -> str:
        """`text` without known secrets and keys of one word.

        For text that is put together from parts: the beginning of a private key in one of them must not
        take out the others.
        """
        return replaced(text, self.spans(text, blocks=False))

    def data(self, value: Any) -> Any:
        """Plain data with every string in it redacted, keys included."""
        return self._walk(value, self.text)

    def known_data(self, value: Any) -> Any:
        """As `data`, but only known secrets."""
        return self._walk(value, self.known)

    def _walk(self, value: Any, redact: Callable[[str], str]) -> Any:
        kind = type(value)
        if kind is str:
            return redact(value)
        if kind in _PLAIN:
            return value
        clean = self._clean

        def walk(value: Any) -> Any:
            kind = type(value)
            if kind is str:
                return value if len(value) < SHORTEST_SECRET or value in clean else redact(value)
            if kind in _PLAIN:
                return value
            if kind is dict or isinstance(value, Mapping):
                # Without a call for most keys and values: each event of each run comes through here.
                return {
                    key if key in clean else walk(key): item if type(item) in _PLAIN else walk(item)
                    for key, item in value.items()
                }
            if isinstance(value, list | tuple):
                return [walk(item) for item in value]
            return redact(value) if isinstance(value, str) else value

        return walk(value)

    def bytes(self, data: bytes) -> bytes:
        """A file's content without secrets, whatever its encoding; all else stays as it is."""
        return self.text(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def stream(self) -> RedactedStream:
        """A filter for text that arrives in pieces."""
        from meshclaw.redaction.stream import RedactedStream

        return RedactedStream(self)

    def spans(self, text: str, *, blocks: bool = True) -> list[Span]:
        """Where secrets stand, in order and apart; `blocks` are private keys."""
        found = more = self.known_spans(text)
        rest = text
        while True:
            # Keys are looked for where nothing was found yet: one may end where another begins.
            rest = masked(rest, more)
            more = list(find_tokens(rest))
            if blocks:
                more += [key.span() for key in find_private_keys(rest)]
            if not more:
                return merged(found)
            more = merged(more)
            found = [*found, *more]

    def known_spans(self, text: str) -> list[Span]:
        """Where known secrets stand, in order and apart."""
        if not self.secrets:
            return []
        found = occurrences(text, self.secrets)
        inside = occurrences(decode(text), self.forms)
        if inside:
            origins = Origins(text)
            found += [origins.span(*span) for span in inside]
        return merged(found)


def _parts(secret: str) -> Iterator[str]:
    if len(secret) >= SHORTEST_SECRET:
        yield secret
    lines = secret.splitlines()
    if len(lines) > 1:
        yield from (line for line in map(str.strip, lines) if len(line) >= _SHORTEST_LINE)


def _forms(secret: str) -> set[str]:
    data = secret.encode("utf-8", "surrogateescape")
    forms = {secret, decode(secret), data.hex(), data.hex().upper()}
    if not secret.isascii():
        # URLs escape the bytes of UTF-8, JSON the units of UTF-16.
        units = secret.encode("utf-16-le", "surrogatepass")
        pairs = [int.from_bytes(units[at : at + 2], "little") for at in range(0, len(units), 2)]
        forms |= {data.decode("latin-1"), "".join(map(chr, pairs))}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            # Characters at both ends also hold bits of what stands beside the secret: leave them out.
            encoded = encode(b"\0" * offset + data).decode().rstrip("=")
            start = (offset * 8 + 5) // 6
            end = len(encoded) if (offset + len(data)) % 3 == 0 else len(encoded) - 1
            forms.add(encoded[start:end])
    return {form for form in forms if len(form) >= SHORTEST_SECRET}
