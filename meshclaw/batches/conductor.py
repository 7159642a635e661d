"""Carries out a plan: every item that is not done yet, as a run of its own, several side by side."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import Any, Protocol

import anyio
from anyio import to_thread

from meshclaw.batches.handing import handed
from meshclaw.batches.journal import BatchDirectory, Progress, ended, started
from meshclaw.batches.plan import Item, Plan
from meshclaw.batches.records import is_good, not_started, word_of
from meshclaw.budgets import BudgetMeter
from meshclaw.dispatch import Delegation, Dispatcher, House, Stop, may_resume
from meshclaw.errors import ExitCode, LedgerError, MeshClawError, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.runs import Event, RunDirectory, RunStatus


class Prepare(Protocol):
    """Makes delegations; leaving the context gives back what the run held. Raises as App.prepare does."""

    def __call__(
        self, item: Item, results: Mapping[str, str], run: str | None
    ) -> AbstractAsyncContextManager[Delegation]:
        """`results` are handed to the item; `run` is one of its that was cut short and goes on."""


INTERRUPTED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a batch is carried out. `time` is in seconds, None is no limit; `fail_fast` begins no further
    item after one that did not end well."""

    jobs: int
    fail_fast: bool = False
    time: float | None = None


class Conductor:
    """One batch under way. `meter` bounds all of its runs together; `house.listen` is told every event of
    every run, with the keys `item` and `run` added, and `item-end` after each.

    An item's run is in the log, synced, before it begins, and so is its end before the next begins.
    """

    def __init__(
        self,
        plan: Plan,
        directory: BatchDirectory,
        house: House,
        prepare: Prepare,
        meter: BudgetMeter,
        terms: Terms,
    ) -> None:
        self._plan = plan
        self._directory = directory
        self._house = house
        self._prepare = prepare
        self._meter = meter
        self._terms = terms
        self._ready: list[int] = []
        self._open: dict[int, set[int]] = {}
        self._wanted_by: dict[int, list[int]] = {}
        self._running: dict[int, tuple[anyio.CancelScope, Stop]] = {}
        self._cut_short: dict[int, str] = {}
        self._moved = anyio.Event()
        self._codes: list[ExitCode] = []
        self.records: dict[int, Mapping[str, Any]] = {}
        self.closed = ""
        """Why no further item is begun; empty while they are."""

    @property
    def exit_code(self) -> ExitCode:
        """The batch's: an interruption's, else the worst of its items' and of what closed it."""
        stopped = [code for code in self._codes if code in INTERRUPTED]
        return (
            stopped[0]
            if stopped
            else worst([*self._codes, *(one["exit"] for one in self.records.values())])
        )

    def stop(self, exit_code: ExitCode, reason: str = "interrupted") -> None:
        """Ends what runs, cleanly, and begins nothing more."""
        self._codes.append(exit_code)
        self._close(reason)
        for scope, stop in self._running.values():
            scope.cancel()
            stop.now(exit_code)

    async def run(self, progress: Progress) -> None:
        """Ends when every item has a record in `records`. What `progress` calls done is not done again."""
        self._cut_short = dict(progress.cut_short)
        for number in progress.unlogged:
            await self._write(ended(number, progress.done[number], done=True))
        self._line_up(progress.done)
        async with anyio.create_task_group() as clock:
            if self._terms.time is not None:
                clock.start_soon(self._watch, self._terms.time)
            async with anyio.create_task_group() as workers:
                for _ in range(min(self._terms.jobs, len(self._open))):
                    workers.start_soon(self._work)
            clock.cancel_scope.cancel()
        for item in self._plan.items:
            if item.number not in self.records:
                self.records[item.number] = not_started(self.closed or "interrupted")

    def _line_up(self, done: Mapping[int, Mapping[str, Any]]) -> None:
        for item in self._plan.items:
            self._open[item.number] = {number for numbers in item.needs.values() for number in numbers}
            for number in self._open[item.number]:
                self._wanted_by.setdefault(number, []).append(item.number)
        for item in self._plan.items:
            number = item.number
            if number in done:
                self._settled(item, done[number])
            elif number not in self.records:
                if not all(item.needs.values()):
                    self._settled(item, not_started("what it needs had nothing to do", ExitCode.SKIPPED))
                elif not item.needs:
                    # What needs others is lined up by the last of them, here as later.
                    heapq.heappush(self._ready, number)

    async def _work(self) -> None:
        while (item := await self._next()) is not None:
            record = await self._carry_out(item)
            if record["exit"] is not None:
                await self._write(ended(item.number, record, done=_is_done(record)))
                self._tell_end(item, record)
            del self._running[item.number]
            self._settled(item, record)
            self._consider(item, record)

    async def _next(self) -> Item | None:
        while not self.closed:
            if self._ready:
                number = heapq.heappop(self._ready)
                self._running[number] = (anyio.CancelScope(), Stop())
                return self._plan.items[number - 1]
            if not self._running:
                return None
            await self._moved.wait()
        return None

    async def _carry_out(self, item: Item) -> Mapping[str, Any]:
        """One item, whatever comes of it."""
        earlier = self._cut_short.get(item.number)
        run = earlier or self._house.new_id()
        scope, stop = self._running[item.number]
        try:
            async with AsyncExitStack() as stack:
                with scope:
                    results = handed(self._plan, item, self.records)
                    delegation = await stack.enter_async_context(self._prepare(item, results, earlier))
                if scope.cancel_called:
                    return not_started(self.closed)
                if not await self._write(started(item.number, run)):
                    return not_started(self.closed)
                delegation = replace(delegation, batch=self._directory.path.name, above=self._meter)
                dispatcher = self._dispatcher(item, run)
                if earlier is not None:
                    return await dispatcher.resume(run, delegation, stop)
                return await dispatcher.run(delegation, stop)
        except Exception as error:
            if isinstance(error, LedgerError):
                self.stop(ExitCode.LEDGER, error.message)
            return await self._left(run, error)

    def _dispatcher(self, item: Item, run: str) -> Dispatcher:
        def listen(event: Event) -> None:
            self._house.listen(Event(event.kind, {"item": item.number, "run": run, **event.data}))

        return Dispatcher(replace(self._house, new_id=lambda: run, listen=listen))

    async def _left(self, run: str, error: Exception) -> Mapping[str, Any]:
        """What is known of an item that ended in an error instead of a record."""
        code = error.exit_code if isinstance(error, MeshClawError) else ExitCode.FAILED
        reason = str(error) if isinstance(error, MeshClawError) else f"{type(error).__name__}: {error}"
        problems = [str(one) for one in error.problems] if isinstance(error, ProblemsError) else []
        directory, left = RunDirectory(self._house.runs / run), not_started(reason, code)
        if directory.record.exists():
            record = await to_thread.run_sync(directory.read_record)
            if record["status"] != RunStatus.RUNNING:
                left = record | {"exit": int(code), "reason": reason}
        return left | {"problems": problems}

    async def _write(self, event: Event) -> bool:
        """Adds a durable line to the log. One that cannot be written ends the batch: nobody would know."""
        try:
            self._directory.append(event)
            await to_thread.run_sync(self._directory.sync)
        except LedgerError as error:
            self.stop(ExitCode.LEDGER, error.message)
            return False
        return True

    def _settled(self, item: Item, record: Mapping[str, Any]) -> None:
        """Keeps an item's record, and looks at those that wait for it."""
        self.records[item.number] = record
        for number in self._wanted_by.get(item.number, ()):
            if number in self.records:
                continue
            other = self._plan.items[number - 1]
            self._open[number].discard(item.number)
            if not is_good(record):
                skipped = record["exit"] == ExitCode.SKIPPED
                ended = "had nothing to do" if skipped else f"ended {word_of(record)}"
                reason, code = f"'{self._plan.name(item)}' {ended}", ExitCode.SKIPPED if skipped else None
                kept = not_started(reason, code, blocked=True)
                self._tell_end(other, kept)
                self._settled(other, kept)
            elif not self._open[number]:
                heapq.heappush(self._ready, number)
        self._wake()

    def _consider(self, item: Item, record: Mapping[str, Any]) -> None:
        """Whether there is a reason to begin nothing more."""
        if self._meter.refused:
            self._close("the batch's budget is used up")
        elif self._terms.fail_fast and record["exit"] not in (ExitCode.OK, ExitCode.SKIPPED):
            self._close(f"'{self._plan.name(item)}' ended {word_of(record)} (--fail-fast)")

    async def _watch(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.stop(ExitCode.DEADLINE, f"the batch's time limit of {seconds:g} s was reached")

    def _close(self, reason: str) -> None:
        self.closed = self.closed or reason
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()

    def _tell_end(self, item: Item, record: Mapping[str, Any]) -> None:
        shown = {key: record.get(key) for key in _TOLD}
        told = {"item": item.number, "name": self._plan.name(item), "params": dict(item.params), **shown}
        self._house.listen(Event("item-end", told))


_TOLD = ("run", "status", "outcome", "exit", "reason", "cost_usd", "cost_state", "duration_s")


def _is_done(record: Mapping[str, Any]) -> bool:
    """Whether the item's work came to its end, good or bad, and was not only cut short."""
    return record["run"] is not None and not may_resume(record)


def worst(codes: Iterable[int | None]) -> ExitCode:
    """The highest code; a closed gate (10) counts only when there is nothing else, None never."""
    found = {code for code in codes if code is not None}
    if found <= {int(ExitCode.SKIPPED)}:
        return ExitCode.SKIPPED if found else ExitCode.OK
    return ExitCode(max(found - {int(ExitCode.SKIPPED)}))
