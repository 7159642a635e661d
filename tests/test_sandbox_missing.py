"""Without bubblewrap the sandbox's tests are skipped by name, and fail where CI is to have it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from contained import needs_bubblewrap

ROOT = Path(__file__).parents[1]
HIDDEN = ("/usr/bin/bwrap", "--dev-bind", "/", "/", "--ro-bind", "/dev/null", "/usr/bin/bwrap", "--")
NO_NAMESPACES = ("/usr/bin/bwrap", "--unshare-user", "--disable-userns", "--dev-bind", "/", "/", "--")


def tried(within: tuple[str, ...], **environment: str) -> tuple[int, str]:
    test = "tests/adversarial/test_sandbox_processes.py::test_no_core_is_left"
    mine = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [*within, sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env={**mine, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@needs_bubblewrap
def test_a_missing_sandbox_is_named_and_counted_and_fails_in_ci() -> None:
    assert tried(())[0] == 0
    for within, reason in (
        (HIDDEN, "bubblewrap is not installed: the sandbox is not tested"),
        (NO_NAMESPACES, "bubblewrap does not work here: bwrap: "),
    ):
        code, said = tried(within)
        assert code == 0, said
        assert f"adversarial: 0 cases, 1 skipped: {reason}" in said
        assert f": {reason}" in said.partition("SKIPPED [1]")[2]
        code, said = tried(within, CI="true")
        assert code == 1, said
        assert f"CI=true, but {reason}" in said
