"""Puts a batch together: its folder, what it may spend, and how each of its runs is made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from meshclaw.app.batch_files import Kept, batches_dir, keep_stdin, kept_batch, stdin_of, write_batch
from meshclaw.app.families import Family
from meshclaw.app.options import Changes, Handed, RunOptions
from meshclaw.app.preparing import prepare, rehearse
from meshclaw.app.resuming import prepare_resumed, read_to_resume
from meshclaw.app.risks import find_risks
from meshclaw.app.trusting import family_powers, require_trust
from meshclaw.batches.conductor import Conductor, Terms
from meshclaw.batches.journal import BatchDirectory, Progress, read_progress
from meshclaw.batches.plan import Item, Plan
from meshclaw.batches.records import batch_record, spent_before
from meshclaw.budgets import Budget, BudgetMeter
from meshclaw.dispatch import Delegation
from meshclaw.errors import ExitCode
from meshclaw.frozen import dataclass
from meshclaw.metering import timestamp
from meshclaw.runs import Event, RunDirectory
from meshclaw.tasks.params import as_text

if TYPE_CHECKING:
    from meshclaw.app.app import App

Listen = Callable[[Event], None]


@dataclass(slots=True)
class Batch:
    """A batch whose plan is fixed and whose folder is locked, ready to be carried out once."""

    plan: Plan
    directory: BatchDirectory
    conductor: Conductor
    progress: Progress
    began: datetime
    listen: Listen

    @property
    def id(self) -> str:
        return self.directory.path.name

    def stop(self, exit_code: ExitCode) -> None:
        """Ends what runs, cleanly, and begins nothing more."""
        self.conductor.stop(exit_code)

    async def run(self) -> dict[str, Any]:
        """To the end of every item that can be done. Returns the object that `run --json` prints."""
        started = perf_counter()
        facts = {"batch": self.id, "task": self.plan.task.name, "directory": str(self.directory.path)}
        items = [
            {
                "item": item.number,
                "name": self.plan.name(item),
                "task": item.task,
                "params": dict(item.params),
            }
            for item in self.plan.items
        ]
        self.listen(Event("batch-start", {**facts, "done": len(self.progress.done), "items": items}))
        await self.conductor.run(self.progress)
        record = batch_record(
            self.plan,
            self.conductor.records,
            batch=self.id,
            exit_code=self.conductor.exit_code,
            reason=self.conductor.closed,
            started_at=timestamp(self.began),
            seconds=perf_counter() - started,
            directory=self.directory.path,
        )
        self.listen(Event("batch-end", record))
        return record


def nothing_to_do(app: App, plan: Plan) -> dict[str, Any]:
    """The record of a batch whose matrix has no items: there was none."""
    return batch_record(
        plan,
        {},
        batch=None,
        exit_code=ExitCode.SKIPPED,
        reason="the matrix has no items",
        started_at=timestamp(app.now()),
        seconds=0.0,
        directory=None,
    )


@asynccontextmanager
async def new_batch(
    app: App, family: Family, plan: Plan, options: RunOptions, terms: Terms, listen: Listen
) -> AsyncIterator[Batch]:
    """A batch for `plan`, in a folder of its own. The family must be trusted.

    Every task of it is tried out first, all but its inputs, so that nothing is begun when no run could
    be. Raises as App.prepare does.
    """
    import uuid6

    meter, limit = batch_limits(app, options)
    maker = Maker(app, family, options)
    for task in family.tasks.values():
        first = next((item for item in plan.items if item.task == task.name), None)
        if first is not None:
            await maker.rehearse(first)
    began = app.now()
    directory = BatchDirectory(batches_dir(app) / f"b-{uuid6.uuid7()}")
    with directory:
        # What is there once the batch can be found is all that it needs to go on.
        maker.options = await to_thread.run_sync(
            keep_stdin, directory, app, family, options, abandon_on_cancel=True
        )
        begun = timestamp(began)
        await to_thread.run_sync(write_batch, directory, app, family, plan, options, terms, begun)
        house = app.house(listen)
        conductor = Conductor(plan, directory, house, maker.make, meter, replace(terms, time=limit))
        yield Batch(plan, directory, conductor, Progress(), began, listen)


@asynccontextmanager
async def earlier_batch(
    app: App, directory: BatchDirectory, changes: Changes, listen: Listen
) -> AsyncIterator[Batch]:
    """A batch that was cut short, to go on with what is left of it. `App.recover` comes first.

    Raises ProblemsError when it cannot be read, LockedError while another process works on it,
    UntrustedError.
    """
    with directory:
        kept: Kept = await to_thread.run_sync(kept_batch, directory, app, changes.params)
        require_trust(app, family_powers(app, kept.family))
        budget = {**kept.options.budget, **changes.budget}
        options = replace(kept.options, budget=budget, stdin=stdin_of(directory))
        meter, limit = batch_limits(app, options)
        progress = await to_thread.run_sync(read_progress, directory, app.runs_dir)
        spent = await to_thread.run_sync(spent_before, app.entries(), progress.runs, app.now())
        meter.charge(nusd=spent[0], tokens=spent[1], steps=spent[2])
        maker = Maker(app, kept.family, options)
        terms = Terms(changes.jobs or kept.terms.jobs, changes.fail_fast, limit)
        conductor = Conductor(kept.plan, directory, app.house(listen), maker.make, meter, terms)
        yield Batch(kept.plan, directory, conductor, progress, kept.began, listen)


class Maker:
    """Makes the delegations of a batch's items."""

    def __init__(self, app: App, family: Family, options: RunOptions) -> None:
        self._app = app
        self._family = family
        self._private: dict[str, tuple[str, ...]] = {}
        self.options = options

    def make(
        self, item: Item, results: Mapping[str, str], run: str | None
    ) -> AbstractAsyncContextManager[Delegation]:
        """See Prepare. What one run holds is given back after it, what all share with the App."""
        return self._make(item, results, run)

    @asynccontextmanager
    async def _make(
        self, item: Item, results: Mapping[str, str], run: str | None
    ) -> AsyncIterator[Delegation]:
        app = self._app.branch()
        try:
            if run is not None:
                saved = await read_to_resume(RunDirectory(app.runs_dir / run))
                lost = {name: as_text(item.params[name]) for name in saved.lost}
                yield await prepare_resumed(app, run, {}, lost)
            else:
                source = self._family.sources[item.task]
                task = self._family.tasks[item.task]
                yield await prepare(app, source.origin, task, self.options_for(item, results))
        finally:
            with anyio.CancelScope(shield=True):
                await app.aclose()

    async def rehearse(self, item: Item) -> None:
        """Raises what would keep every run of the item's task from beginning."""
        app = self._app.branch()
        task = self._family.tasks[item.task]
        try:
            await rehearse(app, self._family.sources[item.task].origin, task, self.options_for(item, {}))
        finally:
            await app.aclose()

    def options_for(self, item: Item, results: Mapping[str, str]) -> RunOptions:
        """What holds for one item. The model, the sandbox and standard input are those of the whole batch;
        the rest of what was said is about the task that was named."""
        said = self.options
        if item.task != self._family.task.name:
            said = RunOptions(
                model=said.model, no_sandbox=said.no_sandbox, stdin=said.stdin, fresh=said.fresh
            )
        params = {name: as_text(value) for name, value in item.params.items()}
        handed = Handed(results, self._reached(item.task))
        return replace(said, params=params, budget={}, interactive=False, handed=handed)

    def _reached(self, name: str) -> tuple[str, ...]:
        """Which private data what a task is handed may hold: all that the tasks before it can reach."""
        if name not in self._private:
            reasons: list[str] = []
            for need in self._family.tasks[name].needs:
                reasons += (f"'{need.task}' hands it on: {why}" for why in self._own(need.task))
            self._private[name] = tuple(dict.fromkeys(reasons))
        return self._private[name]

    def _own(self, name: str) -> Sequence[str]:
        app, task = self._app, self._family.tasks[name]
        options = RunOptions(no_sandbox=self.options.no_sandbox, handed=Handed({}, self._reached(name)))
        return find_risks(task, options, app.config, project=app.project, cwd=app.cwd).private


def batch_limits(app: App, options: RunOptions) -> tuple[BudgetMeter, float | None]:
    """What all runs together may spend, and how long they may take: what the operator's flags say.

    In US dollars there is always a limit: where no flag says one, that of the settings.
    """
    stated = app.config_with(options.budget).budget
    budget = Budget(
        usd=stated.usd if "usd" in options.budget else app.config.batch.usd,
        tokens=stated.tokens if "tokens" in options.budget else None,
        steps=stated.steps if "steps" in options.budget else None,
        time=None,
        usd_stated="usd" in options.budget or app.config.batch.usd_stated,
    )
    return BudgetMeter(budget, whose="batch"), stated.time if "time" in options.budget else None
