"""One run's life, from the opening of its directory to its `run` entry.

Whatever happens in between, one `run` entry is appended and `run.json` says how it went: at once, or
by `recover` when the process was killed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Any

import anyio

from meshclaw.dispatch.adopting import adopt, find_accepted
from meshclaw.dispatch.attempts import EXIT_OF_STATUS, Attempts, Conclusion
from meshclaw.dispatch.chronicle import Chronicle
from meshclaw.dispatch.delegation import Delegation, House, Stop
from meshclaw.dispatch.delivery import Delivery, hand_back, undelivered, write_result
from meshclaw.dispatch.judging import Judging
from meshclaw.dispatch.purse import Purse
from meshclaw.dispatch.recording import record_run
from meshclaw.dispatch.records import (
    mark_alive,
    marker,
    proposed,
    redacted,
    redacted_candidate,
    run_entry,
    run_record,
    under_way,
)
from meshclaw.dispatch.resuming import Earlier, may_resume
from meshclaw.dispatch.workplace import Workplace
from meshclaw.dispatch.workplaces import workplace_of
from meshclaw.errors import ExitCode, MeshClawError
from meshclaw.metering import timestamp, total_cost
from meshclaw.policies import Decision, Effects
from meshclaw.runs import (
    Candidate,
    RunDirectory,
    RunStatus,
)
from meshclaw.threads import in_thread
from meshclaw.tools.base import ToolContext
from meshclaw.tools.shell import denial
from meshclaw.tools.toolbox import Toolbox

_START_KEYS = ("run", "task", "model", "runner", "directory", "started_at")


class Life:
    """One run, from the opening of its directory to its `run` entry."""

    def __init__(
        self,
        house: House,
        delegation: Delegation,
        run: str,
        directory: RunDirectory,
        stop: Stop,
        earlier: Earlier,
    ) -> None:
        self._house = house
        self._delegation = delegation
        self._run = run
        self._directory = directory
        self._stop = stop
        self._earlier = earlier
        self._started = earlier.started or house.now()
        self._resumed = house.now() if earlier.record else None
        self._clock = perf_counter()
        self._toolbox: Toolbox | None = None
        self._attempts: Attempts | None = None
        self._made: Workplace | Exception | None = None
        self._workplace: Workplace | None = None
        self._reused: str | None = None
        chronicle = Chronicle(house, directory)
        self._record, self._notify = chronicle.record, chronicle.notify
        self._purse = Purse(house, delegation, run, earlier.spent, self._record, self._notify)

    async def live(self) -> dict[str, Any]:
        running = Conclusion(Candidate("", RunStatus.RUNNING), ExitCode.OK)
        record = under_way(self._record_of(running))
        await self._house.disk.run(self._begin, record)
        self._notify("run-start", **{key: record[key] for key in _START_KEYS})
        try:
            conclusion = await self._work()
        except MeshClawError as error:
            conclusion = self._cut_short(RunStatus.FAILED, str(error), error.exit_code)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                cancelled = isinstance(error, anyio.get_cancelled_exc_class())
                status = RunStatus.INTERRUPTED if cancelled else RunStatus.FAILED
                await self._finish(self._cut_short(status, _reason(error), EXIT_OF_STATUS[status]))
            raise
        with anyio.CancelScope(shield=True):
            record = await self._finish(conclusion)
        return record

    async def _work(self) -> Conclusion:
        limit = self._delegation.budget.time
        left = None if limit is None else max(0.0, limit - self._earlier.seconds)
        conclusion: Conclusion | None = None
        with self._stop.scope, anyio.move_on_after(left):
            conclusion = await self._known_result() or await (await self._set_up()).run()
        if conclusion is not None:
            return conclusion
        if self._stop.scope.cancelled_caught:
            return self._cut_short(RunStatus.INTERRUPTED, "interrupted", self._stop.exit_code)
        reason = f"the time limit of {limit:g} s was reached"
        return self._cut_short(RunStatus.TIMED_OUT, reason, ExitCode.DEADLINE)

    async def _known_result(self) -> Conclusion | None:
        """The accepted result of the same work, if there is one and it is wanted."""
        found = None if self._earlier.record else await find_accepted(self._house, self._delegation)
        if found is None:
            return None
        self._workplace = workplace = await self._new_workplace()
        folder = self._house.runs / found.run
        adopted = await adopt(found, folder, workplace, self._judging(workplace))
        if isinstance(adopted, str):
            self._notify("done-again", run=found.run, reason=adopted)
            await workplace.close(final=True)
            self._workplace = None
            return None
        self._reused = found.run
        self._notify("reused", run=found.run)
        return adopted

    async def _set_up(self) -> Attempts:
        delegation, directory = self._delegation, self._directory
        self._workplace = workplace = await self._new_workplace()
        await workplace.open(resumed=bool(self._earlier.record))
        self._toolbox = Toolbox(
            delegation.tools,
            delegation.policy,
            ToolContext(
                workspace=workplace.workspace,
                sandbox=delegation.sandbox,
                environment=workplace.environment,
                confinement=workplace.confinement,
                review_host=self._review_host,
            ),
            outputs=directory.outputs,
            redact=self._house.redactor.text,
        )
        self._attempts = Attempts(
            delegation,
            self._purse,
            self._toolbox,
            self._judging(workplace),
            directory,
            self._record,
            self._earlier.history,
        )
        return self._attempts

    async def _new_workplace(self) -> Workplace:
        made, self._made = self._made, None
        if isinstance(made, Exception):
            raise made
        return await self._house.disk.run(self._make_workplace) if made is None else made

    def _make_workplace(self) -> Workplace:
        return workplace_of(self._delegation, self._directory, self._earlier.history.tampered)

    def _judging(self, workplace: Workplace) -> Judging:
        redact = self._house.redactor.text
        return Judging(self._delegation, self._purse, workplace, self._record, redact)

    def _review_host(self, host: str) -> Decision:
        return self._delegation.policy.review(Effects(hosts=(host,)))

    def _denied(self) -> Iterator[str]:
        """What tools were denied, and what checks' commands asked for in vain."""
        yield from self._toolbox.denials if self._toolbox else ()
        for refused in self._workplace.refused if self._workplace else ():
            decision = denial(refused, self._review_host)
            yield self._house.redactor.text(decision.remedy or decision.reason)

    def _cut_short(self, status: RunStatus, reason: str, exit_code: ExitCode) -> Conclusion:
        candidate = Candidate("", status, reason, self._purse.steps)
        if self._attempts is None:
            return Conclusion(candidate, exit_code)
        return self._attempts.cut_short(candidate, exit_code)

    def _begin(self, record: Mapping[str, Any]) -> None:
        self._directory.open()
        if not self._earlier.record:
            self._directory.write_saved(self._delegation.saved)
        self._directory.write_record(record)
        mark_alive(self._house.runs, self._run)
        try:
            self._made = self._make_workplace()
        except Exception as error:
            # Raised when it is wanted: by then the run has begun, and can end as failed.
            self._made = error

    async def _finish(self, conclusion: Conclusion) -> dict[str, Any]:
        # However a run ends, and whatever its runner tells: what was denied is in the record.
        candidate = conclusion.candidate
        denied = tuple(dict.fromkeys((*self._earlier.denied, *candidate.denied, *self._denied())))
        candidate = replace(candidate, denied=denied)
        candidate = redacted_candidate(candidate, self._house.redactor.data)
        conclusion = replace(conclusion, candidate=candidate)
        if self._attempts is None or not self._attempts.ended:
            await self._record("end", durable=False, status=str(candidate.status), reason=candidate.reason)
        delivery = await self._hand_back(conclusion)
        record = await self._house.disk.run(self._write_end, delivery)
        entry = run_entry(
            record,
            at=timestamp(self._house.now()),
            who=self._house.who,
            host=self._house.host,
            result=candidate.text,
            cost_nusd=total_cost(self._purse.calls).nusd,
        )
        await self._house.ledger.append(entry)
        if self._house.accepted is not None:
            self._house.accepted.add(entry)
        await self._clear_up(record)
        await in_thread(self._let_go)  # It waits for no other run's files to be written.
        self._notify("run-end", **record)
        return record

    def _let_go(self) -> None:
        marker(self._house.runs, self._run).unlink(missing_ok=True)
        self._directory.close()

    async def _hand_back(self, conclusion: Conclusion) -> Delivery:
        """A run that may go on keeps its copy, and has no patch yet."""
        candidate, code = conclusion.candidate, conclusion.exit_code
        if may_resume({"status": candidate.status, "exit": code}):
            return Delivery(conclusion)
        delivery = await hand_back(conclusion, self._workplace, self._house.now())
        if self._delegation.recorded is None or self._workplace is None:
            return delivery
        record = self._record_of(delivery.conclusion, delivery)
        try:
            await record_run(self._house, self._delegation, self._directory, self._workplace, record)
        except MeshClawError as error:
            return replace(delivery, problems=(*delivery.problems, f"not recorded: {error}"))
        return delivery

    async def _clear_up(self, record: Mapping[str, Any]) -> None:
        """What is left over is no reason to call a run failed: the next `recover` tries again."""
        if self._workplace is not None:
            with suppress(MeshClawError):
                await self._workplace.close(final=not may_resume(record))

    def _write_end(self, delivery: Delivery) -> dict[str, Any]:
        """Writes down all of the end but the ledger's entry: the result, then the record.

        The record goes before the entry: it holds all that the entry needs, if the process dies between.
        """
        delivery = write_result(self._delegation, delivery, self._directory)
        record = self._record_of(delivery.conclusion, delivery)
        self._directory.sync()
        self._directory.write_record(record)
        return record

    def _record_of(self, conclusion: Conclusion, delivery: Delivery | None = None) -> dict[str, Any]:
        attempts, earlier = self._attempts, self._earlier.history
        number = attempts.number if attempts else earlier.attempt
        told = delivery.problems if delivery else ()
        record = run_record(
            self._delegation,
            conclusion,
            run=self._run,
            attempt=number,
            steps=self._purse.steps,
            calls=self._purse.calls,
            started=self._started,
            seconds=self._earlier.seconds + perf_counter() - self._clock,
            directory=self._directory.path,
            ledger_file=self._house.ledger_file,
            output_file=delivery.output_file if delivery else None,
            patch=delivery.patch if delivery else None,
            problems=[*self._delegation.problems, *self._purse.problems, *told],
            over_reserve=self._purse.budget.over_reserve,
            changed_by_agent=self._workplace.tampered if self._workplace else earlier.tampered,
            resumed=self._resumed,
            reused=self._reused,
            undelivered=undelivered(self._delegation, conclusion, delivery),
            proposals=proposed(self._directory.transcript) if self._delegation.task.propose else [],
        )
        return redacted(record, self._house.redactor.data)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
