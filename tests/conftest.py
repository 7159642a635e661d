"""What holds for every test: one event loop, a home of its own, nobody's keys, no time limits.

`MESHCLAW_TEST_MODELS` names the folder that holds the embedded models' files (the Makefile sets it after
pulling them). It is the only variable of ours that tests see from outside.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from adversarial_count import pytest_sessionfinish as pytest_sessionfinish
from adversarial_count import pytest_terminal_summary as pytest_terminal_summary
from contained import bench as bench
from contained import missing_in_ci as missing_in_ci
from hypothesis import settings
from made_once import Once

OUTSIDE = ("ANTHROPIC_", "OPENAI_", "MESHCLAW_", "XDG_", "OPENROUTER_", "GEMINI_", "GOOGLE_")
"""Variables with these prefixes never reach a test: a key found by chance could be spent."""

MODELS_VARIABLE = "MESHCLAW_TEST_MODELS"

settings.register_profile("meshclaw", deadline=None)
settings.load_profile("meshclaw")


def pytest_configure() -> None:
    """A shell starts background jobs with Ctrl-C ignored, and children inherit that; tests send it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of the embedded model go to one worker (`--dist loadgroup`): each holds the weights."""
    for item in items:
        if item.get_closest_marker("model"):
            item.add_marker(pytest.mark.xdist_group("embedded model"))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop of async tests and fixtures of any scope."""
    return "asyncio"


@pytest.fixture(scope="session")
def once() -> Iterator[Once]:
    with ExitStack() as stack:
        yield Once(stack)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of the test's own: neither it nor its child processes touch the user's files."""
    folder = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith(OUTSIDE) and name != MODELS_VARIABLE]:
        monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    for name, place in (
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_STATE_HOME", ".local/state"),
        ("XDG_CACHE_HOME", ".cache"),
        ("XDG_RUNTIME_DIR", ".run"),
    ):
        monkeypatch.setenv(name, str(folder / place))
    return folder
