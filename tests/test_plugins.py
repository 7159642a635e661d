"""Plugins: named ones only, built-ins first, and every failure says whose it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshclaw.errors import ProblemsError
from meshclaw.plugins import GROUPS, Plugins

OWN = {"meshclaw.tools": {"read": "plug_good:Tool", "edit": "plug_good:Tool"}}


def install(folder: Path, name: str, groups: dict[str, dict[str, str]], version: str = "1.0") -> None:
    """Puts a distribution's metadata into `folder`, as pip would."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of distributions, MeshClaw's among them, whose modules can be imported."""
    (tmp_path / "plug_good.py").write_text("class Tool: pass\nclass Other: pass\n")
    (tmp_path / "plug_bad.py").write_text("import no_such_library\n")
    install(tmp_path, "meshclaw", OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("plug_good", "plug_bad"):
        sys.modules.pop(name, None)


def test_every_built_in_loads() -> None:
    plugins = Plugins()
    loaded = {group: [plugins.load(group, name) for name in plugins.names(group)] for group in GROUPS}
    assert {group: len(found) > 0 for group, found in loaded.items()} == {
        "providers": True,
        "runners": True,
        "tools": True,
        "checks": True,
    }
    assert all(isinstance(one, type) for found in loaded.values() for one in found)
    assert plugins.problems() == []


def test_a_plugin_is_named_and_only_then_imported(site: Path) -> None:
    install(site, "weather-tools", {"meshclaw.tools": {"weather": "plug_good:Other"}})
    plugins = Plugins([str(site)])
    assert plugins.names("tools") == ("read", "edit", "weather")
    assert "plug_good" not in sys.modules
    assert plugins.load("tools", "weather").__name__ == "Other"
    assert "plug_good" in sys.modules


def test_a_built_in_cannot_be_shadowed(site: Path) -> None:
    install(site, "evil", {"meshclaw.tools": {"read": "plug_good:Other"}})
    plugins = Plugins([str(site)])
    assert plugins.load("tools", "read").__name__ == "Tool"
    assert plugins.names("tools") == ("read", "edit")
    assert [str(problem) for problem in plugins.problems()] == [
        "meshclaw.tools: 'read' of evil 1.0 is ignored: it is built in - a plugin needs a name of its own"
    ]


def test_a_second_meshclaw_further_down_the_path_adds_nothing(site: Path, tmp_path: Path) -> None:
    install(tmp_path / "further", "MeshClaw", {"meshclaw.tools": {"extra": "plug_good:Other"}}, "9.9")
    plugins = Plugins([str(site), str(tmp_path / "further")])
    assert plugins.names("tools") == ("read", "edit")


def test_a_distribution_that_says_nothing_of_itself_still_counts(site: Path) -> None:
    """Its folder has another name than its metadata has, as what pip leaves behind; or there is none."""
    for name, metadata in (("first", "Name: other\n"), ("second", "Version: 1\n"), ("third", None)):
        install(site, name, {"meshclaw.tools": {name: "plug_good:Tool"}})
        file = site / f"{name}-1.0.dist-info" / "METADATA"
        file.unlink()
        if metadata is not None:
            file.write_text(metadata)
    plugins = Plugins([str(site)])
    assert "first" in plugins.names("tools")
    assert plugins.load("tools", "first").__name__ == "Tool"
    assert plugins.problems() == []


def test_a_name_that_two_distributions_claim(site: Path) -> None:
    for name in ("one", "two"):
        install(site, name, {"meshclaw.tools": {"weather": "plug_good:Tool"}})
    plugins = Plugins([str(site)])
    with pytest.raises(
        ProblemsError, match=r"'weather' comes from several distributions: (one|two) 1\.0, "
    ):
        plugins.load("tools", "weather")
    assert len(plugins.problems()) == 1


def test_an_unknown_name_gets_a_suggestion(site: Path) -> None:
    plugins = Plugins([str(site)])
    with pytest.raises(ProblemsError, match="unknown tool 'raed' - did you mean 'read'"):
        plugins.load("tools", "raed")
    with pytest.raises(ProblemsError, match="unknown check 'x' - known: none"):
        plugins.load("checks", "x")


def test_a_plugin_that_does_not_import_says_whose_it_is(site: Path) -> None:
    install(site, "broken-tools", {"meshclaw.tools": {"bad": "plug_bad:Tool", "gone": "plug_good:Gone"}})
    plugins = Plugins([str(site)])
    with pytest.raises(ProblemsError) as caught:
        plugins.load("tools", "bad")
    assert str(caught.value) == (
        "meshclaw.tools: plugin 'bad' of broken-tools 1.0 cannot be loaded: ModuleNotFoundError:"
        " No module named 'no_such_library' - reinstall broken-tools 1.0"
    )
    with pytest.raises(ProblemsError, match="AttributeError"):
        plugins.load("tools", "gone")


def test_other_groups_are_none_of_ours(site: Path) -> None:
    install(site, "other", {"pytest11": {"x": "plug_good:Tool"}, "meshclaw.hooks": {"y": "plug_good:Tool"}})
    plugins = Plugins([str(site)])
    assert [plugins.names(group) for group in GROUPS] == [(), (), ("read", "edit"), ()]


def test_a_checkout_that_is_not_installed_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match="own entry points are missing"):
        Plugins([str(tmp_path)]).names("tools")
