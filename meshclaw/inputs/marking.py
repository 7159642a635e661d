"""How an input stands in a prompt."""

from __future__ import annotations

import re

from meshclaw.inputs.gathering import Gathered

_MARK = re.compile(r"<(?=[^\w<>]{0,40}input\b)", re.IGNORECASE)
"""What could be read as a mark's beginning or end, whatever stands between its characters."""


def wrap(one: Gathered) -> str:
    """An input as it stands in a prompt: marked off as material, unless it is trusted.

    Nothing inside can end the mark: a closing tag in the text loses its meaning.
    """
    text = f"{one.text}\n" if one.text and not one.text.endswith("\n") else one.text
    if one.cut:
        # The note stands where the cut is.
        note = f"[the {one.cut} was cut off here: the whole is longer]\n"
        text = f"{note}{text}" if one.cut == "beginning" else f"{text}{note}"
    return text.rstrip("\n") if one.trusted else fence(one.name, text)


def fence(name: str, text: str) -> str:
    """`text` marked off as material, which `name` (letters, digits, `_`, `-`) calls; see `wrap`."""
    inert = _MARK.sub("<\u200a", text)
    ending = "" if not text or text.endswith("\n") else "\n"
    return f'<input name="{name}">\n{inert}{ending}</input>'
