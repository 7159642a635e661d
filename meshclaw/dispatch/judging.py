"""Lets a run's checks judge what an attempt handed back, each result written down as it comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import anyio

from meshclaw.checks import CheckContext, CheckResult, FileChange, Question, run_check
from meshclaw.dispatch.delegation import Delegation
from meshclaw.dispatch.purse import JUDGE, Purse
from meshclaw.dispatch.workplace import Workplace
from meshclaw.errors import BudgetError, WorkError
from meshclaw.frozen import dataclass
from meshclaw.messages import Request, Response, user
from meshclaw.providers.base import NullSink
from meshclaw.runs import Candidate, History

JUDGE_OUTPUT = 2_048
"""Most tokens of a judge's answer, its thinking included."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the checks found; `over_budget` says why not all of them could be paid for."""

    results: tuple[CheckResult, ...]
    over_budget: str = ""


class Judging:
    """The checks of one run. `record` writes a transcript line, `redact` takes secrets out."""

    def __init__(
        self,
        delegation: Delegation,
        purse: Purse,
        workplace: Workplace,
        record: Callable[..., Awaitable[None]],
        redact: Callable[[str], str],
    ) -> None:
        self._delegation = delegation
        self._purse = purse
        self._workplace = workplace
        self._record = record
        self._redact = redact

    async def judge(self, candidate: Candidate, attempt: int, history: History) -> Judgement:
        """Judges in the task's order. What `history` has of this attempt is not judged, or paid for,
        again. Raises ProviderError when a judge cannot be asked: a resumed run goes on with that check.
        """
        results = (
            [CheckResult.from_dict(event) for event in history.checks] if history.attempt == attempt else []
        )
        try:
            await self._workplace.begin_judging()
            if candidate.unfit:
                found = CheckResult("answer", "answer", "failed", candidate.reason)
                if not results:
                    await self._note(found)
                return Judgement((found,))
            context = await self._context()
            for index, check in enumerate(self._delegation.checks[len(results) :], len(results) + 1):
                models: dict[str, None] = {}
                ask = self._asker(index, attempt, history, models)
                seen = replace(context, results=tuple(results), ask=ask)
                found = await run_check(check, candidate, seen, redact=self._redact)
                results.append(replace(found, model=", ".join(models)))
                await self._note(results[-1])
        except BudgetError as error:
            return Judgement(tuple(results), str(error))
        finally:
            with anyio.CancelScope(shield=True):
                await self._workplace.end_judging()
        return Judgement(tuple(results))

    async def judge_again(
        self, candidate: Candidate, known: Sequence[CheckResult]
    ) -> tuple[CheckResult, ...]:
        """Judges accepted work, which is in place, once more: nothing is asked, paid or written down.

        `known` is what the checks said of it. That stays for those that ask a model or a person, and, in
        the project itself, for those that look at changes: it is as they saw it. Raises WorkError.
        """
        checks = self._delegation.checks
        if len(checks) != len(known):
            raise WorkError("its checks were others")
        results: list[CheckResult] = []
        try:
            await self._workplace.begin_judging()
            context = await self._context()
            for check, then in zip(checks, known, strict=True):
                if check.asks or (check.needs_changes and not self._workplace.knows_changes):
                    results.append(then)
                    continue
                seen = replace(context, results=tuple(results))
                results.append(await run_check(check, candidate, seen, redact=self._redact))
        finally:
            with anyio.CancelScope(shield=True):
                await self._workplace.end_judging()
        return tuple(results)

    async def _context(self) -> CheckContext:
        workplace, delegation = self._workplace, self._delegation
        paths = self._files_read()
        context = CheckContext(
            files=await workplace.files(paths) if paths else workplace.workspace.root,
            prompt=delegation.prompt,
            schema=delegation.task.output.schema,
            execute=workplace.execute_check,
        )
        if not any(check.needs_changes for check in delegation.checks):
            return context
        patch = await workplace.patch()
        changes = [FileChange(one.path, one.kind, one.added, one.removed) for one in patch.files]
        return replace(context, changes=changes, patch=patch.text.decode("utf-8", "replace"))

    def _files_read(self) -> set[str]:
        """The paths of the candidate that checks look at, `.` where it may be any."""
        reading = (check for check in self._delegation.checks if getattr(check, "reads_files", True))
        return {path for check in reading for path in getattr(check, "files_read", (".",))}

    def _asker(
        self, number: int, attempt: int, history: History, models: dict[str, None]
    ) -> Callable[[Question, str | None], Awaitable[Response]]:
        """For one check; `models` gets the names of those it has asked."""

        async def ask(question: Question, model: str | None) -> Response:
            rung = self._delegation.judges[model or ""]
            models[rung.model] = None
            answered = history.answers.get(f"{attempt}.{JUDGE}{number}")
            if answered is not None:
                return answered
            request = Request(
                model=rung.model_id,
                messages=(user(self._redact(question.prompt)),),
                system=question.system,
                max_output=min(JUDGE_OUTPUT, self._delegation.max_output),
                schema=question.schema,
                timeout=self._delegation.timeout,
                stall_timeout=self._delegation.stall_timeout,
                step=number,
            )
            return await self._purse.door(rung, attempt, JUDGE).complete(request, NullSink())

        return ask

    async def _note(self, result: CheckResult) -> None:
        tampered = self._workplace.tampered
        named = {} if tampered is None else {"changed_by_agent": list(tampered)}
        await self._record("check", **result.as_dict(), evidence=result.evidence, **named)
