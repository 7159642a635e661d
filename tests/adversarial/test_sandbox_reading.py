"""What a contained command cannot see: each probe says REACHED when it gets what it wants."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contained import PYTHON, Bench, git, needs_bubblewrap

pytestmark = needs_bubblewrap

SECRET = "the-secret-8841"

HOME_FILES = (
    ".ssh/id_ed25519",
    ".aws/credentials",
    ".netrc",
    ".git-credentials",
    ".config/gh/hosts.yml",
    ".config/meshclaw/config.yaml",
    ".docker/config.json",
    ".kube/config",
    ".gnupg/private-keys-v1.d/a.key",
    ".bash_history",
    ".local/share/meshclaw/ledger.jsonl",
    ".local/share/keyrings/login.keyring",
    ".cache/token",
    ".npmrc",
    "notes.txt",
)


def found(path: Path | str) -> str:
    return f"grep -q {SECRET} '{path}' && echo REACHED"


async def blocked(bench: Bench, script: str, *write: str) -> None:
    assert "REACHED" in (await bench.free(script)).output, "the probe itself does not work"
    assert "REACHED" not in (await bench.contained(script, *write)).output


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "secret"
    path.parent.mkdir()
    path.write_text(SECRET)
    return path


@pytest.mark.parametrize("name", HOME_FILES)
async def test_nothing_of_the_home_is_there(bench: Bench, name: str) -> None:
    path = bench.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SECRET)
    await blocked(bench, found(path), "**")


SPELLINGS: dict[str, Callable[[Path], str]] = {
    "absolute": lambda path: found(path),
    "dots": lambda path: found(f"../{path.parent.name}/{path.name}"),
    "root of a process": lambda path: found(f"/proc/self/root{path}"),
    "root of any process": lambda path: (
        f'for p in /proc/[0-9]*; do grep -q {SECRET} "$p/root{path}" && echo REACHED; done 2>/dev/null'
    ),
    "symlink": lambda path: f"ln -s '{path}' link && {found('link')}",
    "symlink to the folder": lambda path: f"ln -s '{path.parent}' dir && {found(f'dir/{path.name}')}",
    "hard link": lambda path: f"ln '{path}' hard && {found('hard')}",
    "python": lambda path: f"{PYTHON} -c 'print(open(\"{path}\").read())' | {found('/dev/stdin')}",
    "copy": lambda path: f"cp '{path}' copy && {found('copy')}",
    "archive": lambda path: f"tar -cf - '{path}' 2>/dev/null | {found('/dev/stdin')}",
    "find": lambda path: (
        f"find / -name '{path.name}' -path '*elsewhere*' 2>/dev/null | grep -q . && echo REACHED"
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_leads_out(bench: Bench, secret: Path, spelling: str) -> None:
    script = SPELLINGS[spelling](secret)
    free = await bench.free(script)
    for made in ("link", "dir", "hard", "copy"):
        (bench.project / made).unlink(missing_ok=True)
    assert "REACHED" in free.output, "the probe itself does not work"
    assert "REACHED" not in (await bench.contained(script, "**")).output


async def test_a_link_that_was_there_leads_nowhere(bench: Bench, secret: Path) -> None:
    (bench.project / "link").symlink_to(secret)
    (bench.project / "deep").mkdir()
    (bench.project / "deep" / "link").symlink_to(secret.parent)
    await blocked(bench, found("link"))
    await blocked(bench, found("deep/link/secret"))


PRIVATE_PARTS = ("/etc/shadow", "/etc/fstab", "/etc/ssh", "/etc/ssl/private", "/var/log", "/sys/kernel")


@pytest.mark.parametrize("path", PRIVATE_PARTS)
async def test_the_systems_private_parts_are_absent(bench: Bench, path: str) -> None:
    script = f"ls -A {path} 2>/dev/null | grep -q . && echo REACHED"
    assert "REACHED" not in (await bench.contained(script, "**")).output
    assert "REACHED" in (await bench.contained(script.replace(path, "/etc/passwd"))).output


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's process, with a key in its environment."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"],
        env={**os.environ, "SOME_API_KEY": SECRET},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


async def test_no_other_process_can_be_seen(bench: Bench, other: subprocess.Popen[bytes]) -> None:
    await blocked(bench, f"test -d /proc/{other.pid}/task && echo REACHED")


async def test_no_other_process_can_be_signalled(bench: Bench, other: subprocess.Popen[bytes]) -> None:
    await blocked(bench, f"kill -0 {other.pid} && echo REACHED")


async def test_no_environment_of_another_process_can_be_read(
    bench: Bench, other: subprocess.Popen[bytes]
) -> None:
    lines = "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
    script = f"{lines} | grep -q '^SOME_API_KEY={SECRET}$' && echo REACHED"
    await blocked(bench, script)


async def test_the_first_process_has_an_empty_environment(bench: Bench) -> None:
    result = await bench.contained("cat /proc/1/environ | tr '\\0' '\\n' | grep -c =")
    assert result.output.strip() == "0"
    assert int((await bench.contained("cat /proc/self/environ | tr '\\0' '\\n' | grep -c =")).output) > 3


@pytest.mark.parametrize(
    "name", ["ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "GITHUB_TOKEN"]
)
async def test_no_key_is_in_the_environment(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, SECRET)
    script = f'test "${name}" = {SECRET} && echo REACHED'
    assert "REACHED" not in (await bench.contained(script)).output
    bench.variables[name] = SECRET
    assert "REACHED" in (await bench.contained(script)).output


SOCKETS: dict[str, Callable[[Path], tuple[int, Any]]] = {
    "path": lambda folder: (socket.AF_UNIX, str(folder / "docker.sock")),
    "abstract": lambda folder: (socket.AF_UNIX, f"\0meshclaw-{os.getpid()}"),
    "tcp": lambda folder: (socket.AF_INET, ("127.0.0.1", 0)),
    "tcp6": lambda folder: (socket.AF_INET6, ("::1", 0)),
}


@pytest.mark.parametrize("kind", SOCKETS)
async def test_no_listener_of_the_host_can_be_reached(bench: Bench, tmp_path: Path, kind: str) -> None:
    family, address = SOCKETS[kind](tmp_path)
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen()
        target = listener.getsockname()
        target = target if isinstance(target, tuple) else os.fsdecode(target)
        code = (
            f"import socket; s = socket.socket({int(family)}); s.settimeout(5); s.connect({target!r}); "
            "print('REA' + 'CHED')"
        )
        (bench.project / "connect.py").write_text(code)
        await blocked(bench, f"{PYTHON} connect.py")


async def test_no_datagram_leaves(bench: Bench) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)
        code = f"import socket; socket.socket(2, 2).sendto(b'hello', {listener.getsockname()!r})"
        script = f'{PYTHON} -c "{code}"'
        await bench.free(script)
        assert listener.recv(10) == b"hello"
        listener.setblocking(False)
        await bench.contained(script)
        with pytest.raises(BlockingIOError):
            listener.recv(10)


async def test_no_name_can_be_looked_up_and_no_address_is_there(bench: Bench) -> None:
    result = await bench.contained("cat /proc/net/dev; cat /etc/resolv.conf")
    assert [line.split(":")[0].strip() for line in result.output.splitlines() if ":" in line] == [
        "lo",
        "cat",
    ]


def opened(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    return descriptor


async def test_no_descriptor_is_inherited(bench: Bench, secret: Path) -> None:
    descriptor = opened(secret)
    try:
        script = f"cat <&{descriptor} | grep -q {SECRET} && echo REACHED"
        free = subprocess.run(
            ["bash", "-c", script], close_fds=False, capture_output=True, text=True, check=False
        )
        assert "REACHED" in free.stdout
        os.lseek(descriptor, 0, os.SEEK_SET)
        result = await bench.contained(f"bash -c '{script}'")
        assert "REACHED" not in result.output
        listed = (await bench.contained("ls /proc/self/fd")).output.split()
        assert set(listed) <= {"0", "1", "2", "3"}
    finally:
        os.close(descriptor)


async def test_credentials_beneath_a_toolchain_are_masked(bench: Bench) -> None:
    tool = bench.home / "tool"
    (tool / "bin").mkdir(parents=True)
    (tool / "lib").mkdir()
    (tool / "bin" / "hello").write_text("#!/bin/sh\necho hello\n")
    (tool / "bin" / "hello").chmod(0o755)
    (tool / "credentials.toml").write_text(SECRET)
    (tool / "readme").write_text(SECRET)
    bench.path = f"{tool / 'bin'}:{bench.path}"
    result = await bench.contained(f"hello; {found(tool / 'credentials.toml')}")
    assert result.output.startswith("hello")
    assert "REACHED" not in result.output
    assert "REACHED" in (await bench.contained(found(tool / "readme"))).output


async def test_a_projects_environment_cannot_name_what_is_bound(bench: Bench) -> None:
    keys = bench.home / ".ssh"
    keys.mkdir()
    (keys / "id").write_text(SECRET)
    programs = bench.project / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python3").symlink_to(keys / "id")
    (programs / "tool").symlink_to(keys / "id")
    bench.path = f"{programs}:{bench.path}"
    await blocked(bench, found(keys / "id"))
    await blocked(bench, found(programs / "tool"))


async def test_what_the_operator_adds_can_be_read_and_nothing_beside_it(bench: Bench) -> None:
    (bench.home / "data").mkdir()
    (bench.home / "data" / "a").write_text(SECRET)
    (bench.home / "other").write_text(SECRET)
    assert "REACHED" not in (await bench.contained(found(bench.home / "data" / "a"))).output
    bench.read = (bench.home / "data",)
    assert "REACHED" in (await bench.contained(found(bench.home / "data" / "a"))).output
    assert "REACHED" not in (await bench.contained(found(bench.home / "other"))).output
    written = await bench.contained(f"echo x > '{bench.home / 'data' / 'a'}'")
    assert (bench.home / "data" / "a").read_text() == SECRET, written


async def test_a_ledger_in_the_project_is_hidden(bench: Bench) -> None:
    ledger = bench.project / "ledger.jsonl"
    ledger.write_text(SECRET)
    assert "REACHED" in (await bench.free(found(ledger))).output
    bench.hidden = (ledger,)
    script = f"{found(ledger)}; echo forged > ledger.jsonl; rm -f ledger.jsonl; mv ledger.jsonl x"
    assert "REACHED" not in (await bench.contained(script, "**")).output
    assert ledger.read_text() == SECRET


async def test_gits_settings_hold_no_credentials_inside(bench: Bench) -> None:
    git(bench.project, "init", "-q")
    git(bench.project, "remote", "add", "origin", f"https://ada:{SECRET}@git.example.com/x.git")
    git(bench.project, "config", "http.extraHeader", f"Authorization: Basic {SECRET}")
    await blocked(bench, found(".git/config"))
    shown = await bench.contained("git remote get-url origin")
    assert shown.output == "https://git.example.com/x.git\n"


async def test_a_worktree_file_cannot_name_somebody_elses_repository(bench: Bench, tmp_path: Path) -> None:
    private = tmp_path / "private-repository"
    private.mkdir()
    git(private, "init", "-q")
    (private / "a").write_text(SECRET)
    git(private, "add", "a")
    git(private, "commit", "-qm", SECRET)
    (bench.project / ".git").write_text(f"gitdir: {private / '.git'}\n")
    await blocked(bench, f"git log | grep -q {SECRET} && echo REACHED")


async def test_a_linked_worktree_works(bench: Bench, tmp_path: Path) -> None:
    main = tmp_path / "main"
    main.mkdir()
    git(main, "init", "-q")
    (main / "a").write_text("a\n")
    git(main, "add", "a")
    git(main, "commit", "-qm", "first words")
    bench.project.rmdir()
    git(main, "worktree", "add", "-q", str(bench.project))
    result = await bench.contained("git log --oneline; echo b > a; git status --short")
    assert "first words" in result.output


async def test_names_that_are_not_utf8(bench: Bench) -> None:
    name = b"caf\xe9"
    Path(os.fsdecode(os.fsencode(bench.project) + b"/" + name)).write_text("content")
    result = await bench.contained("cat caf*; echo new > new$(printf '\\351')", "**")
    assert result.output == "content"
    assert os.fsdecode(b"new\xe9") in os.listdir(bench.project)  # noqa: PTH208
