"""Attempt after attempt, each told what was wrong with the one before, until the work is accepted or the
attempts are used up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from anyio import to_thread

from meshclaw.checks import CheckResult, feedback, outcome_of
from meshclaw.dispatch.delegation import Delegation, Rung
from meshclaw.dispatch.judging import Judging
from meshclaw.dispatch.purse import Purse
from meshclaw.errors import ExitCode
from meshclaw.frozen import dataclass
from meshclaw.runners.base import Job, RunContext
from meshclaw.runs import Candidate, History, Outcome, RunDirectory, RunStatus, read_history
from meshclaw.tools.toolbox import Toolbox

EXIT_OF_STATUS: dict[RunStatus, ExitCode] = {
    RunStatus.SUCCEEDED: ExitCode.OK,
    RunStatus.FAILED: ExitCode.FAILED,
    RunStatus.REFUSED: ExitCode.REFUSED,
    RunStatus.TIMED_OUT: ExitCode.DEADLINE,
    RunStatus.OVER_BUDGET: ExitCode.OVER_BUDGET,
    RunStatus.INTERRUPTED: ExitCode.INTERRUPTED,
    RunStatus.SKIPPED: ExitCode.SKIPPED,
}


@dataclass(frozen=True, slots=True)
class Conclusion:
    """How a run ended and what its result is worth. `checks` are what the last judged attempt met."""

    candidate: Candidate
    exit_code: ExitCode
    outcome: Outcome = Outcome.UNCHECKED
    checks: tuple[CheckResult, ...] = ()


class Attempts:
    """The attempts of one run; `history` is what earlier processes of it have done."""

    def __init__(
        self,
        delegation: Delegation,
        purse: Purse,
        toolbox: Toolbox,
        judging: Judging,
        directory: RunDirectory,
        record: Callable[..., Awaitable[None]],
        history: History,
    ) -> None:
        self._delegation = delegation
        self._purse = purse
        self._toolbox = toolbox
        self._judging = judging
        self._directory = directory
        self._record = record
        self._history = history
        self._judged: tuple[CheckResult, ...] = ()
        self.number = history.attempt
        self.ended = history.ended

    async def run(self) -> Conclusion:
        """Raises what a Runner raises. BudgetError is none of it: a budget's end is a Conclusion."""
        while True:
            rung = self.rung(self.number)
            context = RunContext(
                self._purse.door(rung, self.number), self._toolbox, self._purse.budget, self._record
            )
            job = job_of(self._delegation, rung, self._history)
            candidate = await self._delegation.runner.run(job, context)
            if not self.ended:
                await self._record(
                    "end", durable=False, status=str(candidate.status), reason=candidate.reason
                )
                self.ended = True
            conclusion = await self._conclude(candidate)
            if not self._goes_on(conclusion):
                return conclusion
            await self._begin_next(conclusion)

    def rung(self, attempt: int) -> Rung:
        """The model of an attempt: the ladder is climbed one rung an attempt, and its last one kept."""
        rungs = self._delegation.rungs
        return rungs[min(attempt, len(rungs)) - 1]

    def cut_short(self, candidate: Candidate, exit_code: ExitCode) -> Conclusion:
        """The conclusion of a run that ended from outside; what was judged before still holds."""
        outcome = outcome_of(self._judged) if self._judged else Outcome.UNCHECKED
        return Conclusion(candidate, exit_code, outcome, self._judged)

    async def _conclude(self, candidate: Candidate) -> Conclusion:
        finished = candidate.status is RunStatus.SUCCEEDED or candidate.unfit
        if not self._delegation.checks or not finished:
            return self.cut_short(candidate, EXIT_OF_STATUS[candidate.status])
        judgement = await self._judging.judge(candidate, self.number, self._history)
        self._judged = judgement.results
        if judgement.over_budget:
            over = replace(candidate, status=RunStatus.OVER_BUDGET, reason=judgement.over_budget)
            return Conclusion(over, ExitCode.OVER_BUDGET, Outcome.UNCHECKED, self._judged)
        outcome = outcome_of(self._judged)
        exit_code = ExitCode.OK if outcome is Outcome.ACCEPTED else ExitCode.NOT_ACCEPTED
        return Conclusion(_with_reason(candidate, self._judged), exit_code, outcome, self._judged)

    def _goes_on(self, conclusion: Conclusion) -> bool:
        candidate = conclusion.candidate
        if self.number >= self._delegation.attempts:
            return False
        if candidate.hopeless and self.rung(self.number + 1).model == self.rung(self.number).model:
            return False
        if conclusion.exit_code is ExitCode.NOT_ACCEPTED:
            # Where checks could not judge, more work would not help.
            return any(result.status == "failed" for result in conclusion.checks)
        return candidate.status is RunStatus.FAILED

    async def _begin_next(self, conclusion: Conclusion) -> None:
        self.number += 1
        self.ended = False
        text = _told(conclusion)
        await self._record("attempt", number=self.number, model=self.rung(self.number).model, text=text)
        # The transcript is read again, so that going on here and resuming a killed run are one and the
        # same.
        self._history = await to_thread.run_sync(read_history, self._directory.transcript)


def job_of(delegation: Delegation, rung: Rung | None = None, history: History | None = None) -> Job:
    """What the runner is told of a delegation."""
    task = delegation.task
    rung = rung or delegation.rungs[0]
    history = history or History()
    return Job(
        model=rung.model_id,
        prompt=delegation.prompt,
        system=delegation.system,
        effort=delegation.effort,
        schema=task.output.schema,
        max_output=delegation.max_output,
        timeout=delegation.timeout,
        stall_timeout=delegation.stall_timeout,
        cache_key=f"meshclaw-{task.name}-{task.digest[:16]}",
        history=history.steps,
        begun=history.begun,
    )


def _with_reason(candidate: Candidate, results: Sequence[CheckResult]) -> Candidate:
    """Why the result was not accepted, in one line."""
    unmet = [result for result in results if result.status != "passed"]
    if not unmet:
        return candidate
    more = f" (and {len(unmet) - 1} more)" if len(unmet) > 1 else ""
    return replace(candidate, reason=f"{unmet[0].label}: {unmet[0].reason}{more}")


def _told(conclusion: Conclusion) -> str:
    if conclusion.exit_code is ExitCode.NOT_ACCEPTED:
        return feedback(conclusion.checks)
    return f"That attempt failed: {conclusion.candidate.reason}. Try another way."
