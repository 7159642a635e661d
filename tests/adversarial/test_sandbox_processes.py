"""What contained commands cannot outlive, exhaust or hand on."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest
from command_line import CommandLine
from contained import PYTHON, Bench, needs_bubblewrap
from landlock_place import needs_landlock
from wire_server import Turn, WireServer

from meshclaw.sandbox.base import Limits, SandboxError
from meshclaw.sandbox.bubblewrap import Bubblewrap, find_bubblewrap

pytestmark = needs_bubblewrap


def running(mark: str) -> list[int]:
    """Processes whose command line holds `mark`; zombies have none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def mark_of(bench: Bench) -> str:
    """A number of seconds to sleep for that no other test uses."""
    return f"3{abs(hash(str(bench.project))) % 10**7}"


ESCAPES = {
    "background": "sleep {} & exit 0",
    "setsid": "setsid sleep {} & exit 0",
    "double fork": "(setsid sh -c 'setsid sleep {} &' &) ; exit 0",
    "nohup": "nohup sleep {} >/dev/null 2>&1 & exit 0",
    "closed descriptors": "setsid sleep {} 0<&- 1>&- 2>&- & exit 0",
    "deaf to signals": "(trap '' TERM INT HUP; setsid sleep {}) & exit 0",
}


@pytest.mark.parametrize("way", ESCAPES)
async def test_nothing_outlives_its_command(bench: Bench, way: str) -> None:
    mark = mark_of(bench)
    script = ESCAPES[way].format(mark) + "; "
    result = await bench.contained(f"{script}")
    assert result.exit_code == 0
    assert running(f"sleep\0{mark}") == []


async def test_the_same_daemon_outlives_a_command_that_is_not_contained(bench: Bench) -> None:
    mark = mark_of(bench)
    await bench.free(f"setsid sleep {mark} >/dev/null 2>&1 & sleep 0.3")
    left = running(f"sleep\0{mark}")
    assert left
    for pid in left:
        os.kill(pid, signal.SIGKILL)


ENDLESS = {
    "sleeping": "sleep {}",
    "busy": "while :; do :; done; : {}",
    "deaf to signals": "trap '' TERM INT HUP; while :; do sleep {}; done",
    "python that is deaf": (
        PYTHON + " -c 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep({})'"
    ),
    "with children": "for i in 1 2 3; do setsid sleep {} & done; wait",
    "stopped": "kill -STOP $$; : {}",
}


@pytest.mark.parametrize("way", ENDLESS)
async def test_time_is_up_for_everything(bench: Bench, way: str) -> None:
    mark = mark_of(bench)
    result = await bench.contained(ENDLESS[way].replace("{}", mark), timeout=0.6)
    assert (result.timed_out, result.exit_code) == (True, None)
    assert running(mark) == []


async def test_who_listens_is_asked_to_end_first(bench: Bench) -> None:
    polite = "trap 'sleep 0.05 && echo tidied > note; exit' TERM; sleep 60 & wait"
    result = await bench.contained(f"({polite}) & sleep 60", "note", timeout=3.0)
    assert result.timed_out
    assert (bench.project / "note").read_text() == "tidied\n"


async def test_streams_that_are_kept_apart(bench: Bench) -> None:
    result = await bench.contained("echo out; echo err >&2", apart=True)
    assert (result.output, result.errors) == ("out\n", "err\n")


async def test_a_cancelled_run_leaves_nothing(bench: Bench) -> None:
    mark = mark_of(bench)
    async with anyio.create_task_group() as group:
        group.start_soon(bench.contained, f"trap '' TERM; setsid sleep {mark} & sleep {mark}")
        with anyio.fail_after(60):
            while len(running(f"sleep\0{mark}")) < 2:
                await anyio.sleep(0.02)
        group.cancel_scope.cancel()
    assert running(mark) == []


DRIVER = """
import anyio, sys
from pathlib import Path
from contained import Bench
project, home, private, script = sys.argv[1:]
bench = Bench(Path(project), Path(home), Path(private))
anyio.run(bench.contained, script, "**")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_when_we_die_all_of_it_dies(bench: Bench, number: signal.Signals) -> None:
    mark = mark_of(bench)
    script = f"setsid sleep {mark} & touch ready; trap '' TERM HUP INT; sleep {mark}"
    tests = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(bench.project), str(bench.home), str(bench.private), script],
        env={**os.environ, "PYTHONPATH": str(tests)},
        cwd=tests,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(running(f"sleep\0{mark}")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    process.wait(60)
    while running(f"sleep\0{mark}"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


JOB = """\
prompt: Do it.
tools: [shell]
allow: {run: ["*"]}
"""


@pytest.mark.parametrize("sandbox", ["bubblewrap", pytest.param("landlock", marks=needs_landlock)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_run_ends_its_commands(
    tmp_path: Path, sandbox: str, number: signal.Signals
) -> None:
    """The whole of it: the real command, with a model that starts what does not want to end."""
    mark = f"4{os.getpid()}{number}{len(sandbox)}"
    stubborn = f"setsid sleep {mark} & trap '' TERM HUP INT; sleep {mark}"
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "job.yaml").write_text(JOB)
    with WireServer() as server:
        config = tmp_path / "config.yaml"
        provider = f"providers: {{vllm: {{base_url: '{server.openai_url}'}}}}\n"
        config.write_text(f"{provider}sandbox: {{use: {sandbox}}}\n")
        server.script(Turn(tool_calls=[("shell", {"command": stubborn})]), Turn(text="done"))
        line = CommandLine(tmp_path, {"MESHCLAW_CONFIG": str(config)})
        process = line.start("run", "job", "--model", "vllm/m")
        deadline = time.monotonic() + 60
        while len(running(f"sleep\0{mark}")) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(60) == (143 if number == signal.SIGTERM else -number)
    while running(f"sleep\0{mark}"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_a_fork_storm_is_ended(bench: Bench) -> None:
    limits = Limits(processes=60)
    storm = "while :; do setsid sleep 60 & done"
    result = await bench.contained(storm, limits=limits, timeout=50.0)
    # The kernel holds everybody but root to the limit; root is looked at from outside.
    assert result.stopped == "more than 60 processes" or "fork" in result.output
    few = await bench.contained("for i in $(seq 20); do sleep 0.2 & done; wait; echo fine", limits=limits)
    assert (few.output, few.stopped) == ("fine\n", "")


async def test_memory_is_bounded(bench: Bench) -> None:
    limits = Limits(memory=96 * 2**20)
    take = f"{PYTHON} -c 'x = b\"x\" * ({{}} * 2**20); import time; time.sleep(2); print(len(x))'"
    result = await bench.contained(take.format(200), limits=limits)
    assert result.stopped == "more than 96 MiB of memory"
    many = " & ".join([take.format(20)] * 8)
    assert (await bench.contained(f"{many} & wait", limits=limits)).stopped
    assert (await bench.contained(take.format(20), limits=limits)).output == f"{20 * 2**20}\n"


async def test_a_single_huge_allocation_fails_at_once(bench: Bench) -> None:
    limits = Limits(memory=64 * 2**20)
    result = await bench.contained(f"{PYTHON} -c 'bytearray(2**30)'", limits=limits)
    assert result.exit_code == 1
    assert "MemoryError" in result.output


async def test_cpu_time_is_bounded_also_over_many_processes(bench: Bench) -> None:
    limits = Limits(cpu=1.0)
    spin = "while :; do :; done"
    assert (await bench.contained(spin, limits=limits)).exit_code in (None, 128 + signal.SIGXCPU, 137)
    many = "; ".join(["(i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done)"] * 400)
    assert (await bench.contained(many, limits=limits)).stopped == "more than 1 s of CPU time"
    assert (await bench.contained("echo fine", limits=limits)).output == "fine\n"


async def test_file_size_is_bounded(bench: Bench) -> None:
    limits = Limits(file_size=2**20)
    script = "head -c 3000000 /dev/zero > /tmp/big; stat -c %s /tmp/big"
    assert int((await bench.contained(script, limits=limits)).output.split()[-1]) == 2**20
    assert int((await bench.contained(script)).output.split()[-1]) == 3_000_000
    assert (await bench.contained("head -c 9000 /dev/zero | wc -c", limits=limits)).output == "9000\n"


async def test_output_without_end_is_bounded(bench: Bench) -> None:
    result = await bench.contained("yes", timeout=3.0, max_output=10_000)
    assert result.timed_out
    assert len(result.output) < 10_200
    assert "bytes dropped" in result.output


async def test_no_core_is_left(bench: Bench) -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        held = await bench.contained("ulimit -c; kill -SEGV $$", "**")
        free = await bench.free("ulimit -c")
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    assert held.output.split()[0] == "0"
    assert list(bench.project.iterdir()) == []
    assert free.output != "0\n" or before[1] == 0


async def test_a_shim_on_path_is_not_taken_for_bubblewrap(bench: Bench) -> None:
    shims = bench.home / "shims"
    shims.mkdir()
    shim = shims / "bwrap"
    shim.write_text(f"#!/bin/sh\ntouch '{bench.home}/fooled'\nexec /bin/sh -c true\n")
    shim.chmod(0o755)
    bench.path = f"{shims}:{bench.path}"
    os.environ["PATH"], before = bench.path, os.environ["PATH"]
    try:
        assert (await bench.contained("echo held")).output == "held\n"
        assert not (bench.home / "fooled").exists()
        subprocess.run(["bwrap", "--version"], check=True)
        assert (bench.home / "fooled").exists(), "the probe itself does not work"
    finally:
        os.environ["PATH"] = before


def test_a_bubblewrap_that_others_may_change_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_bubblewrap(program) == program.resolve()
    program.chmod(0o777)
    with pytest.raises(SandboxError, match="changed by others"):
        find_bubblewrap(program)
    assert find_bubblewrap(tmp_path / "absent") is None


@pytest.mark.parametrize("body", ["exit 1", "echo no namespaces >&2; exit 1", "exit 0", "sleep 0.1"])
async def test_a_sandbox_that_does_not_start_is_an_error_not_a_result(bench: Bench, body: str) -> None:
    broken = bench.home / "bwrap"
    broken.write_text(f"#!/bin/sh\n{body}\n")
    broken.chmod(0o755)
    sandbox = Bubblewrap(broken, bench.machine, bench.private)
    with pytest.raises(SandboxError, match="could not be set up"):
        await sandbox.execute(bench.command("true", ()))
    await sandbox.aclose()
    assert (await bench.contained("exit 3")).exit_code == 3


async def test_the_terminal_of_the_user_is_out_of_reach(bench: Bench) -> None:
    result = await bench.contained("test -c /dev/tty && : < /dev/tty && echo REACHED; tty; ls /dev/pts")
    assert "REACHED" not in result.output


PRIVILEGED = {
    "user namespace": "unshare -r true && echo REACHED",
    "mount": "mount -t tmpfs none /mnt && echo REACHED",
    "bind": "mount --bind /etc /mnt && echo REACHED",
    "unmount": "umount /proc && echo REACHED",
    "device": "mknod /tmp/d b 8 0 && echo REACHED",
    "raw socket": PYTHON + ' -c \'import socket; socket.socket(2, 3, 1); print("REA" + "CHED")\'',
    "packet socket": PYTHON + ' -c \'import socket; socket.socket(17, 3, 0); print("REA" + "CHED")\'',
    "chroot": "mkdir -p /tmp/r && chroot /tmp/r /bin/true; test $? -ne 126 -a $? -ne 125 && echo REACHED",
    "network interface": "ip link set lo down 2>/dev/null && echo REACHED",
    "capabilities": "grep -q 'CapEff:.*[1-9a-f]' /proc/self/status && echo REACHED",
    "new privileges": "grep -q 'NoNewPrivs:.*0' /proc/self/status && echo REACHED",
}


@pytest.mark.parametrize("way", PRIVILEGED)
async def test_no_privilege_is_left(bench: Bench, way: str) -> None:
    result = await bench.contained(PRIVILEGED[way])
    assert "REACHED" not in result.output
    assert (
        "REACHED"
        in (await bench.contained("grep -q 'NoNewPrivs:.*1' /proc/self/status && echo REACHED")).output
    )
