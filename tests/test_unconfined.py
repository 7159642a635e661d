"""Commands without a sandbox: bounded in time and memory, and nothing stays behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import anyio
import pytest

from meshclaw.sandbox.base import Command, CommandResult
from meshclaw.sandbox.unconfined import Unconfined, command_environment

ENVIRONMENT = {"PATH": os.environ["PATH"]}


async def run(
    script: str, folder: Path, *, timeout: float = 60.0, max_output: int = 1_000_000
) -> CommandResult:
    return await Unconfined().execute(Command(script, folder, ENVIRONMENT, timeout, max_output))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def alive(pid_file: Path) -> bool:
    """Whether the process whose id is in the file still runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid_file.read_text().strip()}/stat").read_text()
    except FileNotFoundError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


async def appears(path: Path) -> None:
    with anyio.fail_after(30):
        while not (path.exists() and path.read_text().strip()):
            await anyio.sleep(0.01)


async def ends(pid_file: Path) -> None:
    with anyio.fail_after(30):
        while alive(pid_file):
            await anyio.sleep(0.01)


async def test_output_and_exit_codes(tmp_path: Path) -> None:
    result = await run("echo out; echo err >&2; pwd; exit 3", tmp_path)
    assert result.output == f"out\nerr\n{tmp_path.resolve()}\n"
    assert (result.exit_code, result.timed_out) == (3, False)
    assert (await run("kill -9 $$", tmp_path)).exit_code == 137
    assert (await run("printf 'caf\\351'", tmp_path)).output == "caf\ufffd"
    assert (await run("true", tmp_path)).output == ""


async def test_streams_that_are_kept_apart(tmp_path: Path) -> None:
    script = "echo out; echo err >&2; seq 9; exit 3"
    before = open_descriptors()
    result = await Unconfined().execute(Command(script, tmp_path, ENVIRONMENT, max_output=10, apart=True))
    assert result.output == "out\n1\n[... 12 bytes dropped ...]\n\n8\n9\n"
    assert (result.errors, result.exit_code, result.dropped) == ("err\n", 3, 12)
    assert open_descriptors() == before


async def test_exactly_the_given_environment_and_no_input(tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "MESHCLAW_PARAM_X": "a b\nc"}
    result = await Unconfined().execute(Command("env -0; cat; ls /proc/self/fd", tmp_path, environment))
    text, _, descriptors = result.output.rpartition("\0")
    shown = dict(item.split("=", 1) for item in text.split("\0"))
    assert {
        name: value for name, value in shown.items() if name not in ("PWD", "_", "SHLVL", "OLDPWD")
    } == (environment)
    assert descriptors.split() == ["0", "1", "2", "3"]  # 3 is the folder that ls itself reads


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        await run("true", tmp_path / "none")
    before = open_descriptors()
    for _ in range(5):
        with pytest.raises(OSError, match="none"):
            await run("true", tmp_path / "none")
    assert open_descriptors() == before


async def test_endless_output_is_bounded(tmp_path: Path) -> None:
    result = await run("echo first; yes", tmp_path, timeout=2.0, max_output=10_000)
    assert result.timed_out
    assert result.exit_code is None
    assert result.output.startswith("first\ny\n")
    assert "bytes dropped" in result.output
    assert len(result.output) < 10_200


async def test_head_and_tail_are_kept(tmp_path: Path) -> None:
    result = await run("seq 1 100000", tmp_path, max_output=1_000)
    assert result.output.startswith("1\n2\n3\n")
    assert result.output.endswith("99999\n100000\n")
    whole = await run("seq 1 100", tmp_path, max_output=1_000)
    assert whole.output.split() == [str(number) for number in range(1, 101)]


async def test_a_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    script = "sleep 1000 & echo $! > child; (trap '' TERM; echo $$ > shell; sleep 1000; sleep 1000) & wait"
    result = await run(script, tmp_path, timeout=2.0)
    assert result.timed_out
    assert (tmp_path / "child").read_text().strip()
    assert not alive(tmp_path / "child")


async def test_a_command_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM HUP INT; echo $$ > pid; echo ready; while :; do sleep 0.1; done"
    result = await run(script, tmp_path, timeout=2.0)
    assert result.timed_out
    assert result.output == "ready\n"
    assert not alive(tmp_path / "pid")


async def test_what_is_left_in_the_background_neither_hangs_nor_stays(tmp_path: Path) -> None:
    script = "sleep 1000 & echo $! > holds; sleep 1000 >/dev/null 2>&1 & echo $! > silent; echo done"
    began = time.monotonic()
    result = await run(script, tmp_path, timeout=500)
    assert time.monotonic() - began < 400  # it did not wait for them
    assert (result.exit_code, result.timed_out) == (0, False)
    assert result.output == "done\n"
    assert not alive(tmp_path / "holds")
    assert not alive(tmp_path / "silent")


async def test_a_process_that_leaves_its_group_does_not_hang_us(tmp_path: Path) -> None:
    """The known limit: it escapes, even with our pipe open. The test ends it itself."""
    script = "setsid sh -c 'echo $$ > escaped; exec sleep 1000' & sleep 0.3; echo done"
    result = await run(script, tmp_path, timeout=500)
    assert result.output == "done\n"
    await appears(tmp_path / "escaped")
    os.kill(int((tmp_path / "escaped").read_text()), 9)
    await ends(tmp_path / "escaped")


async def test_cancellation_leaves_nothing_behind(tmp_path: Path) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(run, "sleep 1000 & echo $! > child; echo $$ > shell; wait", tmp_path)
        await appears(tmp_path / "shell")
        assert alive(tmp_path / "child")  # the control
        group.cancel_scope.cancel()
    assert not alive(tmp_path / "shell")
    assert not alive(tmp_path / "child")


async def test_many_side_by_side(tmp_path: Path) -> None:
    results: dict[int, str] = {}

    async def one(number: int) -> None:
        results[number] = (await run(f"echo {number}", tmp_path)).output

    before = open_descriptors()
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(one, number)
    assert results == {number: f"{number}\n" for number in range(20)}
    assert open_descriptors() == before


def test_the_environment_of_commands_holds_no_key() -> None:
    given = {
        "PATH": "/bin",
        "HOME": "/home/me",
        "LANG": "C.UTF-8",
        "LC_ALL": "C",
        "TZ": "UTC",
        "VIRTUAL_ENV": "/v",
        "ANTHROPIC_API_KEY": "sk-1",
        "AWS_SECRET_ACCESS_KEY": "x",
        "GITHUB_TOKEN": "x",
        "SSH_AUTH_SOCK": "/s",
        "LD_PRELOAD": "/evil.so",
        "BASH_ENV": "/evil",
        "ENV": "/evil",
        "PYTHONPATH": "/evil",
        "HTTPS_PROXY": "http://user:password@proxy",
    }
    environment = command_environment(given)
    kept = {name: value for name, value in environment.items() if name in given}
    assert sorted(kept) == ["HOME", "LANG", "LC_ALL", "PATH", "TZ", "VIRTUAL_ENV"]
    assert environment["MESHCLAW"] == "1"
    assert environment["GIT_TERMINAL_PROMPT"] == "0"
    assert environment["PAGER"] == "cat"
    assert environment["NO_COLOR"] == "1"
