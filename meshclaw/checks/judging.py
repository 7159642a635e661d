"""Puts a candidate to its checks, and says what came of it: the results, the outcome, the feedback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import get_args

from meshclaw.checks.base import MAX_EVIDENCE, Check, CheckContext, CheckResult, CheckStatus, error
from meshclaw.checks.evidence import MAX_REASON, bounded, one_line
from meshclaw.errors import BudgetError, FailureKind, LedgerError, ProviderError
from meshclaw.inputs import fence
from meshclaw.runs import Candidate, Outcome
from meshclaw.terminal_text import clean

MAX_FEEDBACK = 12_000
"""Characters of evidence that the next attempt is given, of all checks together."""
_SETTLED = ("failed", "error")
_OF_THE_QUESTION = frozenset(
    {FailureKind.INVALID_REQUEST, FailureKind.CONTEXT_TOO_LONG, FailureKind.CONTENT_REFUSED}
)
"""Why a model that a check asks may never answer, however often it is asked."""


async def judge_all(
    checks: Sequence[Check],
    candidate: Candidate,
    context: CheckContext,
    *,
    redact: Callable[[str], str] = str,
    clock: Callable[[], float] = perf_counter,
) -> list[CheckResult]:
    """The results of all checks, in their order; each sees those before it. Raises as `run_check` does."""
    results = list(context.results)
    for check in checks:
        seen = replace(context, results=tuple(results))
        results.append(await run_check(check, candidate, seen, redact=redact, clock=clock))
    return results[len(context.results) :]


async def run_check(
    check: Check,
    candidate: Candidate,
    context: CheckContext,
    *,
    redact: Callable[[str], str] = str,
    clock: Callable[[], float] = perf_counter,
) -> CheckResult:
    """One check's result, its texts bounded and without secrets; `clock` counts seconds.

    Once a check of `context.results` has failed or could not tell, the candidate is rejected whatever
    others say: no model or person is asked any more (`skipped`). Whatever goes wrong inside the check is
    an `error`. Raises BudgetError, LedgerError, cancellation, and ProviderError when the provider of a
    model that it asks cannot answer now: that says nothing of the candidate.
    """
    if check.asks and any(one.status in _SETTLED for one in context.results):
        return CheckResult(check.kind, check.label, "skipped", "not asked: a check before it did not pass")
    started = clock()
    try:
        found = _held(check, await check.judge(candidate, context), redact)
    except (BudgetError, LedgerError):
        raise
    except ProviderError as problem:
        if problem.kind not in _OF_THE_QUESTION:
            raise ProviderError(
                problem.kind, f"{check.label}: no answer: {problem.message}", hint=problem.hint
            ) from problem
        found = _held(check, error(check, f"no answer: {problem}"), redact)
    except (Exception, SystemExit) as problem:
        # A check may be anybody's code. One that breaks, or wants to end the process, has not passed.
        reason = f"the check broke: {type(problem).__name__}: {problem}".removesuffix(": ")
        found = _held(check, error(check, reason), redact)
    return replace(found, seconds=clock() - started)


def _held(check: Check, found: object, redact: Callable[[str], str]) -> CheckResult:
    """A result as it may be kept and shown. Raises TypeError for what is none.

    Secrets are taken out before anything is cut: half of one would not be found.
    """
    if not isinstance(found, CheckResult) or found.status not in get_args(CheckStatus):
        raise TypeError(f"{one_line(repr(found), 80)} is no result")
    reason, evidence = redact(clean(found.reason)), redact(clean(found.evidence))
    why = "" if found.status == "passed" else one_line(reason, MAX_REASON) or "no reason was given"
    return CheckResult(check.kind, check.label, found.status, why, bounded(evidence, MAX_EVIDENCE))


def outcome_of(results: Sequence[CheckResult]) -> Outcome:
    """`accepted` only if every check has passed; `pending` if nothing but people are waited for."""
    found = {one.status for one in results}
    if not found:
        return Outcome.UNCHECKED
    if found == {"passed"}:
        return Outcome.ACCEPTED
    return Outcome.PENDING if found <= {"passed", "pending"} else Outcome.REJECTED


def feedback(results: Sequence[CheckResult]) -> str:
    """What the next attempt is told; "" when there is nothing to mend.

    All that checks found is fenced as material: it is what commands, files and judges said.
    """
    found = [one for one in results if one.status in _SETTLED]
    if not found:
        return ""
    each = MAX_FEEDBACK // len(found)
    told = [fence(f"check-{number}", _told(one, each)) for number, one in enumerate(found, 1)]
    few = "a check" if len(found) == 1 else f"{len(found)} checks"
    return "\n".join(
        [
            f"Your result is not accepted: {few} did not pass. Between the tags is what was found.",
            *told,
            "Mend this, then give the whole result again.",
        ]
    )


def _told(one: CheckResult, most: int) -> str:
    status = "failed" if one.status == "failed" else "could not be judged"
    evidence = bounded(one.evidence, most)
    return f"{one.label}\n{status}: {one.reason}\n" + (f"\n{evidence}" if evidence.strip() else "")
