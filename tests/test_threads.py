"""Blocking calls in threads: results, errors, cancellation; how many threads there are, and their end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from threading import Barrier, Event

import anyio
import anyio.lowlevel
import pytest

from meshclaw.threads import Threads, in_thread

pytestmark = pytest.mark.anyio


def workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "meshclaw call"}


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():
            await anyio.sleep(0.01)


async def test_a_result_comes_back_from_another_thread() -> None:
    assert await Threads(1).run(divmod, 7, 2) == (3, 1)
    assert await in_thread(threading.current_thread) is not threading.current_thread()


async def test_an_error_comes_back_as_it_was_raised() -> None:
    def refuse(text: str) -> None:
        raise FileNotFoundError(text)

    with pytest.raises(FileNotFoundError, match="gone"):
        await Threads(1).run(refuse, "gone")


async def test_an_error_that_futures_refuse_harms_nobody_else() -> None:
    def stop() -> None:
        raise StopIteration

    threads = Threads(1)
    async with anyio.create_task_group() as group:
        group.start_soon(threads.run, time.sleep, 0.01)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await threads.run(stop)


async def test_calls_run_side_by_side_up_to_the_number_of_threads() -> None:
    threads = Threads(3)
    meeting = Barrier(3)
    ended: list[int] = []

    async def call(number: int) -> None:
        # All three have to be there before any goes on.
        ended.append(await threads.run(meeting.wait, 10) and number)

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(call, number)
    assert len(ended) == 3


async def test_more_calls_than_threads_wait_and_all_are_made() -> None:
    threads = Threads(2)
    now = most = 0
    guard = threading.Lock()

    def call(number: int) -> int:
        nonlocal now, most
        with guard:
            now += 1
            most = max(most, now)
        time.sleep(0.001)
        with guard:
            now -= 1
        return number

    found: list[int] = []

    async def ask(number: int) -> None:
        found.append(await threads.run(call, number))

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(ask, number)
    assert sorted(found) == list(range(200))
    assert most == 2


async def test_who_is_cancelled_gets_the_result_of_a_call_that_has_begun() -> None:
    begun, go = Event(), Event()
    found: list[str] = []

    def call() -> str:
        begun.set()
        assert go.wait(10)
        return "done"

    async def ask() -> None:
        found.append(await Threads(1).run(call))
        await anyio.lowlevel.checkpoint()
        found.append("went on")

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await until(begun.is_set)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.02)
            assert found == []
            go.set()
    assert found == ["done"]


async def test_a_cancellation_that_is_no_scopes_is_raised_after_the_call() -> None:
    begun, go, ended = Event(), Event(), Event()

    def call() -> None:
        begun.set()
        assert go.wait(10)
        ended.set()

    task = asyncio.create_task(Threads(1).run(call))
    await until(begun.is_set)
    task.cancel()
    await anyio.sleep(0.02)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


@pytest.mark.parametrize("abandon", [False, True])
async def test_a_call_that_has_not_begun_is_withdrawn(abandon: bool) -> None:
    threads = Threads(1)
    begun, go = Event(), Event()
    called: list[int] = []

    def call() -> None:
        begun.set()
        assert go.wait(10)

    async with anyio.create_task_group() as group:
        group.start_soon(threads.run, call)
        await until(begun.is_set)
        with anyio.move_on_after(0.01) as scope:
            await threads.run(called.append, 1, abandon=abandon)
        assert scope.cancelled_caught
        assert not go.is_set()
        go.set()
        await threads.run(called.append, 2)
    assert called == [2]


async def test_an_abandoned_call_is_not_waited_for_goes_on_and_takes_no_place() -> None:
    threads = Threads(1)
    begun, go, ended = Event(), Event(), Event()

    def call() -> None:
        begun.set()
        assert go.wait(10)
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(partial(threads.run, call, abandon=True))
        await until(begun.is_set)
        group.cancel_scope.cancel()
    assert await threads.run(lambda: "another") == "another"
    assert not ended.is_set()
    go.set()
    await until(ended.is_set)
    assert await threads.run(lambda: "a third") == "a third"


async def test_nothing_begins_for_who_was_cancelled_before() -> None:
    called: list[int] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await Threads(1).run(called.append, 1)
    assert scope.cancelled_caught
    await Threads(1).run(lambda: None)
    assert called == []


async def test_threads_end_when_there_is_nothing_to_do_and_begin_again() -> None:
    before = workers()
    threads = Threads(4, idle=0.02)
    await threads.run(lambda: None)
    mine = workers() - before
    assert len(mine) == 1
    assert all(thread.daemon for thread in mine)
    await until(lambda: not mine & workers())
    assert await threads.run(lambda: "again") == "again"


def test_every_loop_gets_its_own_results() -> None:
    threads = Threads(2)
    answers: dict[int, list[int]] = {}

    async def ask(first: int) -> None:
        answers[first] = [await threads.run(int, str(first + number)) for number in range(100)]

    others = [threading.Thread(target=anyio.run, args=(ask, first)) for first in (0, 1_000)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert answers == {first: list(range(first, first + 100)) for first in (0, 1_000)}


def test_a_loop_that_ended_meanwhile_does_not_disturb_the_next() -> None:
    threads = Threads(1)
    go = Event()

    async def leave() -> None:
        with anyio.move_on_after(0.01):
            await threads.run(go.wait, 10, abandon=True)

    async def ask() -> str:
        return await threads.run(lambda: "here")

    anyio.run(leave)
    go.set()
    assert anyio.run(ask) == "here"


FORKS = """
import os, anyio
from meshclaw.threads import in_thread

async def ask():
    with anyio.fail_after(10):
        return await in_thread(divmod, 7, 2)

assert anyio.run(ask) == (3, 1)
child = os.fork()
if child == 0:
    os._exit(0 if anyio.run(ask) == (3, 1) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_begins_threads_of_its_own() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS], capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, "")
