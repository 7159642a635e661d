"""Memory that could go uncounted, modes that lend rights, and files that lead to who listens outside."""

from __future__ import annotations

import ctypes
import os
import shlex
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from contained import Bench, needs_bubblewrap
from landlock_place import Place, needs_landlock, place

from meshclaw.sandbox.base import Confinement, Limits
from meshclaw.sandbox.metadata import set_metadata

__all__ = ["place"]
LIMITS = Limits(memory=64 * 2**20)
SHARED = """
import mmap, time
areas = [mmap.mmap(-1, 20 * 2**20) for _ in range(8)]
for area in areas:
    for at in range(0, len(area), 4096): area[at] = 1
print("hel" + "d", flush=True)
time.sleep(20)
"""
FORKED = """
import mmap, os, time
data, area = b"x" * (15 * 2**20), mmap.mmap(-1, 15 * 2**20)
for at in range(0, len(area), 4096): area[at] = 1
for _ in range(4):
    if not os.fork():
        sum(data[at] + area[at] for at in range(0, len(area), 4096)); time.sleep(1); os._exit(0)
for _ in range(4): os.wait()
print("do" + "ne")
"""


def python(code: str) -> str:
    return shlex.join([sys.executable, "-I", "-c", code])


@needs_bubblewrap
async def test_shared_memory_counts(bench: Bench) -> None:
    assert "held" in (await bench.free(f"timeout 2 {python(SHARED)}")).output
    result = await bench.contained(python(SHARED), limits=LIMITS)
    assert (result.exit_code, result.stopped) == (None, "more than 64 MiB of memory")


@needs_landlock
async def test_shared_memory_counts_under_landlock(place: Place) -> None:
    result = await place.run(python(SHARED), confinement=Confinement(limits=LIMITS))
    assert (result.exit_code, result.stopped) == (None, "more than 64 MiB of memory")


@needs_bubblewrap
async def test_what_processes_share_is_counted_once(bench: Bench) -> None:
    result = await bench.contained(python(FORKED), limits=LIMITS)
    assert (result.output, result.stopped) == ("done\n", "")


@needs_bubblewrap
async def test_no_device_is_a_file_in_memory(bench: Bench) -> None:
    write = "echo x > /dev/big && echo LARGE; echo y > /dev/shm/fine && echo z > /dev/null && echo WELL"
    result = await bench.contained(write)
    assert "LARGE" not in result.output
    assert "WELL" in result.output
    probe = f"/dev/shm/meshclaw-{os.getpid()}"
    script = write.replace("/dev/big", f"{probe}; rm {probe}").replace("/dev/shm/fine", probe)
    free = await bench.free(script)
    Path(probe).unlink()
    assert "WELL" in free.output


@needs_bubblewrap
async def test_there_are_no_files_without_a_place(bench: Bench) -> None:
    script = python("import os; os.memfd_create('x'); print('MA' + 'DE')")
    assert "MADE" in (await bench.free(script)).output
    assert "MADE" not in (await bench.contained(script)).output


LENDING = {
    "chmod": "cp /bin/true {0}/s; chmod 4755 {0}/s; chmod 2755 {0}/s",
    "install": "install -m 6755 /bin/true {0}/s",
    "fchmod": python("import os; f = os.open('{0}/s', os.O_CREAT | 1); os.fchmod(f, 0o4755)"),
    "open": python("import os; os.open('{0}/s', os.O_CREAT | 1, 0o4755)"),
    "mknod": python("import os, stat; os.mknod('{0}/s', stat.S_IFREG | 0o4755)"),
    "openat2": python(
        "import ctypes, os, struct; how = struct.pack('=QQQ', os.O_CREAT | 1, 0o4755, 0)\n"
        "ctypes.CDLL(None).syscall(437, -100, b'{0}/s', how, ctypes.c_size_t(24))"
    ),
    "fchmodat2": python(
        "import ctypes, os; os.open('{0}/s', os.O_CREAT | 1)\n"
        "if ctypes.CDLL(None).syscall(452, -100, b'{0}/s', 0o4755, 0): os.chmod('{0}/s', 0o4755)"
    ),
    "in a new folder": "mkdir -p {0}/deep; cp /bin/true {0}/deep/s; chmod 4755 {0}/deep/s",
}


def lent(folder: Path) -> bool:
    files = (path.stat().st_mode for path in folder.rglob("s"))
    return any(mode & (stat.S_ISUID | stat.S_ISGID) for mode in files)


@needs_bubblewrap
@pytest.mark.parametrize("way", LENDING)
async def test_no_program_gets_the_accounts_rights(bench: Bench, way: str) -> None:
    (bench.project / "src").mkdir()
    script = LENDING[way].replace("{0}", "src")
    await bench.contained(script, "src/**")
    assert not lent(bench.project)
    await bench.contained(f"mkdir made; {LENDING[way].replace('{0}', 'made')}", "**")
    assert (bench.project / "made").is_dir()
    assert not lent(bench.project)
    await bench.free(f"rm -rf src/*; {script}")
    assert lent(bench.project), "the probe itself does not work"


@needs_landlock
@pytest.mark.parametrize("way", LENDING)
async def test_no_program_gets_them_under_landlock(place: Place, way: str) -> None:
    script = LENDING[way].replace("{0}", "out")
    await place.run(f"{script}; echo x > out/it; chmod 1750 out/it")
    assert not lent(place.project)
    assert (place.project / "out" / "it").stat().st_mode & 0o7777 == 0o1750


def test_the_supervisor_itself_lends_none(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.touch()
    text = ctypes.create_string_buffer(os.fsencode(path))
    asked = [ctypes.addressof(text), 0o7755, 0, 0, 0, 0]
    set_metadata("chmod", os.getpid(), asked, [str(tmp_path)], lambda: None)
    assert path.stat().st_mode & 0o7777 == 0o1755


@pytest.fixture
def listener(bench: Bench) -> Iterator[list[str]]:
    """Sockets and FIFOs in the project, in parts that are read and written, nested and not."""
    names = ["run/d.sock", "src/deep/d.sock"]
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        for name, made in zip(names, (one, two), strict=True):
            path = bench.project / name
            path.parent.mkdir(parents=True)
            before = Path.cwd()
            os.chdir(path.parent)
            try:
                made.bind(path.name)
            finally:
                os.chdir(before)
            made.listen()
        yield names


CONNECT = """
import socket, sys, os
for name in sys.argv[1:]:
    folder, name = os.path.split(name)
    os.chdir(folder)
    try:
        socket.socket(socket.AF_UNIX).connect(name); print("REA" + "CHED")
    except OSError as error: print(error)
    os.chdir("/" + "/".join(["proc", "self", "cwd", *[".."] * len(folder.split("/"))]))
"""


@needs_bubblewrap
@pytest.mark.parametrize("globs", [(), ("src/**",), ("**",)])
async def test_who_listens_in_the_project_is_not_reached(
    bench: Bench, listener: list[str], globs: tuple[str, ...]
) -> None:
    script = shlex.join([sys.executable, "-I", "-c", CONNECT, *listener])
    assert (await bench.free(script)).output == "REACHED\nREACHED\n"
    result = await bench.contained(script, *globs)
    assert "REACHED" not in result.output
    assert len(result.output.splitlines()) == 2, result.output


@needs_bubblewrap
async def test_a_pipe_with_a_name_leads_nowhere(bench: Bench) -> None:
    (bench.project / "run").mkdir()
    os.mkfifo(bench.project / "run" / "pipe")
    reading = os.open(bench.project / "run" / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        await bench.contained("chmod u+w run/pipe; echo x > run/pipe")
        # Nobody has it open for writing, and nothing was written.
        assert os.read(reading, 10) == b""
        await bench.free("echo x > run/pipe")
        assert os.read(reading, 10) == b"x\n"
    finally:
        os.close(reading)


@needs_bubblewrap
async def test_a_commands_own_socket_serves_the_next_one(bench: Bench) -> None:
    (bench.project / "src").mkdir()
    code = "import os, socket; s = socket.socket(socket.AF_UNIX); os.chdir('src')\n"
    code += "if os.path.exists('s'): os.unlink('s')\ns.bind('s'); s.listen(); print('serves')"
    sandbox = bench.sandbox()
    for _ in range(2):
        result = await sandbox.execute(bench.command(python(code), ("src/**",)))
        assert result.output == "serves\n"
    await sandbox.aclose()
