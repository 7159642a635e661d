"""The suite counts its adversarial cases, names what it skips, and a whole run fails when they are few."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from adversarial_count import FOLDER, LEAST

TESTS = Path(__file__).parent
CASES = """
import pytest

@pytest.mark.parametrize("number", range({cases}))
def test_attack(number):
    if number < {skipped}:
        pytest.skip("no moat")

def test_attack_control():
    pass
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / "tests" / "test_other.py").write_text("def test_other(): pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\nmarkers =\n    model: is slow\n")
    return tmp_path


def run(
    suite: Path, cases: int, *arguments: str, skipped: int = 0, workers: tuple[str, ...] = ()
) -> tuple[int, list[str]]:
    """The exit code, and the lines about adversarial cases."""
    (suite / FOLDER / "test_attacks.py").write_text(CASES.format(cases=cases, skipped=skipped))
    plugins = ("-p", "adversarial_count", "-p", "no:cacheprovider", *(("-p", "xdist") if workers else ()))
    path = f"import sys; sys.path.insert(0, {str(TESTS)!r}); import pytest; sys.exit(pytest.main())"
    done = subprocess.run(
        [sys.executable, "-c", path, "-q", *plugins, *workers, *arguments],
        cwd=suite,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("adversarial: ")]


def test_enough_control(suite: Path) -> None:
    assert run(suite, LEAST) == (0, [f"adversarial: {LEAST} cases, 0 skipped"])


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "with a worker"])
def test_a_whole_run_with_too_few_fails(suite: Path, workers: tuple[str, ...]) -> None:
    few = f"adversarial: at least {LEAST} have to be tried"
    counted = f"adversarial: {LEAST - 1} cases, 0 skipped"
    assert run(suite, LEAST - 1, workers=workers) == (1, [counted, few])


def test_what_is_skipped_is_named_and_does_not_count(suite: Path) -> None:
    code, lines = run(suite, LEAST + 1, "-m", "not model", skipped=2)
    assert (code, lines[0]) == (1, f"adversarial: {LEAST - 1} cases, 2 skipped: no moat (2)")


@pytest.mark.parametrize("part", [["-k", "attack"], [FOLDER]])
def test_a_part_of_the_suite_may_hold_fewer(suite: Path, part: list[str]) -> None:
    assert run(suite, 3, *part) == (0, ["adversarial: 3 cases, 0 skipped"])


def test_nothing_is_said_where_no_case_was_asked_for(suite: Path) -> None:
    assert run(suite, 3, "tests/test_other.py") == (0, [])
