"""Runs Delegations: anew, or where a run was cut short."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from anyio import to_thread

from meshclaw.dispatch.delegation import Delegation, House, Stop
from meshclaw.dispatch.life import Life
from meshclaw.dispatch.resuming import NOTHING, Earlier, may_resume, read_earlier
from meshclaw.errors import LedgerError, ProblemsError
from meshclaw.runs import RunDirectory, RunStatus


class Dispatcher:
    """Runs Delegations. Many can run side by side in one process."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def run(self, delegation: Delegation, stop: Stop | None = None) -> dict[str, Any]:
        """One run, to its end. Returns its record: the object that `run --json` prints.

        Raises LedgerError, which names the run, only when not even the end could be written; every other
        end is a record.
        """
        return await self._live(self._house.new_id(), delegation, NOTHING, stop)

    async def resume(self, run: str, delegation: Delegation, stop: Stop | None = None) -> dict[str, Any]:
        """Goes on with a run that was cut short, from its transcript: nothing that was received is asked
        for, or paid, again. `recover` must have closed it before. Returns its record, as `run` does.

        Raises LockedError while another process works on it, ProblemsError when it cannot be read.
        """
        earlier = await to_thread.run_sync(read_earlier, self._house, run)
        delegation = replace(delegation, batch=delegation.batch or earlier.record.get("batch"))
        return await self._live(run, delegation, earlier, stop)

    async def _live(
        self, run: str, delegation: Delegation, earlier: Earlier, stop: Stop | None
    ) -> dict[str, Any]:
        directory = RunDirectory(self._house.runs / run)
        life = Life(self._house, delegation, run, directory, stop or Stop(), earlier)
        try:
            return await life.live()
        except LedgerError as error:
            error.run = run
            with suppress(ProblemsError):
                record = directory.read_record()
                error.resumable = record["status"] == RunStatus.RUNNING or may_resume(record)
            raise
        finally:
            directory.close()
