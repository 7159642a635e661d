"""A process that is killed while it has to do with a copy leaves nothing in the next one's way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from repository_place import Place, fingerprint
from repository_place import place as place

DRIVER = Path(__file__).with_name("isolation_kill_driver.py")


@pytest.mark.slow
async def test_a_copy_that_was_cut_short_is_gone_on_with_or_removed(place: Place, tmp_path: Path) -> None:
    place.write(**{"new.txt": "not committed\n", "app.py": "mine\n"})
    before = fingerprint(place.project)
    (tmp_path / "runs").mkdir()
    command = [sys.executable, str(DRIVER), str(place.project), str(tmp_path / "runs"), "15"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 8
    assert fingerprint(place.project) == before
