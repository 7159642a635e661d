"""What a contained command cannot ask of the kernel, as the sandbox of a run is set up.

`test_seccomp_enforced` tries the filter alone; here it is what a command meets. Each probe comes further
without a sandbox.
"""

from __future__ import annotations

import ctypes
import secrets
import shlex
import sys
from collections.abc import Iterator

import pytest
from contained import Bench, needs_bubblewrap
from seccomp_probes import ATTACKS, PROBES

pytestmark = needs_bubblewrap

NAMES = (
    *("ptrace", "new user namespace", "join a namespace", "clone3", "io_uring_enter", "io_uring_register"),
    *("keyctl", "add_key", "request_key", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp"),
    *("bpf", "perf_event_open", "userfaultfd", "personality", "TIOCSTI", "AF_ALG", "AF_VSOCK"),
)
"""Those that change nothing on the machine where they are let through."""
CREATE, REMOVE = 0o1000, 0
"""IPC_CREAT and IPC_RMID."""


def _script(name: str) -> str:
    return shlex.join([sys.executable, "-I", "-c", PROBES, ATTACKS[name][0]])


@pytest.mark.parametrize("name", NAMES)
async def test_a_system_call_is_refused_in_the_sandbox_and_comes_further_outside(
    bench: Bench, name: str
) -> None:
    _, refused, otherwise = ATTACKS[name]
    free = await bench.free(_script(name))
    assert free.output.strip() in otherwise.split(), free.output
    held = await bench.contained(_script(name))
    assert held.output.strip() == refused, held.output


@pytest.fixture
def segment() -> Iterator[int]:
    """The key of a segment of shared memory that everybody on the machine may read and write."""
    libc, key = ctypes.CDLL(None), secrets.randbelow(2**31 - 1) + 1
    number = libc.shmget(key, 4096, CREATE | 0o666)
    assert number >= 0
    yield key
    libc.shmctl(number, REMOVE, None)


async def test_the_machines_shared_memory_is_not_there(bench: Bench, segment: int) -> None:
    look = f"import ctypes; print(ctypes.CDLL(None).shmget({segment}, 0, 0) >= 0 and 'REACHED')"
    script = shlex.join([sys.executable, "-I", "-c", look])
    assert "REACHED" in (await bench.free(script)).output
    assert "REACHED" not in (await bench.contained(script)).output
