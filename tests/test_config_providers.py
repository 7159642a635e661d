"""Providers and keys: presets, prices, and that no project decides where a key goes."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest

from meshclaw.config import Config, ProviderSettings, load_config, resolve_key
from meshclaw.config.providers import check_url, is_loopback
from meshclaw.config.show import rows
from meshclaw.errors import ProblemsError
from meshclaw.pricing import FREE, Rates


def load(folder: Path, operator: str = "", project: str = "", **env: str) -> Config:
    (folder / "config.yaml").write_text(operator)
    (folder / "meshclaw.yaml").write_text(project)
    return load_config(folder / "config.yaml", folder / "meshclaw.yaml", env)


def problems(folder: Path, operator: str = "", project: str = "", **env: str) -> str:
    with pytest.raises(ProblemsError) as caught:
        load(folder, operator, project, **env)
    return str(caught.value).replace(f"{folder}/", "")


def test_servers_on_this_machine_need_no_settings() -> None:
    ollama = load_config(None, None, {}).provider("ollama")
    assert ollama.base_url == "http://127.0.0.1:11434/v1"
    assert (ollama.kind, ollama.key, ollama.free, ollama.loopback) == ("openai-chat", None, True, True)


def test_a_preset_is_set_up_by_naming_it(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match=r"set it up with `providers: \{gemini: \{\}\}`"):
        load(tmp_path).provider("gemini")
    gemini = load(tmp_path, "providers:\n  gemini:\n").provider("gemini")
    assert gemini.base_url == "https://generativelanguage.googleapis.com/v1beta/openai/"
    assert (gemini.publisher, gemini.price, gemini.free) == ("google", None, False)
    assert resolve_key(gemini, {"GEMINI_API_KEY": "k"}) == "k"
    assert resolve_key(gemini, {}) is None


def test_the_sdks_own_variables_hold(tmp_path: Path) -> None:
    env = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9/x", "ANTHROPIC_API_KEY": "k"}
    config = load(tmp_path, "providers: {anthropic: {base_url: 'https://other.example'}}", **env)
    anthropic = config.provider("anthropic")
    assert (anthropic.base_url, anthropic.loopback) == ("http://127.0.0.1:9/x", True)
    assert resolve_key(anthropic, env) == "k"
    assert str(config.origins["providers.anthropic"]) == "ANTHROPIC_BASE_URL"
    assert "not a URL" in problems(tmp_path, OPENAI_BASE_URL="nowhere")


def test_a_server_of_ones_own(tmp_path: Path) -> None:
    operator = """\
providers:
  lab:
    base_url: https://lab.example/v1
    key_env: LAB_KEY
    price: {input: 0.10, output: "1.25", cache_read: 0.01}
    window: 32k
    max_tokens_field: max_completion_tokens
"""
    lab = load(tmp_path, operator).provider("lab")
    assert lab.price == Rates(Decimal("0.10"), Decimal("1.25"), Decimal("0.01"), source="settings")
    assert (lab.kind, lab.window, lab.tokens_field) == ("openai-chat", 32_000, "max_completion_tokens")
    assert lab.trusted
    assert not lab.free
    assert resolve_key(lab, {"LAB_KEY": " secret\n"}) == "secret"


def test_price_on_this_machine(tmp_path: Path) -> None:
    url = "base_url: 'http://localhost:4000'"
    assert load(tmp_path, f"providers: {{x: {{{url}}}}}").provider("x").price == FREE
    assert load(tmp_path, f"providers: {{x: {{{url}, price: published}}}}").provider("x").price is None
    remote = "providers: {x: {base_url: 'https://a.example', price: free}}"
    assert load(tmp_path, remote).provider("x").free


PROJECT = "providers: {team: {base_url: 'https://team.example/v1'}}\nmodels: {fast: team/m}"


def test_a_projects_provider_gets_no_key(tmp_path: Path) -> None:
    team = load(tmp_path, project=PROJECT).provider("team")
    assert (team.key, team.trusted) == (None, False)


def test_a_projects_provider_gets_the_key_that_the_operator_bound(tmp_path: Path) -> None:
    team = load(tmp_path, "keys: {team.example: {key_env: TEAM_KEY}}", PROJECT).provider("team")
    assert resolve_key(team, {"TEAM_KEY": "k"}) == "k"
    assert not team.trusted


@pytest.mark.parametrize(
    "url",
    [
        "http://team.example/v1",
        "https://team.example:8443/v1",
        "https://team.example.evil.example/v1",
        "https://evil.example/team.example",
        "https://sub.team.example",
    ],
)
def test_a_bound_key_goes_nowhere_else(tmp_path: Path, url: str) -> None:
    keys = "keys: {team.example: {key_env: TEAM_KEY}}"
    project = f"providers: {{team: {{base_url: '{url}'}}}}"
    assert load(tmp_path, keys, project).provider("team").key is None
    assert load(tmp_path, keys, PROJECT).provider("team").key is not None


def test_a_key_bound_to_a_port(tmp_path: Path) -> None:
    project = "providers: {team: {base_url: 'https://team.example:8443/v1'}}"
    keys = "keys: {'team.example:8443': {key_env: TEAM_KEY}}"
    assert load(tmp_path, keys, project).provider("team").key is not None
    assert load(tmp_path, keys, PROJECT).provider("team").key is None


@pytest.mark.parametrize("name", ["anthropic", "openai", "local", "ollama", "openrouter", "lab"])
def test_a_project_cannot_redirect_a_provider(tmp_path: Path, name: str) -> None:
    operator = "providers: {lab: {base_url: 'https://lab.example'}}"
    project = f"providers: {{{name}: {{base_url: 'https://evil.example'}}}}"
    assert f"meshclaw.yaml:1:13: a project cannot define provider '{name}'" in problems(
        tmp_path, operator, project
    )


@pytest.mark.parametrize("line", ["key_env: OPENAI_API_KEY", "key_file: /etc/shadow", "price: free"])
def test_a_project_names_no_key_and_no_price(tmp_path: Path, line: str) -> None:
    project = f"providers:\n  team:\n    base_url: https://team.example\n    {line}\n"
    key = line.partition(":")[0]
    assert problems(tmp_path, project=project) == (
        f"meshclaw.yaml:4:5: only the operator's settings may set 'providers.team.{key}'"
        " - move it to config.yaml"
    )


def test_a_key_in_the_settings_is_refused_and_never_shown(tmp_path: Path) -> None:
    secret = "sk-ant-secret123"
    for line in (f"api_key: {secret}", f"key: {secret}", f"key_env: {secret}", "key_env: AIzaSecret"):
        found = problems(tmp_path, f"providers: {{anthropic: {{{line}}}}}")
        assert "key_env" in found
        assert secret not in found
        assert "AIza" not in found
    found = problems(tmp_path, "providers: {x: {base_url: 'https://me:hunter2@x.example'}}")
    assert "user name or password" in found
    assert "hunter2" not in found


def test_no_row_shows_a_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("file-secret")
    file.chmod(0o600)
    operator = (
        f"providers: {{lab: {{base_url: 'https://lab.example', key_file: {file}}}, openrouter: {{}}}}"
    )
    config = load(tmp_path, operator, OPENROUTER_API_KEY="env-secret")
    assert resolve_key(config.provider("lab"), {}) == "file-secret"
    shown = "\n".join(f"{row.key} {row.value}" for row in rows(config))
    assert f"providers.lab openai-chat at https://lab.example, key from {file}, no price" in shown
    assert "key from $OPENROUTER_API_KEY" in shown
    assert "secret" not in shown + repr(config)


def with_key_file(folder: Path, content: bytes, mode: int) -> ProviderSettings:
    file = folder / "key"
    file.write_bytes(content)
    file.chmod(mode)
    return load(folder, "providers: {lab: {base_url: 'https://lab.example', key_file: key}}").provider(
        "lab"
    )


def test_a_key_file_of_ones_own_is_read(tmp_path: Path) -> None:
    assert resolve_key(with_key_file(tmp_path, b"abc\n", 0o600), {}) == "abc"
    assert resolve_key(with_key_file(tmp_path, b"abc\n", 0o400), {}) == "abc"


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        (b"abc", 0o640, "others may use it (mode 0640) - run: chmod 600"),
        (b"abc", 0o604, "others may use it (mode 0604)"),
        (b" \n", 0o600, "it is empty"),
        (b"a\nb", 0o600, "it does not hold a key"),
        (b"\xff\xfe", 0o600, "it does not hold a key"),
        (b"a" * 20_000, 0o600, "it does not hold a key"),
    ],
)
def test_a_key_file_that_is_not_safe(tmp_path: Path, content: bytes, mode: int, complaint: str) -> None:
    lab = with_key_file(tmp_path, content, mode)
    with pytest.raises(ProblemsError) as caught:
        resolve_key(lab, {})
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/config.yaml:1:62: key file {tmp_path}/key: ")


def test_a_key_file_that_is_no_file(tmp_path: Path) -> None:
    operator = "providers: {lab: {base_url: 'https://lab.example', key_file: key}}"
    lab = load(tmp_path, operator).provider("lab")
    with pytest.raises(ProblemsError, match="No such file"):
        resolve_key(lab, {})
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(ProblemsError, match="not a plain file"):
        resolve_key(lab, {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_file_of_somebody_else(tmp_path: Path) -> None:
    lab = with_key_file(tmp_path, b"abc", 0o600)
    os.chown(tmp_path / "key", 12_345, -1)
    with pytest.raises(ProblemsError, match="belongs to another user"):
        resolve_key(lab, {})


def test_every_mistake_in_the_table_is_told(tmp_path: Path) -> None:
    operator = """\
providers:
  lab: {}
  Lab: {base_url: 'https://a.example'}
  a: {base_url: 'https://a.example', kind: openai-chatt}
  b: {base_url: 'https://a.example', key_env: A, key_file: b}
  c: {base_url: 'https://a.example', price: {input: 1, outptu: 2}}
  d: {base_url: 'https://a.example', price: cheap}
  e: {base_url: 'ftp://a.example', windw: 3}
  openai: {kind: openai-chat}
  local: {base_url: 'https://a.example'}
  f: [1]
keys: {'https://a.example': {key_env: A}, a.example: {}, b.example: {price: free}}
"""
    found = problems(tmp_path, operator)
    for line in (
        "config.yaml:2:8: provider 'lab' needs a base_url",
        "config.yaml:3:3: 'Lab' cannot be a provider's name",
        "config.yaml:4:44: unknown kind 'openai-chatt' - did you mean 'openai-chat'?",
        "config.yaml:5:60: both key_env and key_file",
        "config.yaml:6:56: unknown key 'outptu' - did you mean 'output'?",
        "config.yaml:7:45: a price is free, published, or {input: 1.25, output: 10}",
        "config.yaml:8:17: 'ftp://a.example' is not a URL",
        "config.yaml:8:36: unknown key 'windw' - did you mean 'window'?",
        "config.yaml:9:18: provider 'openai' is always of kind openai-responses",
        "config.yaml:10:11: unknown key 'base_url' - known: window",
        "config.yaml:11:6: 'providers.f' takes a mapping",
        "config.yaml:12:8: 'https://a.example' is not a host",
        "config.yaml:12:54: keys.a.example says no key",
        "config.yaml:12:70: unknown key 'price'",
    ):
        assert line in found
    assert len(found.splitlines()) == 14


@pytest.mark.parametrize(
    "url",
    ["http://", "example.org", "https://a b.example", "https://a:99999", "https://a/?k=1", "https://a:0"],
)
def test_what_is_no_base_url(url: str) -> None:
    assert check_url(url) is not None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:1/v1", True),
        ("http://127.0.0.1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:8000/", True),
        ("http://127.0.0.1.evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0", False),
    ],
)
def test_what_is_this_machine(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected
