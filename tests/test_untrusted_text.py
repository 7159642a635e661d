"""What is shown to a person and what is kept: no escape sequences, no hidden text, no secrets."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshclaw.redaction import REDACTED, Redactor
from meshclaw.terminal_text import clean

OBEYED = {
    "colour": ("\x1b[31mred\x1b[0m", "red"),
    "title": ("a\x1b]0;owned\x07b", "ab"),
    "clipboard": ("a\x1b]52;c;ZXZpbA==\x1b\\b", "ab"),
    "link": ("\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\", "text"),
    "device control": ("a\x1bPq#0;2\x1b\\b", "ab"),
    "eight-bit CSI": ("a\x9b2Jb", "ab"),
    "eight-bit OSC": ("a\x9d0;x\x9cb", "ab"),
    "unended OSC": ("a\x1b]52;c;rest", "a"),
    "unended OSC hides no further line": ("a\x1b]0;x\nb\x07", "a\nb"),
    "bell and backspace": ("a\x07\x08b", "ab"),
    "carriage return": ("safe\rEVIL", "safe\nEVIL"),
    "bidi": ("a\u202eb\u2066c\u2069", "abc"),
    "zero width": ("a\u200bb\u200dc\ufeff", "abc"),
    "tags": ("a\U000e0041\U000e007f", "a"),
    "variation selectors": ("a\ufe00\ufe0fb\U000e0100", "ab"),
    "letters without a shape": ("a\u3164\u115f\uffa0b", "ab"),
    "surrogate": ("a\ud800b", "ab"),
    "line separator": ("a\u2028b\u2029c", "a\nb\nc"),
    "nested": ("\x1b\x1b[31m[32mx", "x"),
}
KEPT = [
    "plain text",
    "tab\tand\nnewline",
    "größer, naïve, Здравствуй, 日本語, עברית",
    "✓ → ⏎ ■ ½",
    "a[31m is just text",
]


@pytest.mark.parametrize("name", OBEYED)
def test_what_a_terminal_would_obey_or_a_reader_not_see_is_gone(name: str) -> None:
    text, shown = OBEYED[name]
    assert "\x1b" not in clean(text)
    assert clean(text).replace("[32m", "") == shown


@pytest.mark.parametrize("text", KEPT)
def test_ordinary_text_stays(text: str) -> None:
    assert clean(text) == text


def test_a_single_line_cannot_pretend_to_be_two() -> None:
    assert clean("ok\nexit 0\r\nx", multiline=False) == "ok\u23ceexit 0\u23cex"


@given(st.text(max_size=200))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert "\x1b" not in once
    assert "\x9b" not in once


SECRET = "correct-horse/battery+staple"
FORMS = {
    "as it is": SECRET,
    "hex": SECRET.encode().hex(),
    "URL": quote(SECRET, safe=""),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64, offset 1": base64.b64encode(b"x" + SECRET.encode() + b"yz").decode(),
    "base64, offset 2": base64.b64encode(b"xx" + SECRET.encode() + b"z").decode(),
    "base64, in a header": base64.b64encode(b"user:" + SECRET.encode()).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(b"??>" + SECRET.encode()).decode(),
}
KEYS = [
    "sk-ant-api03-AbCdEf0123456789-AbCdEf0123456789",
    "sk-proj-AbCdEf0123456789AbCdEf0123456789",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_pat_11ABCDEFG0abcdefghijklmnopqrstuvwxyz",
    "glpat-abcdefghij0123456789",
    "xoxb-123456789012-abcdefghij",
    "sk-" + "a1B" * 60,
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
]
NO_SECRETS = [
    "2f1d9614638d18024d0fbb36575a15f1302a3adf",
    "01a20a01-859c-7b38-8eb9-549c8728a9a6",
    '<div class="sk-loading-spinner-large-container">',
    "task-1 risk-assessment-of-the-quarterly-report",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    "def f(x):\n    return x['key'] + os.environ['HOME']\n",
    "Authorization: Bearer $TOKEN",
    "-----BEGIN CERTIFICATE-----",
]


@pytest.mark.parametrize("form", FORMS)
def test_a_known_secret_is_found_in_every_form(form: str) -> None:
    text = f"before {FORMS[form]} after"
    redacted = Redactor([SECRET]).text(text)
    assert REDACTED in redacted
    assert SECRET not in redacted
    middle = FORMS[form][8:-8]
    assert middle not in redacted
    assert Redactor(["some-other-secret"]).text(text) == text, "and nothing is found where there is none"


@pytest.mark.parametrize("key", KEYS)
def test_what_looks_like_a_vendors_key_is_taken_out(key: str) -> None:
    assert Redactor().text(f"key: {key}\n") == f"key: {REDACTED}\n"


@pytest.mark.parametrize("first", KEYS, ids=lambda key: key[:12])
@pytest.mark.parametrize("second", KEYS, ids=lambda key: key[:12])
def test_what_is_taken_out_uncovers_no_other_key(first: str, second: str) -> None:
    redactor = Redactor()
    found = redactor.text(first + second)
    assert redactor.text(found) == found


@pytest.mark.parametrize("text", NO_SECRETS)
def test_ordinary_text_is_not_taken_for_a_key(text: str) -> None:
    assert Redactor([SECRET]).text(text) == text


def test_short_values_are_no_secrets() -> None:
    assert Redactor(["true", "1234567"]).text("true 1234567") == "true 1234567"


def test_plain_data_is_redacted_keys_included() -> None:
    data = {SECRET: [SECRET, 1, None, {"a": f"x{SECRET}"}]}
    assert SECRET not in repr(Redactor([SECRET]).data(data))


@pytest.mark.parametrize("secret", [SECRET, *KEYS], ids=lambda secret: secret[:12])
def test_a_secret_that_is_split_anywhere_never_shows(secret: str) -> None:
    redactor = Redactor([SECRET])
    text = f"The key is {secret} and no more."
    whole = redactor.text(text)
    for cut in range(len(text) + 1):
        stream = redactor.stream()
        assert stream.feed(text[:cut]) + stream.feed(text[cut:]) + stream.close() == whole


def in_pieces(redactor: Redactor, text: str, size: int) -> str:
    stream = redactor.stream()
    shown = [stream.feed(text[place : place + size]) for place in range(0, len(text), size)]
    return "".join(shown) + stream.close()


PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\n{}-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("size", [1, 7, 1_000, 10**6])
@pytest.mark.parametrize(
    "text",
    [
        "x" * 8_150 + SECRET + "y" * 9_000,
        f'{{"a":"{SECRET}",' * 400,
        "字" * 9_000 + KEYS[1] + "字" * 9_000,
        "sk-A1" + "b" * 30_000 + " and more",
        "Bearer " + "eyJhbGciOi" * 2_000 + " and more",
        "see " + PRIVATE_KEY.format("MIIEpAIBAAKC\n" * 2_000) + f"and {SECRET}",
        PRIVATE_KEY.format("MIIEpAIBAAKC\n") * 3 + "-----BEGIN CERTIFICATE-----\nMII\n",
        PRIVATE_KEY.format("MIIEpAIBAAKC\n").strip() + PRIVATE_KEY.format("MIIEpAIBAAKC\n" * 900),
        "never ended -----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKC\n" * 2_000,
    ],
    ids=[
        "one long word",
        "JSON",
        "no spaces",
        "long key",
        "long token",
        "PEM",
        "PEMs",
        "PEM after PEM",
        "open PEM",
    ],
)
def test_a_stream_holds_back_enough_however_long_a_secret_or_a_word_is(text: str, size: int) -> None:
    redactor = Redactor([SECRET])
    assert in_pieces(redactor, text, size) == redactor.text(text)


def test_a_stream_shows_ordinary_text_before_it_ends() -> None:
    stream = Redactor([SECRET]).stream()
    assert len("".join(stream.feed("word ") for _ in range(200))) > 600
    assert len("".join(stream.feed('{"a":1,') for _ in range(200))) > 900


@given(
    st.lists(
        st.sampled_from(
            [
                SECRET,
                KEYS[0],
                KEYS[2],
                KEYS[3],
                KEYS[-1],
                " ",
                "word ",
                "sk-",
                "-",
                "Bearer ",
                "x",
                '"',
                "字",
            ]
        ),
        max_size=12,
    ),
    st.data(),
)
def test_a_stream_in_any_pieces_gives_the_redacted_whole(words: list[str], data: st.DataObject) -> None:
    text = "".join(words)
    redactor = Redactor([SECRET])
    stream, shown, place = redactor.stream(), "", 0
    while place < len(text):
        size = data.draw(st.integers(1, 9))
        shown += stream.feed(text[place : place + size])
        place += size
    shown += stream.close()
    assert shown == redactor.text(text)


@given(st.text(max_size=100))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = Redactor([SECRET]).text(text + SECRET)
    assert Redactor([SECRET]).text(once) == once
