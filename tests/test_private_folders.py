"""Private folders of runs: removed whatever is in them, and after a run that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from contained import PYTHON, Bench, needs_bubblewrap

from meshclaw.sandbox.private import Private, remove_tree

HOLDER = """
import sys
from pathlib import Path
from meshclaw.sandbox.private import Private
private = Private(Path(sys.argv[1]))
(private.folder / "big").write_text("x")
print(private.folder, flush=True)
sys.stdin.read()
"""


def test_what_a_killed_run_left_goes_with_the_next_one(tmp_path: Path) -> None:
    parent = tmp_path / "sandbox"
    argv = [sys.executable, "-c", HOLDER, str(parent)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        left = Path(holder.stdout.readline().strip())
        first = Private(parent)
        assert (left / "big").exists(), "it is in use"
        holder.send_signal(signal.SIGKILL)
    assert (left / "big").exists(), "the probe itself does not work"
    second = Private(parent)
    assert sorted(parent.iterdir()) == sorted((first.folder, second.folder))
    first.close()
    second.close()
    assert list(parent.iterdir()) == []


UNLOCKED = """
import os, sys
from meshclaw.sandbox import kernel
from meshclaw.sandbox.private import remove_tree
kernel.give_up_rights()
try:
    os.listdir(sys.argv[1] + "/tree/locked")
except PermissionError:
    print("locked")
remove_tree("tree", os.open(sys.argv[1], os.O_RDONLY))
"""


def test_folders_that_are_locked_are_removed_too(tmp_path: Path) -> None:
    """As an ordinary account, which root's rights are given up for."""
    outside = tmp_path / "outside"
    outside.mkdir()
    locked = tmp_path / "tree" / "locked" / "in"
    locked.mkdir(parents=True)
    (locked / "f").touch()
    (locked / "link").symlink_to(outside)
    (outside / "f").touch()
    for path in (locked, locked.parent, locked.parents[1]):
        path.chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", UNLOCKED, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("locked\n", "")
    assert list(tmp_path.iterdir()) == [outside]
    assert (outside / "f").exists()


def test_no_depth_is_too_deep(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(3_000):
        os.mkdir("tree", dir_fd=here)
        inner = os.open("tree", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    above = os.open(tmp_path, os.O_RDONLY)
    remove_tree("tree", above)
    os.close(above)
    assert list(tmp_path.iterdir()) == []


DEEP = """
import os
for _ in range(1_100):
    os.mkdir("d"); os.chdir("d")
"""


@needs_bubblewrap
async def test_what_is_too_deep_is_not_brought_back(bench: Bench) -> None:
    (bench.project / "deep.py").write_text(DEEP)
    script = f"{PYTHON} deep.py && echo x > fine"
    result = await bench.contained(script, "**")
    assert result.not_kept == ("d",)
    assert sorted(path.name for path in bench.project.iterdir()) == ["deep.py", "fine"]


@needs_bubblewrap
async def test_a_command_cannot_keep_its_private_folders(bench: Bench) -> None:
    await bench.contained("mkdir -p /tmp/a/b ~/c; chmod 0 /tmp/a/b /tmp/a ~/c")
    assert list(bench.private.iterdir()) == []
