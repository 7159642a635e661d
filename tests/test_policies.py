"""The default-deny policy: what it lets through, and what a denial tells the person."""

from __future__ import annotations

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshclaw.policies import Effects, TaskPolicy, host_pattern_problem, matches_glob, run_pattern_problem
from meshclaw.shell_syntax import ParsedScript, parse_command_line


def may_run(command: str, *patterns: str) -> bool:
    return TaskPolicy(run=patterns, shell_enabled=True).review(Effects(commands=(command,))).allowed


def may_write(path: str, *patterns: str) -> bool:
    return TaskPolicy(write=patterns).review(Effects(writes=(path,))).allowed


@pytest.mark.parametrize(
    ("path", "pattern", "matches"),
    [
        ("a.md", "*.md", True),
        ("docs/a.md", "*.md", False),
        ("docs/a.md", "**/*.md", True),
        ("a.md", "**/*.md", True),
        ("src/a/b.py", "src/**", True),
        ("src", "src/**", False),
        ("src/a/b.py", "src/", True),
        ("src/a.py", "src/*", True),
        ("src/a/b.py", "src/*", False),
        ("src/a/b/c.py", "src/**/c.py", True),
        ("src/c.py", "src/**/c.py", True),
        ("a/b/c/d", "a/**/b/**/d", True),
        ("a/x/d", "a/**/b/**/d", False),
        ("a.py", "./a.py", True),
        ("a.py", "[ab].py", True),
        (".env", "*", True),
        ("anything/at/all", "**", True),
        ("A.py", "a.py", False),
        ("a.py", "", False),
        ("a.pyc", "a.py", False),
        ("a/" * 60 + "x", "**/a/" * 30 + "y", False),
    ],
)
def test_globs(path: str, pattern: str, matches: bool) -> None:
    assert matches_glob(path, pattern) is matches


def test_reading_the_project_is_allowed_and_its_git_folder_is_not() -> None:
    policy = TaskPolicy()
    for path in ("", "a", "a/b.py", ".env", "@run/x", ".github/x", ".gitignore"):
        assert policy.review(Effects(reads=(path,))).allowed
    for path in (".git", ".git/config", "x/.GIT/config", "/etc/passwd", "../x", "a/../../x", "a//b"):
        assert not policy.review(Effects(reads=("a", path))).allowed


def test_nothing_is_written_unless_named() -> None:
    decision = TaskPolicy(source="tasks/fix.yaml").review(Effects(writes=("src/my file.py",)))
    assert not decision.allowed
    assert decision.reason == "writing src/my file.py is not allowed"
    assert decision.remedy == (
        "add \"src/my file.py\" to allow.write in tasks/fix.yaml, or pass --allow-write 'src/my file.py'"
    )
    for path in ("app/[slug]/page.tsx", "a*b?.txt"):
        remedy = TaskPolicy().review(Effects(writes=(path,))).remedy
        (glob,) = shlex.split(remedy.partition("or pass --allow-write ")[2])
        assert json.loads(remedy.removeprefix("add ").partition(" to allow.write")[0]) == glob
        assert may_write(path, glob)
        assert not may_write("app/s/page.tsx", glob)
        assert not may_write("axbx.txt", glob)
    assert may_write("src/a.py", "src/**")
    assert not may_write("lib/a.py", "src/**")
    for path in ("", ".", "../a", "/a", ".git/hooks/x", "src/.git/config"):
        assert not may_write(path, "**", ".git/**", "src/**", path)


@pytest.mark.parametrize("path", ["meshclaw.yaml", "tasks/a.yaml"])
def test_what_decides_later_runs_must_be_named(path: str) -> None:
    assert not may_write(path, "**", "*", "*.yaml", "**/*.yaml", "?asks/**", "[t]asks/**")
    assert may_write(path, "meshclaw.yaml", "tasks/**")
    assert may_write("src/tasks/a.yaml", "**")


@pytest.mark.parametrize(
    ("command", "pattern", "allowed"),
    [
        ("pytest", "pytest", True),
        ("pytest -q", "pytest", False),
        ("pytest", "pytest *", True),
        ("pytest -q 'a b'", "pytest *", True),
        ("pytest-x", "pytest *", False),
        ("/tmp/pytest", "pytest *", False),
        ("git log -1 --stat", "git log *", True),
        ("git -c x=y log", "git log *", False),
        ("git push", "git log *", False),
        ("make test-unit", "make test-*", True),
        ("make test-unit install", "make test-*", False),
        ("make lint-unit", "make test-*", False),
        ("echo '*'", "echo '*'", True),
        ("echo x", "echo '*'", False),
        ("a xbyb z", "a x*y* z", True),
        ("a xb z", "a x*y* z", False),
        ("pytest && git push", "pytest *", False),
        ("pytest && pytest -q | pytest", "pytest *", True),
        ("pytest $(id)", "pytest *", False),
        ("pytest > /etc/passwd", "pytest *", False),
        ("pytest & id", "pytest *", False),
        ("pytest; id", "pytest *", False),
        ("pytest\nid", "pytest *", False),
        ("pytest\rid", "pytest *", False),
        ("X=1 pytest", "pytest *", False),
        ("eval id", "* id", False),
        ("eval id", "eval *", True),
        ("sudo x", "* x", False),
        ("who x", "* x", True),
        ("", "pytest *", False),
        ("pytest", "pytest; id", False),
    ],
)
def test_command_patterns(command: str, pattern: str, allowed: bool) -> None:
    assert may_run(command, pattern) is allowed


def test_parts_may_match_different_patterns() -> None:
    assert may_run("cd src && make test; pytest -q | tail -5", "cd *", "make test", "pytest *", "tail *")
    assert not may_run("cd src && make test", "make test")


def test_a_full_shell_takes_any_text() -> None:
    assert may_run("for i in $(ls); do echo $i > x & done", "*")
    assert not may_run("a\0b", "*")
    assert not may_run("echo $HOME", "pytest *", "**")


def test_denied_commands_name_the_line_and_the_flags() -> None:
    effects = Effects(commands=("pytest -q && make 'all now'",))
    decision = TaskPolicy(run=["pytest *"], shell_enabled=True, source="tasks/fix.yaml").review(effects)
    assert decision.reason == "running make 'all now' is not allowed; allowed are pytest *"
    assert decision.remedy == (
        "add \"make 'all now'\" to allow.run in tasks/fix.yaml, or pass "
        "--allow-run 'make '\"'\"'all now'\"'\"''"
    )
    decision = TaskPolicy(run=["*"], shell_enabled=False).review(effects)
    assert not decision.allowed
    assert "--no-sandbox" in decision.remedy
    decision = TaskPolicy(shell_enabled=False).review(effects)
    assert "--no-sandbox --allow-run 'pytest -q'" in decision.remedy
    decision = TaskPolicy(shell_enabled=True).review(Effects(commands=("echo $HOME",)))
    assert decision.reason.startswith("`$`")
    assert "--allow-run '*'" in decision.remedy


@given(st.lists(st.text("abc '\"\\$*?;&|\n", max_size=8), min_size=1, max_size=4))
def test_what_a_denial_suggests_would_be_enough(words: list[str]) -> None:
    command = shlex.join(["run", *words])
    decision = TaskPolicy(shell_enabled=True).review(Effects(commands=(command,)))
    assert not decision.allowed
    flags = shlex.split(decision.remedy.partition("or pass ")[2])
    assert may_run(command, flags[flags.index("--allow-run") + 1])


@given(st.text("ptes x'\"\\$`*?;&|<>(){}!#~=\n\r\0", max_size=30))
def test_whatever_is_allowed_runs_only_the_named_command(text: str) -> None:
    if may_run(f"pytest {text}", "pytest *"):
        parsed = parse_command_line(f"pytest {text}")
        assert isinstance(parsed, ParsedScript)
        assert all(words[0] == "pytest" for words in parsed.commands)


def test_hosts() -> None:
    policy = TaskPolicy(network=["example.com", "*.example.org", "localhost:8000"])
    for host in ("example.com", "EXAMPLE.com:443", "a.example.org", "a.example.org:80", "localhost:8000"):
        assert policy.review(Effects(hosts=(host,))).allowed
    for host in ("evil.com", "example.com.evil.com", "example.org", "localhost:9", "notexample.com"):
        assert not policy.review(Effects(hosts=(host,))).allowed
    for host in ("localhost", "example.com:22", "a.example.org:8000", "example.com:", "example.com:*"):
        assert not policy.review(Effects(hosts=(host,))).allowed
    assert not TaskPolicy().review(Effects(hosts=("example.com",))).allowed
    any_port = TaskPolicy(network=["example.com:*", "[2606:4700::1]", "[2606:4700::2]:8443"])
    for host in ("example.com:22", "example.com", "[2606:4700::1]:443", "[2606:4700::2]:8443"):
        assert any_port.review(Effects(hosts=(host,))).allowed
    for host in ("2:443", "[2606:4700::1]:22", "[2606:4700::2]:443"):
        assert not any_port.review(Effects(hosts=(host,))).allowed


def test_a_policy_that_breaks_denies() -> None:
    decision = TaskPolicy(write=["**"]).review(Effects(writes=(None,)))  # type: ignore[arg-type]
    assert not decision.allowed
    assert decision.reason.startswith("the policy could not decide")


def test_patterns_that_could_never_match_are_told() -> None:
    assert run_pattern_problem("pytest *") is None
    assert run_pattern_problem("*") is None
    assert "one pattern for each part" in (run_pattern_problem("a && b") or "")
    assert run_pattern_problem("echo $HOME") is not None
    for host in ("example.com", "*.example.com", "host:8443", "host:*", "*", "[2606:4700::1]:443", "[::1]"):
        assert host_pattern_problem(host) is None
    for host in (
        "https://example.com",
        "example.com/a",
        "me@example.com",
        "",
        "a b",
        "2606:4700::1",
        "a:0",
    ):
        assert host_pattern_problem(host) is not None, host
