"""Says at the end of a run of the tests how many adversarial cases there were, and which were skipped.

A whole run with fewer than LEAST fails: cases that were lost, or skipped, are not passed over in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

LEAST = 150
FOLDER = "tests/adversarial/"
WHOLE = ("", "not model")
"""What `-m` may say in a run that counts as whole."""


@dataclass(frozen=True, slots=True)
class Count:
    """`ran` are cases that were tried, controls left out; `skipped` are reasons and how often."""

    ran: int
    skipped: Mapping[str, int]

    def __str__(self) -> str:
        skipped = sum(self.skipped.values())
        reasons = "; ".join(f"{reason} ({times})" for reason, times in sorted(self.skipped.items()))
        return f"adversarial: {self.ran} cases, {skipped} skipped" + (f": {reasons}" if reasons else "")


def count(reports: Mapping[str, Sequence[Any]]) -> Count:
    """Of a terminal reporter's `stats`: reports by outcome."""
    ran: set[str] = set()
    skipped: dict[str, str] = {}
    for report in (one for some in reports.values() for one in some):
        name = getattr(report, "nodeid", "")
        if not isinstance(report, pytest.TestReport) or not name.startswith(FOLDER):
            continue
        if report.skipped and isinstance(report.longrepr, tuple):
            skipped[name] = str(report.longrepr[2]).removeprefix("Skipped: ")
        elif "control" not in name.partition("[")[0]:
            ran.add(name)
    return Count(len(ran - skipped.keys()), Counter(skipped.values()))


def is_whole(config: pytest.Config) -> bool:
    """Whether everything was asked for: no path, no expression."""
    options = config.option
    asked = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return asked and not options.keyword and options.markexpr in WHOLE and not options.collectonly


def too_few(session: pytest.Session) -> bool:
    return is_whole(session.config) and _counted(session.config).ran < LEAST


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Runs in the workers of xdist too, which have no terminal."""
    if exitstatus == pytest.ExitCode.OK and _reporter(session.config) is not None and too_few(session):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    config = terminalreporter.config
    found = _counted(config)
    if not found.ran and not found.skipped and not is_whole(config):
        return
    few = is_whole(config) and found.ran < LEAST
    terminalreporter.write_line(str(found), yellow=bool(found.skipped), red=few)
    if few:
        terminalreporter.write_line(f"adversarial: at least {LEAST} have to be tried", red=True)


def _reporter(config: pytest.Config) -> Any:
    return config.pluginmanager.get_plugin("terminalreporter")


def _counted(config: pytest.Config) -> Count:
    return count(_reporter(config).stats)
