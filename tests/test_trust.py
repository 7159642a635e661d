"""The store of what is trusted: digests, diffs, and files that cannot be believed."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshclaw.errors import ExitCode, LockedError
from meshclaw.terminal_text import clean
from meshclaw.trust import StoreError, TrustStore, Untrusted, UntrustedError, digest, visible

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
POWERS: dict[str, Any] = {"tasks/a.yaml": {"tools": ["shell"], "allow": {"run": ["pytest *"]}}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return TrustStore(tmp_path / "data" / "trust.json")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def trusted(store: TrustStore, project: Path) -> TrustStore:
    store.trust(project, POWERS, NOW)
    return store


def test_nothing_is_trusted_at_first(store: TrustStore, project: Path) -> None:
    (found,) = store.missing(project, POWERS)
    assert (found.name, found.powers, found.before) == ("tasks/a.yaml", POWERS["tasks/a.yaml"], None)
    assert store.entries() == []
    assert not store.path.parent.exists()


def test_no_powers_need_no_store(tmp_path: Path, project: Path) -> None:
    (tmp_path / "trust.json").write_text("broken")
    assert TrustStore(tmp_path / "trust.json").missing(project, {}) == []


def test_what_was_trusted_stays_so_until_it_changes(trusted: TrustStore, project: Path) -> None:
    assert trusted.missing(project, POWERS) == []
    wider = {"tasks/a.yaml": {"tools": ["shell"], "allow": {"run": ["pytest *", "curl *"]}}}
    (found,) = trusted.missing(project, wider)
    assert found.before == POWERS["tasks/a.yaml"]
    assert found.diff().splitlines() == [
        "--- as trusted",
        "+++ now",
        "@@ -1,5 +1,6 @@",
        " allow:",
        "   run:",
        "     - pytest *",
        "+    - curl *",
        " tools:",
        "   - shell",
    ]


def test_trusting_one_item_leaves_the_others(trusted: TrustStore, project: Path) -> None:
    trusted.trust(project, {"meshclaw.yaml": {"budget": {"steps": 3}}}, NOW)
    assert trusted.missing(project, {**POWERS, "meshclaw.yaml": {"budget": {"steps": 3}}}) == []
    assert [(one.name, one.at) for one in trusted.entries()] == [
        ("meshclaw.yaml", "2026-11-23T12:00:00+00:00"),
        ("tasks/a.yaml", "2026-11-23T12:00:00+00:00"),
    ]


def test_revoking_takes_all_of_one_project(trusted: TrustStore, project: Path, tmp_path: Path) -> None:
    trusted.trust(tmp_path, POWERS, NOW)
    assert trusted.revoke(project) == ["tasks/a.yaml"]
    assert trusted.revoke(project) == []
    assert len(trusted.missing(project, POWERS)) == 1
    assert trusted.missing(tmp_path, POWERS) == []


def test_a_link_to_the_project_is_the_project_and_a_copy_is_not(
    trusted: TrustStore, project: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(project)
    assert trusted.missing(link, POWERS) == []
    moved = project.rename(tmp_path / "moved")
    assert len(trusted.missing(moved, POWERS)) == 1
    link.unlink()
    link.symlink_to(moved)
    assert len(trusted.missing(link, POWERS)) == 1


def test_a_project_whose_name_is_no_utf_8(store: TrustStore, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    store.trust(odd, POWERS, NOW)
    assert store.missing(odd, POWERS) == []


def test_the_file_is_private_and_replaced_whole(trusted: TrustStore, project: Path) -> None:
    assert stat.S_IMODE(trusted.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(trusted.path.parent.stat().st_mode) == 0o700
    with trusted.path.open() as before:
        trusted.trust(project, {"b": 1}, NOW)
        assert "tasks/a.yaml" in before.read()
        assert os.fstat(before.fileno()).st_nlink == 0
    assert sorted(path.name for path in trusted.path.parent.iterdir()) == ["trust.json", "trust.json.lock"]


def test_a_draft_that_was_left_behind_is_no_obstacle(trusted: TrustStore, project: Path) -> None:
    victim = project / "victim"
    victim.write_text("mine")
    trusted.path.with_name(".trust.json.new").symlink_to(victim)
    trusted.trust(project, {"b": 1}, NOW)
    assert victim.read_text() == "mine"
    assert trusted.missing(project, {"b": 1}) == []


def test_another_process_is_waited_for_only_so_long(trusted: TrustStore, project: Path) -> None:
    with trusted.path.with_name("trust.json.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        hasty = TrustStore(trusted.path, lock_timeout=0.05)
        with pytest.raises(LockedError, match="another process holds the lock") as caught:
            hasty.trust(project, {"b": 1}, NOW)
        assert caught.value.exit_code == ExitCode.LOCKED
        assert hasty.missing(project, POWERS) == []
    hasty.trust(project, {"b": 1}, NOW)


def _as_link(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("elsewhere.json")))


def _as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _of(change: Callable[[Any], Any]) -> Callable[[Path], Any]:
    return lambda path: path.write_text(json.dumps(change(json.loads(path.read_text()))))


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "symlink": (_as_link, "is a symlink"),
    "writable by the group": (lambda path: path.chmod(0o620), "others may write"),
    "writable by all": (lambda path: path.chmod(0o602), "others may write"),
    "in a folder that all may write": (lambda path: path.parent.chmod(0o777), "may write the folder"),
    "a folder": (_as_folder, "is not a regular file"),
    "a pipe": (_as_pipe, "is not a regular file"),
    "no JSON": (lambda path: path.write_text("{"), "is no trust store"),
    "deep JSON": (lambda path: path.write_text("[" * 100_000), "is no trust store"),
    "of another version": (_of(lambda found: found | {"version": 2}), "is no trust store"),
    "without projects": (_of(lambda found: {"version": 1}), "is no trust store"),
    "with projects of another form": (
        _of(lambda found: {"version": 1, "projects": {"/": ["x"]}}),
        "is no trust",
    ),
    "with items of another form": (
        _of(lambda found: {"version": 1, "projects": {"/": {"x": {"sha256": "0"}}}}),
        "is no trust store",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_store_that_cannot_be_believed_trusts_nothing(
    trusted: TrustStore, project: Path, name: str
) -> None:
    spoil, reason = SPOILT[name]
    assert trusted.missing(project, POWERS) == []
    spoil(trusted.path)
    with pytest.raises(UntrustedError, match=reason) as caught:
        trusted.missing(project, POWERS)
    assert caught.value.exit_code == ExitCode.REFUSED
    assert [one.name for one in caught.value.items] == ["tasks/a.yaml"]
    assert caught.value.unusable is not None
    assert caught.value.hint
    for refused in (
        trusted.entries,
        lambda: trusted.revoke(project),
        lambda: trusted.trust(project, POWERS, NOW),
    ):
        with pytest.raises(StoreError, match=reason):
            refused()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_store_of_somebody_else_trusts_nothing(trusted: TrustStore, project: Path) -> None:
    os.chown(trusted.path, 12_345, -1)
    with pytest.raises(UntrustedError, match="belongs to user 12345"):
        trusted.missing(project, POWERS)
    os.chown(trusted.path, os.geteuid(), -1)
    assert trusted.missing(project, POWERS) == []


def test_the_message_says_what_and_what_to_do() -> None:
    error = UntrustedError([Untrusted("a.yaml", {"tools": ["x"]}), Untrusted("b\x1b[2J", {}, {"x": 1})])
    assert error.message == 'not trusted: a.yaml, "b\\u001b[2J" (changed since)'
    assert "meshclaw trust" in error.hint


def test_long_commands_are_shown_line_by_line() -> None:
    one = Untrusted("t", {"inputs": {"log": "set -e\n\tcat x\n"}, "tools": [], "n": None, "on": True})
    assert one.text().splitlines() == [
        "inputs:",
        "  log: |",
        "    set -e",
        "    \tcat x",
        "    ",
        "n: null",
        "on: true",
        "tools: []",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("git diff", "git diff"),
        ("true", '"true"'),
        ("12", '"12"'),
        ("", '""'),
        (" x", '" x"'),
        ("'x'", "\"'x'\""),
        ("a: b", '"a: b"'),
        ("- a", '"- a"'),
        ("ls \x1b]0;hidden\x07 x", '"ls \\u001b]0;hidden\\u0007 x"'),
        ("ls \u202egro.x", '"ls \\u202egro.x"'),
        ("ls\u200b", '"ls\\u200b"'),
        ("ls\\u200b", "ls\\u200b"),
        ("a\ufe0f\U000e0041", '"a\\ufe0f\\udb40\\udc41"'),
        ("a\rb", '"a\\rb"'),
    ],
)
def test_nothing_in_a_text_can_hide(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(JSON, JSON)
def test_what_differs_is_told_apart_and_nothing_shown_needs_cleaning(one: Any, other: Any) -> None:
    same = digest(one) == digest(other)
    assert same == (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))
    text = Untrusted("t", one).text()
    assert clean(text) == text
    if not same:
        assert text != Untrusted("t", other).text()


@pytest.mark.parametrize(
    ("one", "other"),
    [({"a": "x: y"}, {"a: x": "y"}), ({"a": "b"}, "a: b"), (["a"], "- a"), ({"a": []}, "a:")],
)
def test_data_of_another_form_does_not_look_the_same(one: Any, other: Any) -> None:
    assert Untrusted("t", one).text() != Untrusted("t", other).text()


def test_keys_have_no_order() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": True})
