"""Commands held by Landlock: what they may do, how they end, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from landlock_place import PATH, PYTHON, WRITE, Place, needs_landlock, place, python

from meshclaw.sandbox.base import Confinement, Limits, SandboxError

pytestmark = needs_landlock
__all__ = ["place"]


async def test_a_command_sees_its_environment_and_its_folder(place: Place) -> None:
    result = await place.run("env; pwd; cat src/a.py; exit 3", environment={"PATH": PATH, "LANG": "C"})
    private = next((place.home.parent / "private").glob("run-*"))
    lines = result.output.splitlines()
    assert result.exit_code == 3
    assert set(lines) - {f"PWD={place.project}"} == {
        f"PATH={PATH}",
        "LANG=C",
        f"HOME={private}/home",
        f"TMPDIR={private}/tmp",
        "GIT_CONFIG_NOSYSTEM=1",
        str(place.project),
        "a = 1",
    }


async def test_streams_that_are_kept_apart(place: Place) -> None:
    result = await place.run("echo out; echo err >&2", apart=True)
    assert (result.output, result.errors) == ("out\n", "err\n")


async def test_what_is_allowed_can_be_written_and_stays(place: Place) -> None:
    script = (
        "echo new > notes.md; mkdir -p out/deep; echo x > out/deep/y; mv out/deep/y out/z;"
        ' echo t > "$HOME/h"; mktemp >/dev/null && chmod 750 out/z &&'
        ' touch -d 2001-02-03 out/z && cat "$HOME/h"'
    )
    result = await place.run(script)
    assert (result.exit_code, result.output) == (0, "t\n")
    assert (place.project / "notes.md").read_text() == "new\n"
    found = (place.project / "out" / "z").stat()
    assert (found.st_mode & 0o777, found.st_mtime) == (0o750, 981_158_400.0)
    assert (await place.run('cat "$HOME/h"')).output == "t\n", "a run's home stays for its next command"


def running(mark: str) -> list[str]:
    """Command lines of processes that have `mark` in them, zombies not counted."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in line and str(os.getpid()) != path.parent.name:
            found.append(line)
    return found


async def gone(mark: str) -> None:
    with anyio.fail_after(30):
        while running(mark):
            await anyio.sleep(0.01)


async def test_only_three_descriptors_are_inherited(place: Place) -> None:
    code = """
import os
for n in range(256):
    try: os.fstat(n)
    except OSError: continue
    print(n)
"""
    with (place.home / "plain").open() as secret:
        os.set_inheritable(secret.fileno(), True)
        argv = [sys.executable, "-I", "-c", code]
        free = await anyio.to_thread.run_sync(
            lambda: subprocess.run(argv, close_fds=False, stdout=subprocess.PIPE, check=True)
        )
        assert str(secret.fileno()) in free.stdout.decode().split()
        assert (await place.run(python(code))).output.split() == ["0", "1", "2"]


async def test_daemons_that_ignore_signals_are_ended(place: Place) -> None:
    mark = f"sleep 86{os.getpid()}"
    daemon = f"""setsid sh -c 'trap "" TERM; {mark}; {mark}' </dev/null & sleep 0.3; echo done; exit 4"""
    result = await place.run(daemon)
    assert (result.exit_code, result.output) == (4, "done\n")
    assert running(mark) == []


async def test_a_fork_storm_is_ended(place: Place) -> None:
    mark = f"storm{os.getpid()}"
    code = f"""
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
'{mark}'
while True:
    try: os.fork()
    except OSError: time.sleep(0.01)
"""
    confinement = Confinement(write=WRITE, limits=Limits(processes=40))
    result = await place.run(python(code), confinement=confinement)
    assert (result.exit_code, result.stopped) == (None, "more than 40 processes")
    assert running(mark) == []


async def test_processes_that_have_ended_do_not_count(place: Place) -> None:
    confinement = Confinement(write=WRITE, limits=Limits(processes=8))
    code = "import os\nfor _ in range(40): os.fork() or os._exit(0); os.wait()\nprint('well')"
    result = await place.run(python(code), confinement=confinement)
    assert (result.exit_code, result.stopped) == (0, ""), result.output


async def test_the_timeout_ends_everything(place: Place) -> None:
    mark = f"sleep 87{os.getpid()}"
    result = await place.run(f"echo begun; setsid {mark} & {mark}", timeout=3.0)
    assert (result.exit_code, result.timed_out, result.output) == (None, True, "begun\n")
    assert running(mark) == []


async def test_cancelling_ends_everything(place: Place) -> None:
    mark = f"sleep 88{os.getpid()}"
    async with anyio.create_task_group() as group:
        group.start_soon(place.run, f"setsid {mark} & {mark}")
        with anyio.fail_after(30):
            while not running(mark):
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert running(mark) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_when_we_are_ended_the_command_is_too(place: Place, number: signal.Signals) -> None:
    mark = f"sleep 89{os.getpid()}{number.value}"
    program = f"""
import anyio
from pathlib import Path
from meshclaw.sandbox.base import Command
from meshclaw.sandbox.landlock import Landlock
from meshclaw.sandbox.mounts import survey
home, project = Path({str(place.home)!r}), Path({str(place.project)!r})
sandbox = Landlock(lambda: survey({{"PATH": {PATH!r}}}, home, project), home.parent / "other")
anyio.run(sandbox.execute, Command("setsid {mark} & {mark}", project, {{"PATH": {PATH!r}}}))
"""
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as ours:
        with anyio.fail_after(30):
            while len([line for line in running(mark) if line.startswith("sleep")]) < 2:
                assert ours.poll() is None
                await anyio.sleep(0.01)
        ours.send_signal(number)
        await gone(f"{mark} ")


async def test_output_is_bounded_and_signals_have_their_numbers(place: Place) -> None:
    result = await place.run("yes | head -c 3000000; kill -SEGV $$", max_output=10_000)
    assert result.exit_code == 128 + signal.SIGSEGV
    assert len(result.output) < 11_000
    assert "bytes dropped" in result.output


async def test_one_file_cannot_grow_without_bound(place: Place) -> None:
    confinement = Confinement(write=WRITE, limits=Limits(file_size=1_000_000))
    result = await place.run("head -c 3000000 /dev/zero > out/big; echo $?", confinement=confinement)
    assert result.output.splitlines()[-1] != "0"
    assert (place.project / "out" / "big").stat().st_size == 1_000_000


async def test_calls_with_bad_pointers_fail_and_harm_nothing(place: Place) -> None:
    code = (
        "import ctypes, os; c = ctypes.CDLL(None, use_errno=True)\n"
        "for address in (1, -1, 2**63, 2**64 - 8):\n"
        "    print(c.chmod(ctypes.c_void_p(address), 0o777), ctypes.get_errno() != 0)\n"
        "    print(c.utimensat(-100, b'out', ctypes.c_void_p(address), 0), ctypes.get_errno() != 0)\n"
        "os.chmod('out', 0o755); print('well')"
    )
    result = await place.run(python(code))
    assert result.output == "-1 True\n" * 8 + "well\n"


async def test_many_threads_may_set_modes_at_once(place: Place) -> None:
    code = (
        "import os, threading\n"
        "def work(n):\n"
        "    open(f'out/{n}', 'w').close()\n"
        "    for _ in range(50): os.chmod(f'out/{n}', 0o600); os.chmod(f'out/{n}', 0o640)\n"
        "t = [threading.Thread(target=work, args=(n,)) for n in range(8)]\n"
        "[x.start() for x in t]; [x.join() for x in t]"
    )
    result = await place.run(python(code))
    assert (result.exit_code, result.output) == (0, "")
    assert {path.stat().st_mode & 0o777 for path in (place.project / "out").iterdir()} == {0o640}


ORDINARY = {
    "git": (
        "cd out && git init -q . && git config user.name a && git config user.email a@b && echo x > f &&"
        " git add f && git commit -q -m first && git log --format=%s | sed s/first/fine/; rm -rf .git"
    ),
    "archives": (
        "cd out && mkdir d && echo '#!/bin/sh' > d/run && echo 'echo fine' >> d/run && chmod +x d/run &&"
        " ln -s run d/link && tar cf a.tar d && rm -r d && tar xf a.tar && d/link && cp -p d/run e && ./e"
    ),
    "subprocesses": python("import subprocess; subprocess.run(['sh', '-c', 'echo fine'], check=True)"),
    "threads": python("import threading; t = threading.Thread(target=print, args=('fine',)); t.start()"),
    "event loop": python("import asyncio; print(asyncio.run(asyncio.sleep(0, 'fine')))"),
    "temporary files": python("import tempfile; tempfile.TemporaryFile().write(b''); print('fine')"),
    "installed packages": f"{PYTHON} -c 'import anyio; print(\"fine\")'",
    "copies": python("import shutil; shutil.copy2('README', 'out/copy'); print('fine')"),
    "pipes": "echo enif | rev 2>/dev/null || echo fine",
}


@pytest.mark.parametrize("name", ORDINARY)
async def test_ordinary_programs_work(place: Place, name: str) -> None:
    result = await place.run(ORDINARY[name])
    assert (result.exit_code, result.output.splitlines()[:1]) == (0, ["fine"]), result.output


@pytest.mark.parametrize(
    ("confinement", "said"),
    [
        (Confinement(write=("**",)), "a part of a folder that may be written as a whole"),
        (Confinement(write=(".git/**",)), "a part of a folder that may be written as a whole"),
        (Confinement(write=("elsewhere/**",)), "leads elsewhere through a symlink"),
        (Confinement(write=("../**",)), "leads elsewhere"),
        (Confinement(write=("library/**",)), "the repository in library"),
        (Confinement(write=("src/**",), protected=("src/hooks",)), "a part of src"),
        (Confinement(write=("ledger/**",)), "a part of ledger"),
        (Confinement(write=("packages/**",)), "packages/one from being written, which has another name"),
        (Confinement(write=("ledger/day/1",)), "is not for commands"),
        (Confinement(network=("example.com",)), "single hosts"),
    ],
)
async def test_what_cannot_be_held_is_refused(place: Place, confinement: Confinement, said: str) -> None:
    (place.project / "library" / ".git").mkdir(parents=True)
    (place.project / "ledger" / "day").mkdir(parents=True)
    (place.project / "elsewhere").symlink_to(place.home)
    (place.project / "packages").mkdir()
    (place.home / "one").touch()
    (place.project / "packages" / "one").hardlink_to(place.home / "one")
    place.masked.append(place.project / "ledger" / "day")
    with pytest.raises(SandboxError, match=said):
        await place.run("echo ran", confinement=confinement)
    result = await place.run("echo ran")
    assert result.output == "ran\n"


async def test_a_project_that_holds_the_home_is_refused(place: Place) -> None:
    with pytest.raises(SandboxError, match="holds the home folder"):
        await place.run("echo ran", workspace=place.home)


async def test_what_was_made_for_nothing_is_taken_away(place: Place) -> None:
    confinement = Confinement(write=("later.md", "a/b/**", "kept.md"))
    result = await place.run("echo x > kept.md; ls -d later.md a/b", confinement=confinement)
    assert result.output == "a/b\nlater.md\n"
    assert (place.project / "kept.md").read_text() == "x\n"
    assert not (place.project / "later.md").exists()
    assert not (place.project / "a").exists()


async def test_what_is_masked_cannot_be_read_beside_what_can(place: Place) -> None:
    (place.project / "src" / "token").write_text("secret")
    script = "ls src; cat src/a.py; cat src/token && echo reached"
    assert "reached" in (await place.run(script)).output
    place.masked.append(place.project / "src" / "token")
    result = await place.run(script)
    assert result.output.startswith("a.py\ntoken\na = 1\n")
    assert "reached" not in result.output


async def test_our_own_files_are_hidden_but_not_a_project_among_them(place: Place) -> None:
    """A ledger in the project; a project in the folder of our data, as a copy to work in is."""
    (place.project / "ledger.jsonl").write_text("entry\n")
    script = "cat src/a.py ledger.jsonl; echo x > ledger.jsonl && echo reached"
    place.hidden += [place.project / "ledger.jsonl", place.home]
    result = await place.run(script)
    assert result.output.startswith("a = 1\n")
    assert not {"entry", "reached"} & set(result.output.split())
    place.hidden.clear()
    assert "entry" in (await place.run(script)).output


async def test_a_password_in_git_settings_cannot_be_read(place: Place) -> None:
    config = place.project / ".git" / "config"
    config.parent.mkdir()
    (config.parent / "HEAD").write_text("ref: refs/heads/main\n")
    for url, readable in (("https://host/x", True), ("https://me:pass@host/x", False)):
        config.write_text(f'[remote "origin"]\n\turl = {url}\n')
        result = await place.run("cat .git/HEAD && cat .git/config && echo reached")
        assert "ref: refs/heads/main" in result.output
        assert ("reached" in result.output) == readable


async def test_a_folder_that_was_exchanged_for_a_link_is_not_followed(place: Place) -> None:
    """What was a folder when the globs were looked at may be a link when the command is held."""
    link = place.project / "link"
    link.symlink_to(place.project / "out")
    for path, said in ((place.project / "out", "held"), (link, "Too many levels of symbolic links")):
        hold = f"kernel.give_up_rights(); kernel.hold_files_in([], [], [{str(path)!r}]); print('held')"
        argv = [sys.executable, "-c", f"from meshclaw.sandbox import kernel; {hold}"]
        done = await anyio.run_process(argv, check=False, stderr=subprocess.STDOUT)
        assert said in done.stdout.decode().splitlines()[-1]
