"""Keeps secrets out of history, files and screens.

Known secrets are found as they are and as base64 (at each of the three offsets), hexadecimal, URL and
JSON escapes; besides them, what looks like a vendor's key is taken out too.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

REDACTED = "[redacted]"
SHORTEST_SECRET = 8
"""A shorter value is not treated as a secret: it would be found everywhere."""
LONGEST_PATTERN = 4_096
"""Characters that a stream holds back at most, waiting for the end of what could be a key."""

_VENDOR_KEYS = re.compile(
    r"sk-ant-[A-Za-z0-9_-]{16,}"
    r"|\bsk-(?=[\w-]*[0-9])(?=[\w-]*[A-Z]|[\w-]{40})[A-Za-z0-9_-]{20,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}"
    r"|\bgithub_pat_[A-Za-z0-9_]{30,}"
    r"|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\bxox[abposr]-[A-Za-z0-9-]{10,}"
    r"|\bAIza[0-9A-Za-z_-]{35}"
    r"|\bhf_[A-Za-z0-9]{30,}"
    r"|\bnpm_[A-Za-z0-9]{36}"
    r"|\bpypi-[A-Za-z0-9_-]{50,}"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/-]{20,}=*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_OPEN_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?!.*-----END )", re.DOTALL)


class Redactor:
    """Replaces secrets by `[redacted]`. Idempotent; text without secrets stays as it is."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        for secret in secrets:
            if len(secret) >= SHORTEST_SECRET:
                forms |= _forms(secret)
        self._longest = max(map(len, forms), default=0)
        ordered = sorted(forms, key=len, reverse=True)
        self.known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """`text` without secrets."""
        if self.known is not None:
            text = self.known.sub(REDACTED, text)
        return _VENDOR_KEYS.sub(REDACTED, text)

    def data(self, value: Any) -> Any:
        """Plain data with every string in it redacted, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.data(key): self.data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        return value

    def stream(self) -> RedactedStream:
        """A filter for text that arrives in pieces."""
        return RedactedStream(self, self._longest)


class RedactedStream:
    """Redacts text in pieces: what could be the start of a secret is held back until it is decided.

    All pieces given out, joined, are the redacted text.
    """

    def __init__(self, redactor: Redactor, longest: int) -> None:
        self._redactor = redactor
        self._longest = longest
        self._held = ""

    def feed(self, delta: str) -> str:
        """What can be shown now."""
        self._held += delta
        cut = self._decided()
        ready, self._held = self._held[:cut], self._held[cut:]
        return self._redactor.text(ready)

    def close(self) -> str:
        """The rest."""
        ready, self._held = self._held, ""
        return self._redactor.text(ready)

    def _decided(self) -> int:
        """Up to where nothing that follows can change what is a secret.

        That is the beginning of a word, so that no key is cut; not behind `Bearer `, which says that a
        word is a key; and so far from the end that no known secret can have begun before.
        """
        held = self._held
        if private := _OPEN_PRIVATE_KEY.search(held):
            return private.start() if len(held) - private.start() < LONGEST_PATTERN else len(held)
        cut = len(held) - self._longest
        dashes = held.rfind("-----BEGIN")
        if dashes >= 0 and "KEY-----" not in held[dashes:]:
            cut = min(cut, dashes)
        before = None
        while cut != before and cut > 0:
            before = cut
            cut = self._word_start(cut)
            if cut <= 0:
                break
            for secret in self._secrets(held):
                if secret.start() < cut < secret.end():
                    cut = secret.start()
        longest = max(LONGEST_PATTERN, self._longest)
        return max(cut, len(held) - 2 * longest, 0)

    def _word_start(self, place: int) -> int:
        held = self._held
        place = max(held.rfind(space, 0, place) for space in " \n\t\r") + 1
        return place - len("Bearer ") if held[:place].endswith(("Bearer ", "bearer ")) else place

    def _secrets(self, text: str) -> list[re.Match[str]]:
        known = self._redactor.known
        return [*_VENDOR_KEYS.finditer(text), *(known.finditer(text) if known is not None else ())]


def _forms(secret: str) -> set[str]:
    data = secret.encode()
    forms = {
        secret,
        data.hex(),
        data.hex().upper(),
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
    }
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            # Characters at both ends also hold bits of what stands beside the secret: leave them out.
            encoded = encode(b"\0" * offset + data).decode().rstrip("=")
            start = (offset * 8 + 5) // 6
            end = len(encoded) if (offset + len(data)) % 3 == 0 else len(encoded) - 1
            forms.add(encoded[start:end])
    return {form for form in forms if len(form) >= SHORTEST_SECRET}
