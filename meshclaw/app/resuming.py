"""Makes the delegation of a run that was cut short again, from what its folder keeps."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from meshclaw.app.options import TaskSource
from meshclaw.app.preparing import prepare
from meshclaw.app.saving import OldVersionError, Saved, given_again, read_saved
from meshclaw.app.trusting import require_trust, run_powers
from meshclaw.dispatch import Delegation, House, give_up, may_resume, recover
from meshclaw.errors import LockedError, MeshClawError, Problem, ProblemsError
from meshclaw.runs import RunDirectory, RunStatus

if TYPE_CHECKING:
    from meshclaw.app.app import App


async def prepare_resumed(
    app: App, run: str, budget: Mapping[str, str], params: Mapping[str, str] = MappingProxyType({})
) -> Delegation:
    """The delegation of `run`, whose project is the App's: the same task, prompt, inputs and models.

    Settings, trust and keys are those of today; `budget` widens limits that the run has used up, `params`
    are those that held a secret and were not kept. Whether they are the same nobody knows: a digest of a
    secret would let it be guessed. Raises ProblemsError when the run came to its end or cannot go on,
    LockedError while it is alive, and UntrustedError.
    """
    directory = RunDirectory(app.runs_dir / run)
    record = await to_thread.run_sync(directory.read_record)
    if record["status"] == RunStatus.RUNNING:
        raise _running(directory, run, record)
    if not may_resume(record):
        message = f"run {run} cannot go on: it came to its end ({record['status']}, {record['outcome']})"
        hint = f"`meshclaw run {record['task']}` does the work anew"
        raise ProblemsError([Problem("RUN", 0, 0, message, hint)])
    saved = await read_to_resume(directory)
    if saved.redacted:
        message = f"run {run} cannot go on: its task or options held a secret, which is not kept"
        hint = f"`meshclaw run {record['task']}` does the work anew"
        raise ProblemsError([Problem("RUN", 0, 0, message, hint)])
    task = app.parse_task(saved.text.encode(), saved.source, saved.name, saved.path)
    saved = saved.given(given_again(f"run {run}", saved.lost, params))
    require_trust(app, run_powers(app, TaskSource(saved.name, saved.path, saved.origin), task))
    options = replace(saved.options, budget={**saved.options.budget, **budget})
    return await prepare(app, saved.origin, task, options, saved)


async def read_to_resume(directory: RunDirectory) -> Saved:
    """What a run that was cut short is made from; one that no version can go on with is given up.

    Raises ProblemsError.
    """
    try:
        return await to_thread.run_sync(read_saved, directory)
    except OldVersionError:
        await give_up(directory)
        raise


async def recover_runs(house: House) -> list[str]:
    """`recover`, after which runs that cannot go on are given up."""
    recovered = await recover(house)
    for run in recovered:
        directory = RunDirectory(house.runs / run)
        with suppress(MeshClawError):
            if may_resume(await to_thread.run_sync(directory.read_record)):
                await read_to_resume(directory)
    return recovered


def _running(directory: RunDirectory, run: str, record: Mapping[str, Any]) -> MeshClawError:
    """Why a run that `recover` has left as running does not go on."""
    try:
        with directory:
            pass
    except LockedError:
        return LockedError(f"run {run} is running: another process works on it", hint="wait for its end")
    message = f"run {run} was cut short, and its end belongs into another ledger: {record.get('ledger')}"
    return ProblemsError([Problem("RUN", 0, 0, message, "any run with that ledger writes it down")])
