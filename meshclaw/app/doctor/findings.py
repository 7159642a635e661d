"""One finding of the doctor's, and how its checks are carried out: side by side, bounded, never raising."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import from_thread
from anyio.lowlevel import current_token

from meshclaw.errors import MeshClawError, ProblemsError
from meshclaw.frozen import dataclass

if TYPE_CHECKING:
    from meshclaw.app.app import App

DEADLINE = 30.0
"""Seconds for all checks, which run side by side."""

T = TypeVar("T")


class State(StrEnum):
    OK = "ok"
    MISSING = "missing"
    """Not here: only what needs it is affected."""
    WARNING = "warning"
    """It works, or could, but not as well or as safely as it should."""
    FAILED = "failed"
    """Something that a task needs, or a defence, does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`topic` is a word, `text` what was found, `remedy` what to do about it ("" when nothing is to do)."""

    topic: str
    state: State
    text: str
    remedy: str = ""


Found = Iterable[Finding]
Look = Callable[["App"], Found] | Callable[["App"], Awaitable[Found]]
"""A check: a coroutine function, or a plain one, which gets a thread of its own. It may raise."""


async def examine(app: App, checks: Mapping[str, Look], seconds: float = DEADLINE) -> list[Finding]:
    """What all checks find, in their order. One that raises or takes longer is a finding itself."""
    found: dict[str, list[Finding]] = {}

    async def look(topic: str, check: Look) -> None:
        found[topic] = await _bounded(app, topic, check, seconds)

    async with anyio.create_task_group() as group:
        for topic, check in checks.items():
            group.start_soon(look, topic, check)
    return [finding for topic in checks for finding in found[topic]]


async def _bounded(app: App, topic: str, check: Look, seconds: float) -> list[Finding]:
    try:
        with anyio.fail_after(seconds):
            return await _carry_out(app, check)
    except TimeoutError:
        remedy = "see whether a disk, a network folder or a program that it asks hangs"
        return [Finding(topic, State.FAILED, f"no answer within {seconds:g} s", remedy)]
    except ProblemsError:
        remedy = "mend what `settings` names first"
        return [Finding(topic, State.WARNING, "not looked at, because settings cannot be read", remedy)]
    except MeshClawError as error:
        return [Finding(topic, State.FAILED, error.message, error.hint)]
    except Exception as error:
        text = f"this check itself failed: {type(error).__name__}: {error}"
        return [Finding(topic, State.FAILED, text, "this is a defect of meshclaw's")]


async def _carry_out(app: App, check: Look) -> list[Finding]:
    if inspect.iscoroutinefunction(check):
        return list(await check(app))
    plain: Any = check
    return await in_daemon(lambda: list(plain(app)))


async def in_daemon(function: Callable[[], T]) -> T:
    """The function's result, from a thread that does not keep the process alive when it never returns."""
    ended, token = anyio.Event(), current_token()
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)
        with suppress(RuntimeError):  # nobody waits any more
            from_thread.run_sync(ended.set, token=token)

    Thread(target=work, daemon=True).start()
    await ended.wait()
    if errors:
        raise errors[0]
    return results[0]
