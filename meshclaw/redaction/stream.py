"""Redacts text that arrives in pieces."""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

from meshclaw.redaction.decoded import ESCAPES, Origins, decode, without_open_escape
from meshclaw.redaction.redactor import Redactor
from meshclaw.redaction.spans import Span, replaced
from meshclaw.redaction.vendors import find_private_keys

LONGEST_PATTERN = 4_096
"""Characters that a stream waits for the end of what could be a key; a longer one is no key."""

_OPEN_HEADER = re.compile(r"-----BEGIN[A-Z ]*-{0,5}\Z")
_END_OF_PRIVATE_KEY = re.compile(r"-----END [A-Z ]*PRIVATE KEY-----")
_LONGEST_FOOTER = 64
_END_OF_WORD = re.compile(r"(?=[^A-Za-z0-9._~+/=-])")
_WORD = frozenset(string.ascii_letters + string.digits + "._~+/=-") | ESCAPES
"""What keys and escapes are made of: between two other characters no key is cut."""


class RedactedStream:
    """What could be the start of a secret is held back until it is decided.

    All pieces given out, joined, are the redacted text; where more than twice LONGEST_PATTERN
    letters come without a break, a word that only looks like a key may be redacted besides.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""
        self._look = 0
        """How long what is held must be before it is looked at again: so all looks are linear."""
        self._until: re.Pattern[str] | None = None
        """Set inside a secret that was already shown as redacted: where it ends."""

    @cached_property
    def _plain(self) -> _Beginnings:
        return _Beginnings(self._redactor.secrets)

    @cached_property
    def _encoded(self) -> _Beginnings:
        return _Beginnings(self._redactor.forms)

    def feed(self, delta: str) -> str:
        """What can be shown now."""
        self._held += delta
        if len(self._held) < self._look or (self._until is not None and not self._leave(self._until)):
            return ""
        ready = self._take()
        self._look = len(self._held) * 5 // 4
        return ready

    def close(self) -> str:
        """The rest."""
        ready, self._held = self._held, ""
        if self._until is not None:
            end = self._until.search(ready)
            ready = ready[end.end() :] if end else ""
        return self._redactor.text(ready)

    def _take(self) -> str:
        held = self._held
        secrets = self._redactor.spans(held)
        keys = find_private_keys(held)
        if keys and keys[-1]["open"] is not None:
            # No need to wait for its end: all of it is taken out, however long it is.
            self._held = held[max(keys[-1].start(), len(held) - _LONGEST_FOOTER) :]
            self._until = _END_OF_PRIVATE_KEY
            return replaced(held, secrets)
        cut = self._decided(secrets)
        self._held = held[cut:]
        return replaced(held[:cut], [secret for secret in secrets if secret[1] <= cut])

    def _leave(self, until: re.Pattern[str]) -> bool:
        end = until.search(self._held)
        self._held = self._held[end.end() :] if end else self._held[-_LONGEST_FOOTER:]
        self._until = None if end else until
        return end is not None

    def _decided(self, secrets: Sequence[Span]) -> int:
        """Up to where nothing that follows can change what is a secret.

        That is the beginning of a word, so that no key is cut; not behind `Bearer `, which says that a
        word is a key; and where no known secret can have begun before.
        """
        held = self._held
        known = cut = self._undecided_known()
        if header := _OPEN_HEADER.search(held, max(held.rfind("-----BEGIN"), 0)):
            cut = min(cut, header.start())
        cut = _settled(cut, secrets, self._word_start)
        if len(held) - cut <= 2 * LONGEST_PATTERN:
            return cut
        cut = _settled(min(known, len(held) - LONGEST_PATTERN), secrets, self._before_bearer)
        return cut or self._long_secret(len(held) - LONGEST_PATTERN, secrets)

    def _undecided_known(self) -> int:
        """Where the first known secret may begin that the text ends in the middle of; else its end."""
        held = self._held
        whole = without_open_escape(held)
        decoded = decode(held[:whole])
        begin = self._encoded.find(decoded)
        if begin < len(decoded):
            whole = Origins(held[:whole]).start(begin)
        return min(whole, self._plain.find(held))

    def _long_secret(self, place: int, secrets: Sequence[Span]) -> int:
        """One secret takes up nearly all that is held: it is decided up to its end, or to no end yet."""
        end = max((end for start, end in secrets if start < place), default=0)
        if end == len(self._held):
            self._until = _END_OF_WORD
        return end

    def _word_start(self, place: int) -> int:
        held = self._held
        while place > 0 and held[place - 1] in _WORD:
            place -= 1
        return self._before_bearer(place)

    def _before_bearer(self, place: int) -> int:
        said = self._held.endswith(("Bearer ", "bearer "), 0, place)
        return place - len("Bearer ") if said else place


class _Beginnings:
    """Finds where a text may end in the middle of one of `forms`."""

    def __init__(self, forms: Iterable[str]) -> None:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for form in forms:
            found[form[0]].append(form)
        self._by_first: Mapping[str, list[str]] = found
        every = [form for same in found.values() for form in same]
        self._characters = "".join(sorted(set("".join(every))))
        self._longest = max(map(len, every), default=0)

    def find(self, text: str) -> int:
        """The first place from which on `text` is the beginning of a form; its length if nowhere."""
        if not self._longest:
            return len(text)
        # No form goes on over a character that is in none.
        first = max(len(text.rstrip(self._characters)), len(text) - self._longest + 1)
        for place in range(first, len(text)):
            forms = self._by_first.get(text[place])
            if forms and any(form.startswith(text[place:]) for form in forms):
                return place
        return len(text)


def _settled(place: int, secrets: Sequence[Span], back: Callable[[int], int]) -> int:
    """The last place up to `place` that is inside no secret and that `back` leaves where it is."""
    before = None
    while place != before:
        before = place
        place = max(back(_outside(place, secrets)), 0)
    return place


def _outside(place: int, secrets: Sequence[Span]) -> int:
    """The last place up to `place` that is inside no secret."""
    return next((start for start, end in secrets if start < place < end), place)
