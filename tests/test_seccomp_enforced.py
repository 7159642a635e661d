"""What the system call filter does: attacks and ordinary programs under bubblewrap.

Every probe also runs without the filter, where it must come further: a probe that is broken cannot pass
for one that was refused.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from contained import needs_bubblewrap
from seccomp_probes import ATTACKS, HANDLE, IS_X86, KEXEC, MODULE, PROBES

from meshclaw.sandbox.seccomp import filter_program

CAPABLE_ONLY = {
    "finit_module": f"raw({MODULE}, -1, 0, 0)",
    "kexec_load": f"raw({KEXEC}, 0, 0, 0)",
    "open_by_handle_at": f"raw({HANDLE}, -1, 0, 0)",
}
"""Refused anyway without rights on the machine itself; what the filter says of them is tested above."""


def contained(
    argv: list[str], *, filtered: bool, network: bool = True, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Under bubblewrap with all rights in a user namespace, so that only the filter can refuse."""
    prefixes = sorted({sys.base_prefix, sys.prefix, str(Path(sys.executable).resolve().parents[1])})
    binds = [word for prefix in prefixes for word in ("--ro-bind", prefix, prefix)]
    links = [
        word
        for name in ("bin", "sbin", "lib", "lib64")
        if (path := Path("/", name)).is_symlink()
        for word in ("--symlink", str(path.readlink()), str(path))
    ]
    place = (
        "--unshare-user --unshare-pid --unshare-net --unshare-ipc --die-with-parent --new-session"
        " --uid 0 --gid 0 --cap-add ALL --ro-bind /usr /usr"
    )
    base = ["bwrap", *place.split(), *links, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    # The interpreter may lie beneath /tmp.
    base += [*binds, "--chdir", "/tmp", "--clearenv"]
    base += ["--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/tmp", *options]
    reading, writing = os.pipe()
    try:
        os.write(writing, filter_program(network=network))
        os.close(writing)
        if filtered:
            base += ["--seccomp", str(reading)]
        return subprocess.run(
            [*base, *argv], pass_fds=(reading,), capture_output=True, text=True, check=False, timeout=60
        )
    finally:
        os.close(reading)


def probe(text: str, *, filtered: bool, network: bool = True, options: tuple[str, ...] = ()) -> str:
    argv = [sys.executable, "-I", "-c", PROBES, text]
    done = contained(argv, filtered=filtered, network=network, options=options)
    signals = {128 + 31: "SIGSYS", 128 + 11: "SIGSEGV"}
    said = signals.get(done.returncode) or done.stdout.strip().splitlines()[-1:]
    assert said, done.stderr
    return said if isinstance(said, str) else said[0]


@needs_bubblewrap
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_comes_further_without_the_filter(name: str) -> None:
    if name in ("32-bit entry", "x32") and not IS_X86:
        pytest.skip(f"{name} is of x86_64")
    text, refused, otherwise = ATTACKS[name]
    assert probe(text, filtered=False) in otherwise.split()
    assert probe(text, filtered=True) == refused


@needs_bubblewrap
def test_bubblewrap_itself_can_refuse_user_namespaces_as_well() -> None:
    text = ATTACKS["new user namespace"][0]
    assert probe(text, filtered=False) == "ok"
    assert probe(text, filtered=False, options=("--disable-userns",)) == "ENOSPC"


@needs_bubblewrap
@pytest.mark.parametrize("name", CAPABLE_ONLY)
def test_what_needs_rights_on_the_machine_is_refused(name: str) -> None:
    assert probe(CAPABLE_ONLY[name], filtered=True) == "EPERM"


@needs_bubblewrap
def test_without_a_network_no_socket_can_be_made() -> None:
    for text in ("family(1)", "family(2)", "family(10)", "family(16, socket.SOCK_RAW)"):
        assert probe(text, filtered=True) == "ok"
        assert probe(text, filtered=True, network=False) == "EPERM"
    assert probe("socket.socketpair() and 'ok'", filtered=True, network=False) == "ok"


ORDINARY_WORK = {
    "subprocess": "import subprocess; print(subprocess.run(['sh', '-c', 'echo fine'], check=True))",
    "threads": "import threading; t = threading.Thread(target=print, args=('fine',)); t.start(); t.join()",
    "fork": "import os; os._exit(0) if os.fork() == 0 else print(os.wait()[1] == 0 and 'fine')",
    "processes": "import multiprocessing as m; print(m.get_context('fork').Pool(2).map(abs, [-1]), 'fine')",
    "a server": (
        "import socket; s = socket.create_server(('127.0.0.1', 0));"
        "c = socket.create_connection(s.getsockname()); print('fine')"
    ),
    "interfaces": "import socket; print(socket.if_nameindex(), 'fine')",
    "event loop": "import asyncio; print(asyncio.run(asyncio.sleep(0, 'fine')))",
    "file modes": "import os; open('a', 'w').close(); os.chmod('a', 0o755); os.utime('a'); print('fine')",
}


@needs_bubblewrap
@pytest.mark.parametrize("name", ORDINARY_WORK)
def test_ordinary_programs_work_under_the_filter(name: str) -> None:
    done = contained([sys.executable, "-I", "-c", ORDINARY_WORK[name]], filtered=True)
    assert done.returncode == 0, done.stderr
    assert "fine" in done.stdout


@needs_bubblewrap
def test_a_shell_with_pipes_and_git_work_under_the_filter() -> None:
    script = (
        "set -e; (echo b; echo a) | sort | tr -d '\\n'; sleep 0 & wait; git init -q . ;"
        " git config user.name a; git config user.email a@example.com; echo x > f; git add f;"
        " git commit -q -m first; git log --format=%s"
    )
    done = contained(["sh", "-c", script], filtered=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "abfirst\n", "")
