"""HTML as text: title, headings, paragraphs, lists and links; scripts and styles are dropped.

Reads as browsers do, only forward, so that hostile pages cost no more than others. The standard library's
`html.parser` takes 90 s for 100 kB of `<a ` (Python 3.11).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from html import unescape
from urllib.parse import urldefrag, urljoin

from meshclaw.frozen import dataclass

LINKS = 200
"""More of one page are not listed."""
LINK_LENGTH = 500
ATTRIBUTES = 100
"""More of one tag are not kept."""

_NAME = re.compile(r"[a-zA-Z][^\s/>]*")
_BETWEEN = re.compile(r"[\s/]*")
_ATTRIBUTE_NAME = re.compile(r"=?[^\s/>=]*")
_EQUALS = re.compile(r"\s*=\s*")
_SPACE = re.compile(r"\s*")
_UNQUOTED = re.compile(r"[^\s>]*")
_COMMENT_END = re.compile(r"--!?>")
_SPACES = re.compile(r"[ \t\r\f\n\xa0]+")

_DROPPED = frozenset({"script", "style", "iframe", "noembed", "noframes"})
_RAW_END = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in (*_DROPPED, "title", "textarea")
}
"""What ends an element in which tags mean nothing."""

_BLOCK = re.compile(
    "address|article|aside|blockquote|body|br|caption|dd|details|dialog|div|dl|dt|fieldset|figcaption|figure|"
    "footer|form|h[1-6]|header|hr|legend|li|main|nav|ol|option|p|pre|section|summary|table|tbody|tfoot|thead|"
    "tr|ul"
)
_PARAGRAPH = re.compile("p|h[1-6]|pre|table|ul|ol|blockquote")
_STARTS = {"li": "- ", **{f"h{level}": "#" * level + " " for level in range(1, 7)}}


@dataclass(frozen=True, slots=True)
class Tag:
    """`kind` is "start" or "end"; `name` is in lower case."""

    kind: str
    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)


def html_to_text(page: str, base: str) -> str:
    """What a reader sees of `page`; links are made absolute with `base` and listed at the end."""
    writer = _Writer(base)
    for token in tokens(page):
        if isinstance(token, str):
            writer.text(token)
        elif token.kind == "start":
            writer.start(token)
        else:
            writer.end(token)
    return writer.result()


def tokens(page: str) -> Iterator[Tag | str]:
    """Tags and the text between them, decoded. Of an element in _DROPPED only its tags remain."""
    at = 0
    while at < len(page):
        opening = page.find("<", at)
        if opening < 0:
            opening = len(page)
        if opening > at:
            yield unescape(page[at:opening])
        after = page[opening + 1 : opening + 2]
        if _NAME.match(page, opening + 1):
            tag, at = _tag(page, opening + 1, "start")
            yield tag
            if tag.name in _RAW_END:
                end = _RAW_END[tag.name].search(page, at)
                until = end.start() if end else len(page)
                if tag.name not in _DROPPED:
                    yield unescape(page[at:until])
                at = until
        elif after == "/" and _NAME.match(page, opening + 2):
            tag, at = _tag(page, opening + 2, "end")
            yield tag
        elif page.startswith("<!--", opening):
            closed = _COMMENT_END.search(page, opening + 2)
            at = closed.end() if closed else len(page)
        elif after in ("!", "?", "/"):
            closing = page.find(">", opening)
            at = closing + 1 if closing >= 0 else len(page)
        elif opening < len(page):
            yield "<"
            at = opening + 1
        else:
            at = opening


def _tag(page: str, at: int, kind: str) -> tuple[Tag, int]:
    """The tag whose name begins at `at`, and where it ends. An unfinished one reaches to the page's end."""
    name = _NAME.match(page, at)
    assert name is not None
    at = name.end()
    attributes: dict[str, str] = {}
    while True:
        at = _end(_BETWEEN, page, at)
        if at >= len(page):
            break
        if page[at] == ">":
            at += 1
            break
        key_end = _end(_ATTRIBUTE_NAME, page, at)
        key, at = page[at:key_end].lower(), key_end
        value = ""
        equals = _EQUALS.match(page, at) if page[at : at + 1] != ">" else None
        if equals:
            value, at = _value(page, equals.end())
        elif page[at : at + 1].isspace():
            at = _end(_SPACE, page, at)
        if len(attributes) < ATTRIBUTES:
            attributes.setdefault(key, value)
    return Tag(kind, name.group().lower(), attributes), at


def _value(page: str, at: int) -> tuple[str, int]:
    quote = page[at : at + 1]
    if quote in ('"', "'"):
        closing = page.find(quote, at + 1)
        if closing < 0:
            return "", len(page)
        return unescape(page[at + 1 : closing]), closing + 1
    end = _end(_UNQUOTED, page, at)
    return unescape(page[at:end]), end


def _end(pattern: re.Pattern[str], page: str, at: int) -> int:
    found = pattern.match(page, at)
    return found.end() if found else at


class _Writer:
    """Gathers text with one space where a page has any, and new lines where blocks begin and end."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._parts: list[str] = []
        self._title: str | None = None
        self._in_title = False
        self._preformatted = 0
        self._links: dict[str, str] = {}
        self._seen: set[str] = set()
        self._link: tuple[str, int] | None = None

    def text(self, text: str) -> None:
        if self._in_title:
            self._title = _SPACES.sub(" ", text).strip() if self._title is None else self._title
        elif self._preformatted:
            self._add(text)
        else:
            text = _SPACES.sub(" ", text)
            fresh = not self._parts or self._parts[-1][-1] in " \t\n"
            self._add(text.lstrip(" ") if fresh else text)

    def start(self, tag: Tag) -> None:
        if tag.name == "title":
            self._in_title = True
        elif tag.name == "a" and "href" in tag.attributes:
            self._end_link()
            self._link = (tag.attributes["href"], len(self._parts))
        elif tag.name == "img" and tag.attributes.get("alt"):
            self.text(f"[{tag.attributes['alt']}]")
        elif tag.name in ("td", "th"):
            self._add("\t")
        self._block(tag.name)
        self._add(_STARTS.get(tag.name, ""))
        self._preformatted += tag.name == "pre"

    def end(self, tag: Tag) -> None:
        if tag.name == "title":
            self._in_title = False
        elif tag.name == "a":
            self._end_link()
        elif tag.name == "pre":
            self._preformatted = max(self._preformatted - 1, 0)
        self._block(tag.name)

    def result(self) -> str:
        self._end_link()
        lines = [line.rstrip() for line in "".join(self._parts).replace("\r", "").split("\n")]
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
        title = f"Title: {self._title}" if self._title else ""
        listed = [f"- {words or 'link'}: {url}" for url, words in self._links.items()]
        links = "\n".join(["Links:", *listed]) if listed else ""
        return "\n\n".join(filter(None, (title, text, links))) + "\n"

    def _block(self, name: str) -> None:
        if _PARAGRAPH.fullmatch(name):
            self._add("\n\n")
        elif _BLOCK.fullmatch(name):
            self._add("\n")

    def _add(self, text: str) -> None:
        if text:
            self._parts.append(text)

    def _end_link(self) -> None:
        if self._link is None:
            return
        href, start = self._link
        self._link = None
        if len(self._seen) >= LINKS or href in self._seen or len(href) > LINK_LENGTH:
            return
        self._seen.add(href)
        try:
            url = urldefrag(urljoin(self._base, href)).url
        except ValueError:
            return
        if url.startswith(("http://", "https://")) and url != urldefrag(self._base).url:
            words = _SPACES.sub(" ", "".join(self._parts[start:])).strip()
            self._links.setdefault(url, words[:LINK_LENGTH])
