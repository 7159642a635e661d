"""Looks at what the processes of one sandbox use, and says when it is too much.

They are found as the descendants of the namespace's first process: nothing can leave its tree, since
whatever is orphaned becomes that process's child. The kernel's own limits are for each process apart.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import anyio
from anyio import to_thread

from meshclaw.frozen import dataclass
from meshclaw.sandbox.base import Limits

INTERVAL = 0.1
"""Seconds between two looks."""
_LOOKS = 20
"""How often it is looked for what was started while the others were being stopped."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Use:
    """`memory` in bytes, with pages of files, and what several share counted for each: what is used is not
    more. `cpu` in seconds, of ended children too."""

    processes: int
    memory: int
    cpu: float


async def watch(first: int, limits: Limits) -> str:
    """Returns what was too much; else never."""
    while True:
        reason = await to_thread.run_sync(over, first, limits)
        if reason:
            return reason
        await anyio.sleep(INTERVAL)


def over(first: int, limits: Limits) -> str:
    """Which limit the processes beneath `first` break, in words; empty when none."""
    used = use_of(first)
    if used.processes > limits.processes:
        return f"more than {limits.processes} processes"
    if used.memory > limits.memory and memory_of(first) > limits.memory:
        return f"more than {limits.memory / 2**20:.0f} MiB of memory"
    if used.cpu > limits.cpu:
        return f"more than {limits.cpu:g} s of CPU time"
    return ""


def use_of(first: int) -> Use:
    """What `first` and all its descendants use."""
    processes, memory, ticks = 0, 0, 0
    for pid in descendants(first):
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            ticks += sum(map(int, stat[11:15]))
            memory += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
            processes += 1
    return Use(processes, memory, ticks / _TICKS)


def memory_of(first: int) -> int:
    """Bytes that are no file's pages, shared memory included: what several share is counted once.

    It takes the kernel a look at every page, so it is for when `use_of` says that it may be too much.
    """
    memory = 0
    for pid in descendants(first):
        with contextlib.suppress(OSError):
            memory += _held(pid)
    return memory


def _held(pid: int) -> int:
    try:
        text, names = Path(f"/proc/{pid}/smaps_rollup").read_text(), ("Pss_Anon", "Pss_Shmem")
    except PermissionError:
        text, names = Path(f"/proc/{pid}/status").read_text(errors="replace"), ("RssAnon", "RssShmem")
    found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return sum(int(found[name].split()[0]) * 1_024 for name in names if name in found)


def descendants(first: int) -> Iterator[int]:
    """`first`, its children, their children. Processes that end meanwhile are left out."""
    waiting, seen = [first], {first}
    while waiting:
        pid = waiting.pop()
        yield pid
        for child in _children(pid):
            if child not in seen:
                seen.add(child)
                waiting.append(child)


def _children(pid: int) -> Iterator[int]:
    """In the order in which each of its threads started them."""
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with contextlib.suppress(OSError):
                yield from map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())


def terminate(first: int) -> int | None:
    """SIGTERM to all that runs in the namespace now, but for its first process, which would not hear it.

    All are stopped meanwhile, so that none starts another unheard; then all go on but the command, the
    eldest child of the first process, which is returned: it hears when it is released.
    """
    command = next(iter(_children(first)), None)
    held: dict[int, None] = {}
    for _ in range(_LOOKS):
        new = [pid for pid in descendants(first) if pid != first and pid not in held]
        if not new:
            break
        for pid in new:
            _signal(pid, signal.SIGSTOP)
            held[pid] = None
    for number in (signal.SIGTERM, signal.SIGCONT):
        for pid in held:
            if number is signal.SIGTERM or pid != command:
                _signal(pid, number)
    return command


def others_run(first: int, command: int | None) -> bool:
    """Whether anything runs in the namespace besides its first process and the command."""
    return any(runs(pid) for pid in descendants(first) if pid not in (first, command))


def release(command: int | None) -> None:
    """Lets the command go on."""
    if command is not None:
        _signal(command, signal.SIGCONT)


def runs(pid: int) -> bool:
    """False of what has ended, also when nobody has reaped it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
