"""Hands back what an earlier run of the same work had accepted, where that is still so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from anyio import to_thread

from meshclaw.checks import CheckResult
from meshclaw.dispatch.attempts import Conclusion
from meshclaw.dispatch.delegation import Delegation, House
from meshclaw.dispatch.judging import Judging
from meshclaw.dispatch.reuse import Reused
from meshclaw.dispatch.workplace import Workplace
from meshclaw.errors import ExitCode, MeshClawError
from meshclaw.runs import Candidate, Outcome, RunStatus


async def find_accepted(house: House, delegation: Delegation) -> Reused | None:
    """An accepted run of the same work, if there is one and it is wanted."""
    if house.accepted is None or not delegation.reuse:
        return None
    return await to_thread.run_sync(house.accepted.find, delegation.work_digest, house.runs, house.now())


async def adopt(found: Reused, folder: Path, workplace: Workplace, judging: Judging) -> Conclusion | str:
    """What the accepted run in `folder` came to, or why it cannot be handed back.

    Its work has to be in place, and every check that costs nothing has to pass again, or to say again what
    a person has overruled: what it looks at may have changed. Raises nothing but cancellation.
    """
    known = _conclusion(found)
    try:
        why = await workplace.adopt(folder, found.record)
        if why:
            return why
        results = await judging.judge_again(known.candidate, known.checks)
    except MeshClawError as error:
        return str(error)
    for one, then in zip(results, known.checks, strict=True):
        if one.status not in ("passed", then.status):
            return f"{one.label}: {one.reason}"
    return replace(known, checks=results)


def _conclusion(found: Reused) -> Conclusion:
    """What the record says of it."""
    result = found.record["result"]
    value = None if isinstance(result, str) else result
    checks = tuple(map(CheckResult.from_dict, found.record["checks"]))
    candidate = Candidate(found.text, RunStatus.SUCCEEDED, value=value)
    return Conclusion(candidate, ExitCode.OK, Outcome.ACCEPTED, checks)
