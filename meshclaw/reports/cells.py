"""One funnel for each format: text that others wrote, so that it stays text there."""

from __future__ import annotations

import html
import re

from meshclaw.terminal_text import clean

_FORMULA = re.compile(r"(\A|[;,|\t\n\"])(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""Where a cell begins, or would begin in a spreadsheet that expects another separator."""
_FIRST = re.compile(r"\A(?=[\t\n])")
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")


def csv_cell(text: str) -> str:
    """`text` that no spreadsheet takes for a formula: a quote stands before what begins like one."""
    text = clean(text)
    return _FIRST.sub("'", _FORMULA.sub(r"\1'", text)) if text else text


def html_text(text: str) -> str:
    """`text` on one line, for an element's content or an attribute in quotes."""
    return html.escape(clean(text, multiline=False))


def markdown_cell(text: str) -> str:
    """`text` as code in a table's cell: no markup, no link, nobody mentioned.

    Where it holds what ends code or a cell, entities stand for all of its punctuation.
    """
    text = clean(text, multiline=False).replace("\t", " ").strip()
    if not text:
        return ""
    if not any(mark in text for mark in "`|\\"):
        return f"`{text}`"
    return f"<code>{_PUNCTUATION.sub(lambda found: f'&#{ord(found[0])};', text)}</code>"
