"""Runs a Delegation from the opening of its directory to its `run` entry.

Whatever happens in between, one `run` entry is appended and `run.json` says how it went: at once, or
by `recover` when the process was killed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any

import anyio
from anyio import to_thread

from meshclaw.budgets import BudgetMeter
from meshclaw.dispatch.delegation import Delegation, House, Stop
from meshclaw.dispatch.records import marker, run_entry, run_record
from meshclaw.errors import ExitCode, MeshClawError, ProviderError
from meshclaw.metering import CallContext, Metered, timestamp, total_cost
from meshclaw.runners.base import Job, RunContext
from meshclaw.runs import (
    TRANSCRIPT_EVENTS,
    UNSYNCED_EVENTS,
    Candidate,
    Event,
    RunDirectory,
    RunStatus,
)
from meshclaw.tools.base import ToolContext
from meshclaw.tools.toolbox import Toolbox
from meshclaw.workspace import Workspace, WorkspaceError

EXIT_OF_STATUS: dict[RunStatus, ExitCode] = {
    RunStatus.SUCCEEDED: ExitCode.OK,
    RunStatus.FAILED: ExitCode.FAILED,
    RunStatus.REFUSED: ExitCode.REFUSED,
    RunStatus.TIMED_OUT: ExitCode.DEADLINE,
    RunStatus.OVER_BUDGET: ExitCode.OVER_BUDGET,
    RunStatus.INTERRUPTED: ExitCode.INTERRUPTED,
    RunStatus.SKIPPED: ExitCode.SKIPPED,
}
_START_KEYS = ("run", "task", "model", "runner", "directory", "started_at")


class Dispatcher:
    """Runs Delegations. Many can run side by side in one process."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def run(self, delegation: Delegation, stop: Stop | None = None) -> dict[str, Any]:
        """One run, to its end. Returns its record: the object that `run --json` prints.

        Raises LedgerError only when not even the end could be written; every other end is a record.
        """
        run = self._house.new_id()
        directory = RunDirectory(self._house.runs / run)
        await to_thread.run_sync(directory.open)
        try:
            return await _Life(self._house, delegation, run, directory, stop or Stop()).live()
        finally:
            directory.close()


class _Life:
    """One run, between the opening of its directory and its `run` entry."""

    def __init__(
        self, house: House, delegation: Delegation, run: str, directory: RunDirectory, stop: Stop
    ) -> None:
        self._house = house
        self._delegation = delegation
        self._run = run
        self._directory = directory
        self._stop = stop
        self._started = house.now()
        self._clock = perf_counter()
        self._budget = BudgetMeter(delegation.budget)
        context = CallContext(
            run=run,
            attempt=1,
            ledger=house.ledger,
            budget=self._budget,
            prices=house.prices,
            now=house.now,
            record=self._record,
            notify=self._notify,
            redact=house.redactor.text,
            redact_stream=house.redactor.stream,
        )
        self._metered = Metered(delegation.provider, context)

    async def live(self) -> dict[str, Any]:
        record = self._record_of(Candidate("", RunStatus.RUNNING), ExitCode.OK)
        await to_thread.run_sync(self._begin, record)
        self._notify("run-start", **{key: record[key] for key in _START_KEYS})
        try:
            candidate, exit_code = await self._work()
        except MeshClawError as error:
            candidate, exit_code = self._cut_short(RunStatus.FAILED, str(error)), error.exit_code
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                cancelled = isinstance(error, anyio.get_cancelled_exc_class())
                status = RunStatus.INTERRUPTED if cancelled else RunStatus.FAILED
                await self._finish(self._cut_short(status, _reason(error)), EXIT_OF_STATUS[status])
            raise
        with anyio.CancelScope(shield=True):
            record = await self._finish(candidate, exit_code)
        return record

    async def _work(self) -> tuple[Candidate, ExitCode]:
        limit = self._delegation.budget.time
        candidate: Candidate | None = None
        with self._stop.scope, anyio.move_on_after(limit):
            candidate = await self._delegation.runner.run(job_of(self._delegation), self._context())
        if candidate is not None:
            return candidate, EXIT_OF_STATUS[candidate.status]
        if self._stop.scope.cancelled_caught:
            return self._cut_short(RunStatus.INTERRUPTED, "interrupted"), self._stop.exit_code
        reason = f"the time limit of {limit:g} s was reached"
        return self._cut_short(RunStatus.TIMED_OUT, reason), ExitCode.DEADLINE

    def _cut_short(self, status: RunStatus, reason: str) -> Candidate:
        return Candidate("", status, reason, self._budget.steps)

    def _context(self) -> RunContext:
        delegation, outputs = self._delegation, self._directory.outputs
        tool_context = ToolContext(
            workspace=Workspace(delegation.project, outputs),
            sandbox=delegation.sandbox,
            environment={**delegation.environment, **self._write_inputs()},
        )
        toolbox = Toolbox(
            delegation.tools,
            delegation.policy,
            tool_context,
            outputs=outputs,
            redact=self._house.redactor.text,
        )
        provider = delegation.retrying(self._metered, self._tell_retry)
        return RunContext(provider, toolbox, self._budget, self._record)

    def _write_inputs(self) -> dict[str, str]:
        """Keeps every input as a file, so that commands reach it by name and never as code."""
        folder = self._directory.path / "files"
        variables: dict[str, str] = {}
        for name, data in self._delegation.input_files.items():
            folder.mkdir(mode=0o700, exist_ok=True)
            (folder / name).write_bytes(data)
            variables[f"MESHCLAW_INPUT_{name.upper()}"] = str(folder / name)
        return variables

    def _begin(self, record: Mapping[str, Any]) -> None:
        self._directory.write_record(record)
        alive = marker(self._house.runs, self._run)
        alive.parent.mkdir(mode=0o700, exist_ok=True)
        alive.touch(mode=0o600)

    async def _finish(self, candidate: Candidate, exit_code: ExitCode) -> dict[str, Any]:
        output_file, problem = await to_thread.run_sync(self._write_output, candidate)
        if problem:
            candidate = replace(candidate, status=RunStatus.FAILED, reason=problem)
            exit_code = ExitCode.FAILED
        record = self._record_of(candidate, exit_code, output_file, problem)
        await self._record("end", status=str(candidate.status), reason=candidate.reason)
        entry = run_entry(
            record,
            at=timestamp(self._house.now()),
            who=self._house.who,
            host=self._house.host,
            result=candidate.text,
            cost_nusd=total_cost(self._metered.calls).nusd,
        )
        # The record goes first: it holds all that the entry needs, if the process dies in between.
        await to_thread.run_sync(self._directory.write_record, record)
        await self._house.ledger.append(entry)
        marker(self._house.runs, self._run).unlink(missing_ok=True)
        self._notify("run-end", **record)
        return record

    def _write_output(self, candidate: Candidate) -> tuple[str | None, str]:
        """Keeps the result in the run's folder and, on success, where the task wants it."""
        if candidate.text:
            (self._directory.path / "result.txt").write_text(candidate.text, encoding="utf-8")
        target = self._delegation.output_file
        if target is None or candidate.status is not RunStatus.SUCCEEDED:
            return None, ""
        text = candidate.text if candidate.text.endswith("\n") else candidate.text + "\n"
        try:
            Workspace(self._delegation.output_root or self._delegation.project).write_bytes(
                target, text.encode()
            )
        except WorkspaceError as error:
            return None, f"cannot write the result to {target}: {error}"
        return target, ""

    def _record_of(
        self,
        candidate: Candidate,
        exit_code: ExitCode,
        output_file: str | None = None,
        problem: str = "",
    ) -> dict[str, Any]:
        return run_record(
            self._delegation,
            candidate,
            run=self._run,
            exit_code=exit_code,
            steps=self._budget.steps,
            calls=self._metered.calls,
            started=self._started,
            seconds=perf_counter() - self._clock,
            directory=self._directory.path,
            output_file=output_file,
            problems=[problem] if problem else [],
            over_reserve=self._budget.over_reserve,
        )

    async def _record(self, kind: str, /, *, durable: bool = True, **data: Any) -> None:
        event = Event(kind, data)
        if kind in TRANSCRIPT_EVENTS:
            self._directory.append(event)
            if durable and kind not in UNSYNCED_EVENTS:
                await to_thread.run_sync(self._directory.sync)
        self._house.listen(event)

    def _notify(self, kind: str, /, **data: Any) -> None:
        self._house.listen(Event(kind, data))

    def _tell_retry(self, number: int, error: ProviderError, wait: float) -> None:
        self._notify(
            "retry", number=number, failure=str(error.kind), message=str(error), wait_s=round(wait, 3)
        )


def job_of(delegation: Delegation) -> Job:
    """What the runner is told of a delegation."""
    task = delegation.task
    return Job(
        model=delegation.model_id,
        prompt=delegation.prompt,
        system=delegation.system,
        effort=delegation.effort,
        schema=task.output.schema,
        max_output=delegation.max_output,
        timeout=delegation.timeout,
        stall_timeout=delegation.stall_timeout,
        cache_key=f"meshclaw-{task.name}-{task.digest[:16]}",
    )


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
