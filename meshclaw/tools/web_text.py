"""What a server sent, as text: by its content type and charset, HTML reduced to what a reader sees."""

from __future__ import annotations

import codecs
import re

from meshclaw.tools.html_text import html_to_text

SNIFFED = 1_024
"""Bytes at a page's start in which HTML may name its charset."""

_TEXT = re.compile(
    r"text/.*|application/(?:(?:.*\+)?(?:json|xml|yaml)|x-yaml|toml|javascript|x-ndjson|jsonl)|image/svg\+xml"
)
_HTML = frozenset({"text/html", "application/xhtml+xml"})
_CHARSET = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_CHARSETS = re.compile(
    r"utf-8|utf-16(-[lb]e)?|utf-32(-[lb]e)?|ascii|iso8859-\d+|cp(437|8\d\d|932|949|950|125\d)|koi8-[ru]|mac-roman|"
    r"tis-620|gb2312|gbk|gb18030|big5(hkscs)?|euc_(jp|kr)|shift_jis|iso2022_jp|hz"
)
"""As `codecs` names them. Others that it knows, such as punycode, are no charsets of the web."""
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\U000e0000-\U000e007f]")
"""Controls, and tag characters, with which a page can say what no person sees."""


class NotTextError(Exception):
    """What was sent is no text, whatever its content type says."""


def is_text(content_type: str) -> bool:
    """Whether a content type, parameters included, is one of text."""
    return _TEXT.fullmatch(_kind(content_type)) is not None


def text_of(body: bytes, content_type: str, url: str) -> str:
    """Decoded with replacement, in lines that end with a newline. Raises NotTextError."""
    html = _kind(content_type) in _HTML
    text = body.decode(_charset(body, content_type, html=html), "replace").removeprefix("\ufeff")
    if "\0" in text[: 8 * SNIFFED]:
        raise NotTextError("the answer is binary data")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNSEEN.sub("", html_to_text(text, url) if html else text)


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _charset(body: bytes, content_type: str, *, html: bool) -> str:
    """A byte order mark tells best, then the header, then the page; else UTF-8."""
    for mark, charset in _MARKS:
        if body.startswith(mark):
            return charset
    named = _CHARSET.search(content_type)
    if named is None and html:
        named = _CHARSET.search(body[:SNIFFED].decode("ascii", "replace"))
    try:
        charset = codecs.lookup(named.group(1)).name if named else "utf-8"
    except LookupError:
        return "utf-8"
    return charset if _CHARSETS.fullmatch(charset) else "utf-8"
