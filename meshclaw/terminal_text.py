"""The one funnel for untrusted text on its way to a person.

A terminal obeys what it is sent: escape sequences can retitle it, write the clipboard (OSC 52), hide
links (OSC 8) or redraw what was said before; bidirectional controls and tag characters show something
else than what is there. None of that passes here.
"""

from __future__ import annotations

import re

_SEQUENCES = re.compile(
    # OSC, DCS, SOS, PM, APC up to their end (ST or BEL), or to the end of the text.
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]).*?(?:\x1b\\|\x07|\x9c|\Z)"
    # CSI: parameters, intermediates, final byte.
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    # Two-character escapes, and a lone ESC.
    r"|\x1b[ -/]*[0-~]?",
    re.DOTALL,
)
_INVISIBLE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    "\u00ad\u061c\u180e"  # soft hyphen, Arabic letter mark, Mongolian separator
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f"  # zero-width, marks, embeddings, isolates
    "\ufeff\ufff9-\ufffb"  # byte order mark, interlinear annotations
    "\ud800-\udfff"  # lone surrogates
    "\U000e0000-\U000e0fff"  # tags and variation selectors that carry hidden text
    "]"
)
_LINES = re.compile("\r\n?|[\u2028\u2029\x85]")
NEWLINE_SHOWN = "\u23ce"


def clean(text: str, *, multiline: bool = True) -> str:
    """`text` without anything that a terminal would obey or a reader would not see.

    Tabs and newlines stay; with `multiline=False` a newline is shown as one visible character, so that
    no text can pretend to be two lines. `clean(clean(x)) == clean(x)`.
    """
    text = _LINES.sub("\n", text)
    before = None
    while before != text:
        before = text
        text = _INVISIBLE.sub("", _SEQUENCES.sub("", text))
    return text if multiline else text.replace("\n", NEWLINE_SHOWN)
