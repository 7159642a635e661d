"""Where the project, its tasks and the user's folders are, and how an alias gets into the settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshclaw.app.aliases import add_alias
from meshclaw.app.options import TaskSource
from meshclaw.app.places import (
    example_tasks,
    find_project,
    find_source,
    list_sources,
    shown_path,
    user_folders,
)
from meshclaw.documents import parse
from meshclaw.errors import ProblemsError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_the_nearest_settings_file_upwards_marks_the_project(tmp_path: Path) -> None:
    touch(tmp_path / "meshclaw.yaml")
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    assert find_project(inner) == tmp_path
    touch(tmp_path / "a" / "meshclaw.yaml")
    assert find_project(inner) == tmp_path / "a"


@pytest.mark.parametrize("worktree", [False, True], ids=["folder", "file"])
def test_a_repositorys_root_is_the_project_whatever_lies_above_it(tmp_path: Path, worktree: bool) -> None:
    touch(tmp_path / "meshclaw.yaml")
    root = tmp_path / "clone"
    inner = root / "src"
    inner.mkdir(parents=True)
    assert find_project(inner) == tmp_path, "without a repository the settings above count"
    touch(root / ".git") if worktree else (root / ".git").mkdir()
    assert find_project(inner) == root


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "src" / "meshclaw.yaml").mkdir(parents=True)
    assert find_project(tmp_path / "src") == tmp_path


def test_without_a_project_it_is_where_one_stands(tmp_path: Path) -> None:
    assert find_project(tmp_path) == tmp_path


def places(tmp_path: Path) -> dict[str, Path]:
    return {origin: tmp_path / origin for origin in ("project", "user", "built-in")}


def test_of_two_tasks_with_one_name_the_first_place_counts(tmp_path: Path) -> None:
    for origin, names in (("built-in", "abc"), ("user", "ab"), ("project", "a")):
        for name in names:
            touch(tmp_path / origin / f"{name}.yaml")
    found = {source.name: source.origin for source in list_sources(places(tmp_path))}
    assert found == {"a": "project", "b": "user", "c": "built-in"}
    source = find_source("b", places(tmp_path), tmp_path)
    assert source == TaskSource("b", tmp_path / "user" / "b.yaml", "user")


def test_only_plain_yaml_files_are_tasks(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    touch(folder / "good.yaml")
    touch(folder / ".draft.yaml")
    touch(folder / "notes.txt")
    (folder / "folder.yaml").mkdir()
    (folder / ".#good.yaml").symlink_to("user@host.1234")
    (folder / "lost.yaml").symlink_to("gone")
    assert [source.name for source in list_sources(places(tmp_path))] == ["good"]


def test_a_path_names_a_file_anywhere(tmp_path: Path) -> None:
    path = touch(tmp_path / "deep" / "mine.yaml")
    touch(tmp_path / "here.yml")
    for name in ("deep/mine.yaml", str(path)):
        assert find_source(name, places(tmp_path), tmp_path) == TaskSource("mine", path, "file")
    assert find_source("here.yml", places(tmp_path), tmp_path).path == tmp_path / "here.yml"
    with pytest.raises(ProblemsError, match=r"deep/gone\.yaml: there is no such task file"):
        find_source("deep/gone.yaml", places(tmp_path), tmp_path)


def test_a_path_is_never_looked_up_by_name(tmp_path: Path) -> None:
    touch(tmp_path / "project" / "a.yaml")
    with pytest.raises(ProblemsError, match="no such task file"):
        find_source("a.yaml", places(tmp_path), tmp_path)


def test_an_unknown_task_gets_a_suggestion(tmp_path: Path) -> None:
    touch(tmp_path / "user" / "triage.yaml")
    with pytest.raises(ProblemsError, match=r"unknown task 'traige' - did you mean 'triage'\?"):
        find_source("traige", places(tmp_path), tmp_path)
    touch(tmp_path / "user" / "other.yml")
    with pytest.raises(ProblemsError, match=r"there is user/other\.yml: rename it to other\.yaml"):
        find_source("other", places(tmp_path), tmp_path)
    with pytest.raises(ProblemsError, match="`meshclaw tasks list` shows"):
        find_source("zzz", places(tmp_path), tmp_path)


def test_the_examples_are_there() -> None:
    assert {"summarize", "fix-tests"} <= {path.stem for path in example_tasks().glob("*.yaml")}


def test_paths_are_shown_as_people_write_them(tmp_path: Path) -> None:
    assert shown_path(tmp_path / "tasks" / "a.yaml", tmp_path) == "tasks/a.yaml"
    assert shown_path(Path("/etc/a.yaml"), tmp_path) == "/etc/a.yaml"


@pytest.mark.skipif(os.name != "posix", reason="XDG folders and the password database are Unix")
def test_without_home_the_accounts_own_folders_are_used(tmp_path: Path) -> None:
    import pwd

    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    assert user_folders({}).config == home / ".config" / "meshclaw"
    assert user_folders({"HOME": ""}).data == home / ".local" / "share" / "meshclaw"
    stated = user_folders({"XDG_CONFIG_HOME": str(tmp_path), "XDG_CACHE_HOME": "relative"})
    assert stated.config == tmp_path / "meshclaw"
    assert stated.cache == home / ".cache" / "meshclaw"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "models:\n  fast: p/m\n"),
        ("# mine\nbudget: {usd: 1}\n", "# mine\nbudget: {usd: 1}\n\nmodels:\n  fast: p/m\n"),
        (
            "models:\n  # kept\n  strong: p/big  # why\nbudget: {}\n",
            "models:\n  # kept\n  fast: p/m\n  strong: p/big  # why\nbudget: {}\n",
        ),
        ("models:\n    strong: p/big", "models:\n    fast: p/m\n    strong: p/big"),
        ("a: 1\r\nmodels:\r\n  b: p/c\r\n", "a: 1\r\nmodels:\r\n  fast: p/m\r\n  b: p/c\r\n"),
        ("\ufeffa: 1\n", "\ufeffa: 1\n\nmodels:\n  fast: p/m\n"),
    ],
    ids=["empty", "no models", "comments", "wide", "windows", "byte order mark"],
)
def test_an_alias_is_added_and_nothing_else_changes(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(before.encode())
    add_alias(path, "fast", "p/m")
    assert path.read_bytes().decode() == after
    assert parse(path.read_bytes(), "t").data()["models"]["fast"] == "p/m"


@pytest.mark.parametrize(
    "text",
    [
        "models: {strong: p/big}\n",
        "models:\n  {strong: p/big}\n",
        "models: {\n  strong: p/big,\n}\n",
        "models:\n",
        "models: [a]\n",
        "models: text\n",
        "- a\n",
        "a: 1\n...\n",
        "models: {}\n",
        "a: |\n  text\n  models:\nmodels: {b: p/c}\n",
    ],
)
def test_what_cannot_be_changed_safely_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ProblemsError) as caught:
        add_alias(path, "fast", "p/m")
    assert "cannot be changed safely - add `fast: p/m` under models: by hand" in str(caught.value)
    assert path.read_text() == text
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.yaml"]


def test_an_alias_that_exists_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("models:\n  strong: p/x\n  fast: p/y\n")
    with pytest.raises(ProblemsError, match=r"config\.yaml:3:3: the alias 'fast' is set already"):
        add_alias(path, "fast", "p/m")
    assert "p/m" not in path.read_text()


def test_the_settings_keep_their_mode_and_their_link(tmp_path: Path) -> None:
    target = tmp_path / "dotfiles" / "meshclaw.yaml"
    target.parent.mkdir()
    target.write_text("a: 1\n")
    target.chmod(0o640)
    path = tmp_path / "config.yaml"
    path.symlink_to(target)
    add_alias(path, "fast", "p/m")
    assert path.is_symlink()
    assert "fast: p/m" in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o640
    new = tmp_path / "new" / "config.yaml"
    add_alias(new, "fast", "p/m")
    assert new.stat().st_mode & 0o777 == 0o600


def test_what_is_not_text_or_not_writable_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"a: \xff\n")
    with pytest.raises(ProblemsError, match="not UTF-8"):
        add_alias(path, "fast", "p/m")
    touch(tmp_path / "file")
    with pytest.raises(ProblemsError, match="cannot be written"):
        add_alias(tmp_path / "file" / "config.yaml", "fast", "p/m")
