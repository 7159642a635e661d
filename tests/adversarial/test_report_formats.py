"""Names that attack whoever opens a report: formulas, scripts, markup. Each is in the ledger, as it is.

The control of each is a report that was put together without care: there it does its work.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import re
from base64 import b64encode
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from cli_terminal import Cli
from hostile_text import ALL_TERMINAL, FORMULAS, HTML, MARKDOWN, TERMINAL, obeyed
from ledger_entries import call, reserve, run_end
from markdown_it import MarkdownIt

from meshclaw.ledger.file import FileLedger
from meshclaw.terminal_text import clean

EVERY = {**FORMULAS, **HTML, **MARKDOWN, **TERMINAL}
STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class Books:
    """A ledger in which a task, a model and a project bear a hostile name."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        self.path = cli.project / "ledger.jsonl"

    def report(self, name: str, style: str) -> str:
        model = f"acme/{name}"
        entries = [
            reserve("a/1.1.0", model=model),
            call("a/1.1.0", model=model),
            run_end("a", task=name, model=model, project=f"/home/me/{name.replace('/', ' ')}"),
        ]
        self.path.unlink(missing_ok=True)
        asyncio.run(self._write(entries))
        assert json.dumps(name, ensure_ascii=False)[1:-1].encode() in self.path.read_bytes()
        code, out, err = self.cli(
            *("--ledger", str(self.path), "report", "--by", "task,model,project", "--format", style)
        )
        assert (code, err) == (0, "")
        return out

    async def _write(self, entries: list[object]) -> None:
        async with FileLedger(self.path) as ledger:
            await ledger.append(*entries)  # type: ignore[arg-type]


@pytest.fixture
def books(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Books:
    return Books(Cli(capsys, tmp_path))


def formulas(text: str) -> list[str]:
    """Cells that a spreadsheet would calculate, whatever separator it expects."""
    found = []
    for separator in ",;\t|":
        for line in csv.reader(StringIO(text, newline=""), delimiter=separator):
            found += [cell for cell in line if cell.startswith((*STARTS, "\t", "\r"))]
            found += [cell for cell in line if cell.strip().startswith(STARTS) and not _number(cell)]
    return found


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", EVERY)
def test_no_cell_of_csv_is_calculated_and_numbers_stay_numbers(books: Books, name: str) -> None:
    text = EVERY[name]
    shown = books.report(text, "csv")
    assert formulas(shown) == []
    assert obeyed(shown) == []
    (row,) = csv.DictReader(StringIO(shown, newline=""))
    assert row["task"].replace("'", "") == clean(text).replace("'", "")
    assert [row[key] for key in ("runs", "calls", "input", "cost_usd")] == ["1", "1", "1000", "0.001234567"]
    if name in FORMULAS:
        assert formulas(f"a,{text},1\n"), "the control"


class Page(HTMLParser):
    """Collects what in a page is not its own, and its text."""

    ELEMENTS = {
        *(
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "main",
            "h1",
            "p",
            "section",
            "div",
            "svg",
            "rect",
        ),
        *("dl", "dt", "dd", "ul", "li", "table", "thead", "tbody", "tfoot", "tr", "th", "td"),
    }
    ATTRIBUTES = {
        *("lang", "charset", "http-equiv", "content", "name", "class", "scope", "title", "aria-label"),
        *("aria-hidden", "viewbox", "preserveaspectratio", "x", "width", "height"),
    }

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.foreign: list[str] = []
        self.cells: list[str] = []
        self.titles: list[str] = []
        self.style = ""
        self.policy = ""
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        given = dict(attrs)
        self.foreign += [tag] * (tag not in self.ELEMENTS)
        self.foreign += [name for name in given if name not in self.ATTRIBUTES]
        if tag == "meta" and "http-equiv" in given:
            self.foreign += [str(given["http-equiv"])] * (given["http-equiv"] != "Content-Security-Policy")
            self.policy = str(given["content"])
        if tag == "td":
            self.cells.append("")
            self.titles.append(given.get("title") or "")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "td" and self.cells:
            self.cells[-1] += data
        if self._open == "style":
            self.style += data

    def handle_comment(self, data: str) -> None:
        self.foreign.append(data)

    def unknown_decl(self, data: str) -> None:
        self.foreign.append(data)


@pytest.mark.parametrize("name", EVERY)
def test_a_page_holds_nothing_but_its_own_and_says_all(books: Books, name: str) -> None:
    text = EVERY[name]
    shown = books.report(text, "html")
    assert obeyed(shown) == []
    page = Page(shown)
    assert page.foreign == []
    said = clean(text, multiline=False)
    assert page.cells[0] == said
    assert page.titles[1] == f"acme/{said}"
    digest = b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert page.policy.split("; ") == [
        *("default-src 'none'", f"style-src 'sha256-{digest}'", "base-uri 'none'", "form-action 'none'")
    ]
    assert not re.search(r"url\(|@import|http", page.style)
    if name in HTML:
        careless = f"<td>{text}</td>", f'<td title="{text}">', f"<td title='{text}'>", f"<!-- {text} -->"
        assert any(Page(one).foreign for one in careless), "the control"


def rendered(text: str) -> tuple[list[str], list[list[str]]]:
    """What of Markdown is more than text, and the table's cells."""
    foreign: list[str] = []
    rows: list[list[str]] = []
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            children = token.children or []
            if rows:
                said = "".join(child.content for child in children if child.type != "html_inline")
                rows[-1].append(said)
            for child in children:
                own = child.type in ("text", "code_inline", "strong_open", "strong_close")
                own = own or (child.type == "html_inline" and child.content in ("<code>", "</code>"))
                foreign += [] if own else [child.content or child.type]
        elif token.type.rpartition("_")[0] not in ("table", "thead", "tbody", "tr", "th", "td"):
            foreign.append(token.type)
    return foreign, rows


@pytest.mark.parametrize("name", EVERY)
def test_markdown_stays_one_table_of_text(books: Books, name: str) -> None:
    text = EVERY[name]
    shown = books.report(text, "md")
    assert obeyed(shown) == []
    foreign, rows = rendered(shown)
    assert foreign == []
    assert [len(row) for row in rows] == [13, 13, 13]
    said = " ".join(clean(text, multiline=False).replace("\t", " ").split())
    assert " ".join(rows[1][0].split()) == said
    outside = re.sub(r"`[^`\n]*`", "", shown)
    assert not re.search(r"://|www\.|@\w|#\d+ ", outside.replace("&#", "&"))
    if name in MARKDOWN:
        loose, cells = rendered(f"| a | b |\n| --- | --- |\n| {text} | 1 |\n")
        plain = re.search(r"://|@\w", text)
        assert loose or plain or [len(row) for row in cells] != [2, 2] or cells[1][0] != text, "the control"


def test_a_secret_in_a_name_is_in_no_format(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    secret = "kX7.pQ+zT~vN4w,Lm9=rB5"
    for known in (False, True):
        cli = Cli(capsys, tmp_path, {"SOME_TOKEN": secret} if known else {})
        for style in ("table", "json", "csv", "md", "html"):
            assert (secret in Books(cli).report(secret, style)) is not known, style


def test_the_beginning_of_a_private_key_hides_no_other_row(books: Books) -> None:
    for style in ("table", "json", "csv", "md", "html"):
        shown = books.report("-----BEGIN PRIVATE KEY-----", style)
        assert "acme" in shown
        assert "0.0012" in shown.rpartition("acme")[2]


def test_json_has_no_byte_that_a_terminal_obeys(books: Books) -> None:
    shown = books.report(ALL_TERMINAL, "json")
    assert shown.isascii()
    assert json.loads(shown)["rows"][0]["task"] == ALL_TERMINAL
