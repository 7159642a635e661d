"""A secret in every form, whole and in pieces: nothing of it is left. Controls: another's secret stays."""

from __future__ import annotations

import pytest
from secret_forms import FORMS, residue

from meshclaw.redaction import REDACTED, Redactor, secrets_in
from meshclaw.redaction.vendors import TOKENS

SECRET = "kX7/pQ+2zT~vN4w&Lm9=rB5"
OTHER = "hF3/uE+8cY~aD1s&Jo6=iG0"
KEYS = {
    "Anthropic": "sk-ant-api03-" + "aB3-_dE6" * 12,
    "OpenAI": "sk-proj-" + "aB3_dE6f" * 12,
    "OpenRouter": "sk-or-v1-" + "0123456789abcdef" * 4,
    "AWS": "AKIAIOSFODNN7EXAMPLE",
    "AWS, temporary": "ASIAIOSFODNN7EXAMPLE",
    **{f"GitHub gh{kind}": f"gh{kind}_" + "aB3dE6fG" * 5 for kind in "pousr"},
    "GitHub, fine-grained": "github_pat_11ABCDEFG0" + "aB3dE6fG" * 8,
    "GitLab": "glpat-aB3dE6fGhI9kLm2oP5qR",
    "Slack": "xoxb-123456789012-aB3dE6fGhI9k",
    "Slack, app": "xapp-1-A0123456789-1234567890123-abcdef",
    "Google": "AIzaSyA" + "1234567890abcdefghijklmnopqrstuv",
    "Google, OAuth": "ya29.a0AfH6SMBx" + "aB3dE6fG" * 4,
    "Google, client": "GOCSPX-aB3dE6fGhI9kLm2oP5qRsT8u",
    "Hugging Face": "hf_" + "aB3dE6fG" * 4,
    "Groq": "gsk_" + "aB3dE6fG" * 6,
    "xAI": "xai-" + "aB3dE6fG" * 10,
    "npm": "npm_" + "aB3dE6fGh" * 4,
    "PyPI": "pypi-AgEIcHlwaS5vcmc" + "aB3dE6fG" * 8,
    "Docker": "dckr_pat_aB3dE6fGhI9kLm2oP5qRsT8u",
    "DigitalOcean": "dop_v1_" + "0123456789abcdef" * 4,
    "Grafana": "glsa_" + "aB3dE6fG" * 4 + "_0a1b2c3d",
    "Vault": "hvs.CAESI" + "aB3dE6fG" * 4,
    "SendGrid": "SG." + "aB3dE6fGhI9kLm2oP5qRsT" + "." + "aB3dE6fG" * 5,
    "Stripe": "sk_live_" + "aB3dE6fG" * 3,
    "Stripe, restricted": "rk_live_" + "aB3dE6fG" * 3,
    "Stripe, hook": "whsec_" + "aB3dE6fG" * 4,
    "age": "AGE-SECRET-KEY-1" + "QPZRY9X8" * 7,
    "Azure": "AccountKey=" + "aB3dE6fG" * 10 + "aB3dE6==",
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.aB3dE6fGhI9kLm2oP5qR",
    "PEM": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNza\n-----END OPENSSH PRIVATE KEY-----",
}
NO_KEYS = [
    "the gsk_ prefix, an sk-ant- beginning and a Bearer of news",
    "sha256:2f1d9614638d18024d0fbb36575a15f1302a3adf44df10345688ec4f6e1c4ff32",
    "src/components/sk-circle/loading-state-indicator-component.tsx",
    "npm_config_registry=https://registry.example.org/with/a/long/path/in/it",
    "eyJust.eyJust.text",
    "hf_hub_download(repo_id, filename)",
    "AKIA is how they begin; ASIA too, ASIANCOUNTRIESAREMANY",
    "xoxo, love",
    "whsec_ and SG. and hvs. and ya29.",
    "AccountKey=$KEY",
    "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
]


def in_pieces(redactor: Redactor, *pieces: str) -> str:
    stream = redactor.stream()
    return "".join([*map(stream.feed, pieces), stream.close()])


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_left_of_a_secret_in_any_form(form: str) -> None:
    text = f"before {FORMS[form](SECRET)} after"
    redacted = Redactor([SECRET]).text(text)
    assert REDACTED in redacted
    assert residue(form, SECRET) not in redacted
    assert (redacted[:7], redacted[-6:]) == ("before ", " after")
    assert Redactor([OTHER]).text(text) == text


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_left_of_it_wherever_a_stream_is_cut(form: str) -> None:
    redactor = Redactor([SECRET])
    text = f"It is {FORMS[form](SECRET)} and no more, 100% sure."
    whole = redactor.text(text)
    assert residue(form, SECRET) not in whole
    for cut in range(len(text) + 1):
        assert in_pieces(redactor, text[:cut], text[cut:]) == whole
    for size in (1, 2, 3, 7):
        pieces = [text[place : place + size] for place in range(0, len(text), size)]
        assert in_pieces(redactor, *pieces) == whole
        assert in_pieces(Redactor([OTHER]), *pieces) == text


@pytest.mark.parametrize("vendor", KEYS)
def test_nothing_is_left_of_a_vendors_key_wherever_a_stream_is_cut(vendor: str) -> None:
    redactor, key = Redactor(), KEYS[vendor]
    text = f"The key: {key}\nand no more."
    whole = f"The key: {REDACTED}\nand no more."
    assert redactor.text(text) == whole
    for cut in range(len(text) + 1):
        assert in_pieces(redactor, text[:cut], text[cut:]) == whole


@pytest.mark.parametrize("text", NO_KEYS)
def test_what_is_no_key_stays(text: str) -> None:
    assert Redactor().text(text) == text


def test_every_pattern_has_its_case() -> None:
    for known_by in TOKENS:
        texts = [f"Bearer {SECRET}" * (known_by == "earer "), *KEYS.values()]
        assert any(known_by in text for text in texts), known_by


def test_a_secret_of_several_lines_is_found_line_by_line() -> None:
    secret = "\n".join(f"line {number} of a private key, {'x' * 30}" for number in range(3))
    redacted = Redactor([secret]).text(f"> {secret.splitlines()[1]}\n")
    assert redacted == f"> {REDACTED}\n"


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("OPENAI_API_KEY", "v", "v"),
        ("GITHUB_TOKEN", "v", "v"),
        ("DB_PASSWORD", "v", "v"),
        ("PGPASSWORD", "v", "v"),
        ("SIGNING_SECRET_2", "v", "v"),
        ("GIT_PAT", "v", "v"),
        ("apikey", "v", "v"),
        ("DATABASE_URL", "postgres://me:p%40ss@db/x", "p@ss"),
        ("DATABASE_URL", "postgres://me:p%40ss@db/x", "p%40ss"),
        ("PWD", "/home/me", None),
        ("PATH", "/bin:/usr/bin", None),
        ("KEYBOARD", "de", None),
        ("HOMEPAGE", "https://example.org/@me", None),
    ],
)
def test_what_an_environment_calls_a_secret(name: str, value: str, secret: str | None) -> None:
    assert (
        (list(secrets_in({name: value})) == []) if secret is None else secret in secrets_in({name: value})
    )


def test_a_name_in_no_encoding_does_not_stop_anything() -> None:
    odd = "pass\udcffword"
    assert Redactor([odd]).text(f"a {odd} b") == f"a {REDACTED} b"
    assert Redactor([odd]).bytes(b"a pass\xffword \xfe b") == b"a [redacted] \xfe b"


def test_data_keeps_its_shape() -> None:
    data = {"n": 12345678, SECRET: [SECRET, None, True, 1.5, {"x": f"a {SECRET}"}]}
    redactor = Redactor([SECRET, "12345678"])
    assert redactor.data(data) == {
        "n": 12345678,
        REDACTED: [REDACTED, None, True, 1.5, {"x": f"a {REDACTED}"}],
    }


def test_the_beginning_of_a_private_key_hides_nothing_of_what_others_wrote() -> None:
    text = "task one\n-----BEGIN PRIVATE KEY-----\nallow: everything"
    assert Redactor().words(text) == text
    assert Redactor().text(text) == f"task one\n{REDACTED}"


def test_nothing_hides_as_a_key_where_a_person_judges() -> None:
    text = f"curl -H 'Authorization: Bearer ./run/something/else.sh' {KEYS['GitHub ghp']} {SECRET}"
    assert Redactor([SECRET]).known(text) == text.replace(SECRET, REDACTED)


BOMBS = {
    "beginnings": "sk-ant-",
    "generic beginnings": "sk-",
    "one long word": "a",
    "secret's first letter": SECRET[0],
    "secret's beginning": SECRET[:-1],
    "secrets": SECRET,
    "percents": "%2",
    "backslashes": "\\u00",
    "entities": "&#12",
    "line breaks": "\n ",
    "headers": "-----BEGIN PRIVATE ",
    "keys": "-----BEGIN PRIVATE KEY-----",
    "bearers": "Bearer ",
    "tokens": "eyJaaaaaaaaaaa.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_text_takes_for_ever(name: str) -> None:
    """Work that grew with the square of the letters would go on until the suite is stopped."""
    redactor = Redactor([SECRET, OTHER])
    text = BOMBS[name] * (150_000 // len(BOMBS[name]))
    whole = redactor.text(text)
    assert SECRET not in whole
    pieces = [text[place : place + 1_000] for place in range(0, len(text), 1_000)]
    assert len(in_pieces(redactor, *pieces)) <= len(text)
