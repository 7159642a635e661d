"""The one funnel for untrusted text on its way to a person.

A terminal obeys what it is sent: escape sequences can retitle it, write the clipboard (OSC 52), hide
links (OSC 8) or redraw what was said before; bidirectional controls and tag characters show something
else than what is there. None of that passes here.
"""

from __future__ import annotations

import json
import re

_SEQUENCES = re.compile(
    # OSC, DCS, SOS, PM, APC up to their end (ST or BEL), or to the end of the line: one without an end
    # must not hide all that follows.
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\n]*?(?:\x1b\\|\x07|\x9c|(?=\n)|\Z)"
    # CSI: parameters, intermediates, final byte.
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    # Two-character escapes, and a lone ESC.
    r"|\x1b[ -/]*[0-~]?"
)
_INVISIBLE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    "\u00ad\u061c\u180b-\u180f"  # soft hyphen, Arabic letter mark, Mongolian separators
    "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # letters without a shape
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f"  # zero-width, marks, embeddings, isolates
    "\ufe00-\ufe0f"  # variation selectors: sixteen invisible characters can spell anything
    "\ufeff\ufff0-\ufffb\ufffe\uffff"  # byte order mark, interlinear annotations, no characters
    "\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # controls of scripts and scores
    "\ud800-\udfff"  # lone surrogates
    "\U000e0000-\U000e0fff"  # tags and variation selectors that carry hidden text
    "]"
)
_LINES = re.compile("\r\n?|[\u2028\u2029\x85]")
_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_STACKED = re.compile(f"([{_MARKS}]{{4}})[{_MARKS}]+")
"""More marks on one letter than any language has: they grow over the lines above and below."""
NEWLINE_SHOWN = "\u23ce"


def escaped(json_text: str) -> str:
    """JSON text that means the same, with escapes for every character that `clean` takes out.

    A lone surrogate, which has no UTF-8, becomes an escape too.
    """
    return _INVISIBLE.sub(lambda found: json.dumps(found[0])[1:-1], json_text)


def clean(text: str, *, multiline: bool = True) -> str:
    """`text` without anything that a terminal would obey or a reader would not see.

    Tabs and newlines stay; with `multiline=False` a newline is shown as one visible character, so that
    no text can pretend to be two lines. Joined emoji come apart: what joins them also hides text.
    `clean(clean(x)) == clean(x)`.
    """
    text = _LINES.sub("\n", text)
    before = None
    while before != text:
        before = text
        text = _STACKED.sub(r"\1", _INVISIBLE.sub("", _SEQUENCES.sub("", text)))
    return text if multiline else text.replace("\n", NEWLINE_SHOWN)
