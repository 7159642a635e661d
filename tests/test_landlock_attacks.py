"""What a command held by Landlock tries. Every attack also runs uncontained, where it must succeed."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest
from landlock_place import Place, needs_landlock, place, python

pytestmark = needs_landlock
__all__ = ["place"]

READS = {
    "a key": 'cat "$H/.ssh/id" && echo reached',
    "a folder above": 'ls "$H" && echo reached',
    "through a link": 'ln -sf "$H/plain" out/link && cat out/link && echo reached',
    "another's command line": "cat /proc/1/cmdline >/dev/null && echo reached",
    "the parent's environment": 'cat "/proc/$PPID/environ" >/dev/null && echo reached',
    "the list of processes": "ls /proc && echo reached",
    "temporary files of others": "ls /tmp && echo reached",
    "shared memory": "ls /dev/shm && echo reached",
    "a hard link to it": 'ln "$H/plain" out/link && cat out/link && echo reached',
}
WRITES = {
    "a new file in the home": 'echo x > "$H/new" && echo reached',
    "over a file": 'echo x > "$H/plain" && echo reached',
    "at the end of a file": "echo x >> README && echo reached",
    "a new file in the project": "echo x > new && echo reached",
    "a read-only folder": "echo x > src/new && echo reached",
    "remove": "rm -f README && echo reached",
    "remove by moving in": "mv README out/link && echo reached",
    "move out": "echo x > out/link && mv out/link src/new && echo reached",
    "link in, then write": "ln src/a.py out/link && echo x > out/link && echo reached",
    "through a link": "ln -s ../src/a.py out/link && echo x > out/link && echo reached",
    "truncate": python("import os; os.truncate('README', 0); print('reached')"),
    "mode of a file": 'chmod 644 "$H/.ssh/id" && echo reached',
    "mode of what can be read": "chmod 777 src/a.py && echo reached",
    "mode through a link": 'ln -s "$H/plain" out/link && chmod 644 out/link && echo reached',
    "mode by descriptor": python("import os; os.fchmod(os.open('README', 0), 0o666); print('reached')"),
    "mode of a folder by descriptor": python(
        "import os; os.fchmod(os.open('src', os.O_RDONLY), 0o777); print('reached')"
    ),
    "mode by a folder's descriptor": python(
        "import os; os.chdir('out'); os.chmod('../README', 0o666, dir_fd=os.open('.', os.O_PATH)); "
        "print('reached')"
    ),
    "times of a file": python("import os; os.utime('README'); print('reached')"),
    "times by descriptor": python("import os; os.utime(os.open('README', 0), (1, 1)); print('reached')"),
    "owner": python("import os; os.chown('README', os.getuid(), -1); print('reached')"),
    "shared memory": ("d=/dev/shm/meshclaw-$$; echo x > $d; [ -e $d ] && rm $d && echo reached"),
}
PROCESSES = {
    "signal the parent": 'kill -0 "$PPID" && echo reached',
    "signal a stranger": 'kill -0 "$STRANGER" && echo reached',
    "limits of a stranger": python(
        "import os, resource as r; s = int(os.environ['STRANGER']);"
        "r.prlimit(s, r.RLIMIT_CORE, (0, 0)); print('reached')"
    ),
    "affinity of a stranger": python(
        "import os; s = int(os.environ['STRANGER']);"
        "os.sched_setaffinity(s, os.sched_getaffinity(0)); print('reached')"
    ),
    "priority of a stranger": python(
        "import os; s = int(os.environ['STRANGER']);"
        "os.setpriority(os.PRIO_PROCESS, s, os.getpriority(os.PRIO_PROCESS, s)); print('reached')"
    ),
    "shared memory by key": python(
        "import ctypes; c = ctypes.CDLL(None); i = c.shmget(0, 4096, 0o1600);"
        "i != -1 and (c.shmctl(i, 0, None), print('reached'))"
    ),
    "a message queue": python(
        "import ctypes; c = ctypes.CDLL(None); i = c.msgget(0, 0o1600);"
        "i != -1 and (c.msgctl(i, 0, None), print('reached'))"
    ),
    "trace a child": python(
        "import ctypes, os, signal\npid = os.fork()\nif not pid: signal.pause()\n"
        "r = ctypes.CDLL(None).ptrace(0x4206, pid, None, None); os.kill(pid, 9)\n"
        "r == 0 and print('reached')"
    ),
}


@pytest.mark.parametrize("name", READS)
async def test_nothing_else_can_be_read(place: Place, name: str) -> None:
    assert await place.reaches(f"H={place.home}; {READS[name]}") == (True, False)


@pytest.mark.parametrize("name", WRITES)
async def test_nothing_else_can_be_changed(place: Place, name: str) -> None:
    assert await place.reaches(f"H={place.home}; {WRITES[name]}") == (True, False)
    assert (place.home / ".ssh" / "id").stat().st_mode & 0o777 == 0o600
    assert (place.project / "src" / "a.py").read_text() == "a = 1\n"
    assert (place.project / "README").read_text() == "read me\n"


@pytest.mark.parametrize("name", PROCESSES)
async def test_no_other_process_can_be_touched(place: Place, name: str) -> None:
    with subprocess.Popen(["sleep", "600"]) as stranger:
        try:
            script = f"export STRANGER={stranger.pid}; {PROCESSES[name]}"
            assert await place.reaches(script) == (True, False)
        finally:
            stranger.kill()


CONNECTIONS = {
    "tcp": "s.socket().connect(('127.0.0.1', PORT))",
    "udp": "s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
    "a socket that is a file": "s.socket(s.AF_UNIX).connect(FILE)",
    "an abstract socket": "s.socket(s.AF_UNIX).connect(ABSTRACT)",
    "a pair that sends elsewhere": "s.socketpair(s.AF_UNIX, s.SOCK_DGRAM)[0].sendto(b'x', DATAGRAM)",
    "a server": "s.create_server(('127.0.0.1', 0))",
}


@pytest.mark.parametrize("name", CONNECTIONS)
async def test_there_is_no_network(place: Place, name: str) -> None:
    path, datagrams = str(place.home / "s"), str(place.home / "d")
    abstract = f"\0meshclaw-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as file,
        socket.socket(socket.AF_UNIX) as hidden,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as letters,
    ):
        for one, address in ((file, path), (hidden, abstract), (letters, datagrams)):
            one.bind(address)
        file.listen()
        hidden.listen()
        code = f"PORT, FILE, ABSTRACT = {tcp.getsockname()[1]}, {path!r}, {abstract!r}"
        code += f"; DATAGRAM = {datagrams!r}"
        script = python(f"import socket as s; {code}; {CONNECTIONS[name]}; print('reached')")
        assert await place.reaches(script) == (True, False)
