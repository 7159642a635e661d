"""HTML as text: what a reader sees, at a cost that hostile pages cannot raise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshclaw.tools.html_text import LINKS, Tag, html_to_text, tokens

BASE = "https://page.example/docs/index.html"


def shown(page: str) -> str:
    return html_to_text(page, BASE).removesuffix("\n")


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("plain", "plain"),
        ("a &lt;b&gt; &amp;amp; &#x41;&nbsp;c", "a <b> &amp; A c"),
        ("<title>\n One &amp; two </title>text", "Title: One & two\n\ntext"),
        ("<title>one</title><title>two</title>", "Title: one"),
        ("<p>one\n two<p>three <b>four</b>\t<i> five</i>", "one two\n\nthree four five"),
        ("<h1>A</h1><h3>B</h3>c", "# A\n\n### B\n\nc"),
        ("<ul><li>a<li>b</ul>c", "- a\n- b\n\nc"),
        ("a<br>b<br/>c<hr>d", "a\nb\nc\nd"),
        ("a<pre>\n  b\n    c\n</pre>d", "a\n\n  b\n    c\n\nd"),
        ("<table><tr><td>a<td>b<tr><th>c</table>", "\ta\tb\n\tc"),
        ('<img alt="a map" src=x> <img src=x>', "[a map]"),
        ("1 < 2 <3> a<", "1 < 2 <3> a<"),
        ("<textarea><b>x</textarea>y", "<b>xy"),
        ("", ""),
        # What is not shown.
        ("a<script>b<p>c</SCRIPT >d", "ad"),
        ("a<script>b</scripty>c", "a"),
        ("a<style>b</style>c<iframe>d</iframe>e<noframes>f</noframes>g", "aceg"),
        ("a<script src='</script>'>b</script>c", "ac"),
        ("a<!-- <b>c</b> -->d<!-->e<!--->f<!-- g --!>h<!-- i", "adefh"),
        ("a<!doctype html>b<?xml?>c<![CDATA[d]]>e</>f</ x>g", "abcefg"),
        ("a<b c='>'>d<e f=\">g", "ad"),
        ("a<b", "a"),
    ],
)
def test_what_a_reader_sees(page: str, text: str) -> None:
    assert shown(page) == text


def test_links_are_listed_once_and_absolute() -> None:
    page = (
        '<a href="/a?b=1&amp;c=2">one <b>two</b></a> <a href=other#part>three</a> <a href=other>again</a> '
        '<a href="#here">here</a> <a href="javascript:x()">bad</a> <a href="http://[bad">bad</a> '
        '<a href="https://other.example"></a><a name=x>none</a>'
    )
    assert shown(page).partition("\n\nLinks:\n")[2].split("\n") == [
        "- one two: https://page.example/a?b=1&c=2",
        "- three: https://page.example/docs/other",
        "- link: https://other.example",
    ]


def test_links_are_bounded() -> None:
    page = (
        "".join(f"<a href=/{number}>x</a>" for number in range(LINKS + 50)) + f"<a href=/{'y' * 999}>y</a>"
    )
    assert shown(page).count("https://page.example/") == LINKS


def test_tags() -> None:
    page = "<A B=c d='e f' g = \"h\" i/><x =y B=1 b=2></x z><br/>"
    assert list(tokens(page)) == [
        Tag("start", "a", {"b": "c", "d": "e f", "g": "h", "i": ""}),
        Tag("start", "x", {"=y": "", "b": "1"}),
        Tag("end", "x", {"z": ""}),
        Tag("start", "br"),
    ]


@given(st.text(st.sampled_from("<>/!-?='\" \n&;abps#"), max_size=60))
def test_any_text_is_a_page(page: str) -> None:
    text = html_to_text(page, BASE)
    assert text.endswith("\n")
    if not set(page) & set("<&"):
        assert text.split() == page.split()


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "<!-- ",
            "<a ",
            "<",
            "<!",
            "<![",
            "<?",
            "</",
            "</a ",
            "<a x='",
            "<a =",
            "<a/",
            "a=b ",
            "<a\n",
            "<a b=\n",
        ),
        *(
            "<script>",
            "<script></",
            "<script></scrip",
            "<title>",
            "</title>",
            "<a href=x>",
            "<a href='x'>y",
        ),
        *("&", "&#1", "<p>", "<pre>", "<td>", " \n"),
    ],
    ids=ascii,
)
def test_hostile_pages_end(piece: str) -> None:
    """At a quadratic cost, half a megabyte would take hours."""
    for start in ("", "<a ", "<script>", '<a x="'):
        html_to_text(start + piece * (500_000 // len(piece)), BASE)
