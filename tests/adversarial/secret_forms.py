"""How a secret may be spelled, written independently of the code that looks for it."""

from __future__ import annotations

import base64
import html
import json
import textwrap
from collections.abc import Callable
from urllib.parse import quote, quote_plus


def _base64(offset: int, encode: Callable[[bytes], bytes] = base64.b64encode) -> Callable[[str], str]:
    return lambda text: encode(b"~?>"[:offset] + text.encode() + b"!?").decode()


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "xxd -p": lambda text: "\n".join(textwrap.wrap(text.encode().hex(), 60)),
    **{f"base64 at {offset}": _base64(offset) for offset in range(3)},
    **{f"base64url at {offset}": _base64(offset, base64.urlsafe_b64encode) for offset in range(3)},
    "base64, 76 columns": lambda text: base64.encodebytes(b"user:" + text.encode() * 3).decode(),
    "base64, in JSON": lambda text: json.dumps(base64.encodebytes(b"u:" + text.encode() * 2).decode()),
    "URL": lambda text: quote(text, safe=""),
    "URL, lower case": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "URL, mixed": lambda text: quote(text[:5], safe="") + "".join(f"%{ord(c):02X}" for c in text[5:]),
    "form": quote_plus,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON, all": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "JSON, for HTML": lambda text: "".join(c if c.isalnum() else f"\\u{ord(c):04X}" for c in text),
    "HTML": lambda text: html.escape(text),
    "HTML, numbers": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "HTML, hex": lambda text: "".join(f"&#x{ord(char):x};" for char in text),
    "C": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    "wrapped": lambda text: "\n".join(textwrap.wrap(text, 20, break_on_hyphens=False)),
    "wrapped, indented": lambda text: "\r\n    ".join(textwrap.wrap(text, 9, break_on_hyphens=False)),
}


def residue(form: str, secret: str) -> str:
    """What must not be left of a secret in this form: its middle, where no neighbour has a part of it."""
    spelled = FORMS[form](secret)
    return spelled[len(spelled) // 4 : -(len(spelled) // 4)]


def spellings(secret: str) -> list[str]:
    """The needles to look for in anything that must not hold the secret, in whatever form."""
    return [secret, *(residue(form, secret) for form in FORMS)]
