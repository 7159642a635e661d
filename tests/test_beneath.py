"""Opening a folder beneath another: with one call of the kernel's, and without it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshclaw.workspace.beneath import Opener, in_one_call, make_folder, open_folder, step_by_step

OPENERS = [open_folder, in_one_call, step_by_step]


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "top" / "a" / "b").mkdir(parents=True)
    (tmp_path / "top" / "file").write_text("x")
    (tmp_path / "outside").mkdir()
    (tmp_path / "top" / "out").symlink_to("../outside")
    (tmp_path / "top" / "in").symlink_to("a")
    (tmp_path / "top" / "magic").symlink_to("/proc/self/cwd")
    descriptor = os.open(tmp_path / "top", os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def is_folder(opener: Opener, top: int, names: list[str], path: Path) -> bool:
    found = opener(top, names)
    try:
        assert not os.get_inheritable(found)
        return os.path.samestat(os.fstat(found), path.stat())
    finally:
        os.close(found)


@pytest.mark.parametrize("opener", OPENERS)
def test_opens_what_is_beneath(opener: Opener, top: int, tmp_path: Path) -> None:
    for names in ([], ["a"], ["a", "b"]):
        assert is_folder(opener, top, names, tmp_path.joinpath("top", *names))


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("names", [["out"], ["in"], ["in", "b"], ["magic"], ["file"], ["a", "none"]])
def test_follows_no_link(opener: Opener, names: list[str], top: int, tmp_path: Path) -> None:
    opened = open_descriptors()
    with pytest.raises(OSError, match="Errno"):
        opener(top, names)
    assert open_descriptors() == opened
    # The control: a plain open does follow all links.
    if names[0] not in ("file", "a"):
        os.close(os.open(tmp_path.joinpath("top", *names), os.O_RDONLY | os.O_DIRECTORY))


def test_one_call_does_not_leave_the_folder_by_name_either(top: int, tmp_path: Path) -> None:
    """Names are checked before; this is what holds if they were not."""
    for names in (["..", "outside"], ["", "etc"]):
        with pytest.raises(OSError, match="Errno"):
            in_one_call(top, names)
    os.close(os.open("../outside", os.O_RDONLY, dir_fd=top))


def test_makes_what_is_missing(top: int, tmp_path: Path) -> None:
    os.close(make_folder(top, ["a", "new", "deep"]))
    assert (tmp_path / "top" / "a" / "new" / "deep").is_dir()
    for names in (["out", "new"], ["in", "new"], ["file", "new"]):
        with pytest.raises(OSError, match="Errno"):
            make_folder(top, names)
    assert not list((tmp_path / "outside").iterdir())


WITHOUT_THE_CALL = """
import ctypes, os, struct, sys
from meshclaw.workspace.beneath import in_one_call, open_folder
answer = int(sys.argv[1])
rows = [(0x20, 0, 0, 0), (0x15, 0, 1, 437), (0x06, 0, 0, 0x50000 | answer), (0x06, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("=HBBI", *row) for row in rows)
held = ctypes.create_string_buffer(code)
program = struct.pack("@HP", len(rows), ctypes.addressof(held))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
top = os.open(".", os.O_RDONLY)
os.close(in_one_call(top, ["a"]))
assert libc.prctl(22, 2, program) == 0
try:
    in_one_call(top, ["a"])
except OSError as error:
    assert error.errno == answer
else:
    raise SystemExit("the filter does not hold")
os.close(open_folder(top, ["a", "b"]))
try:
    open_folder(top, ["in"])
except OSError:
    print("refused")
"""


@pytest.mark.parametrize("answer", [1, 38])
def test_without_the_call_it_goes_step_by_step(answer: int, top: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_THE_CALL, str(answer)]
    done = subprocess.run(command, cwd=tmp_path / "top", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "refused\n", "")
