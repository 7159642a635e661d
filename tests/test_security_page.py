"""docs/security.md names tests that exist, every adversarial one, and a limit or none for each threat."""

from __future__ import annotations

import re

import pytest
from adversarial_count import LEAST
from test_documents import PAGES, ROOT, tables

PAGE = "docs/security.md"
ROWS = tables(PAGE, "| threat | defence | test | known limit |")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_every_threat_has_a_defence_and_tests_that_exist(row: list[str]) -> None:
    threat, defence, tests, _ = row
    assert threat
    assert defence
    paths = re.findall(r"`([^`]+)`", tests)
    assert tests == ", ".join(f"`{path}`" for path in paths)
    assert paths
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_every_adversarial_file_is_named() -> None:
    named = set(re.findall(r"`(tests/adversarial/test_\w+\.py)`", "".join(row[2] for row in ROWS)))
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/adversarial").glob("test_*.py")}
    assert named == there


def test_every_path_of_a_test_on_the_page_exists() -> None:
    paths = set(re.findall(r"tests/[\w/]+\.py", PAGES[PAGE]))
    assert len(paths) > len(ROWS)
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_the_least_number_of_cases_is_the_one_that_is_enforced() -> None:
    assert re.findall(r"fewer than (\d+)\s+fails", PAGES[PAGE]) == [str(LEAST)]


def test_the_readme_and_the_guide_lead_here() -> None:
    assert "](docs/security.md)" in PAGES["README.md"]
    assert "](security.md)" in PAGES["docs/guide.md"]
