"""Brings a run's kept patch where the task or a flag wants it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from meshclaw.errors import MeshClawError, WorkError
from meshclaw.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to become of a patch: a `branch` whose commit says `message`, and put into the project.

    `reused` is the run that made the result, when it is handed back.
    """

    message: str
    branch: str | None = None
    apply: bool = False
    reused: str | None = None


async def publish(
    folder: Path, wanted: Wanted, said: dict[str, Any], environment: Mapping[str, str], now: datetime
) -> None:
    """Delivers the patch in a run's `folder`; `said`, the record's `patch`, gets what was done so far.

    May be called again after any error or death in the middle: what is there already stays. One that fails
    does not keep the other from being done. Raises WorkError where it does not fit, ProblemsError for an
    impossible branch.
    """
    from meshclaw.isolation import KeptPatch

    kept = await KeptPatch.read(folder)
    if not kept.patch.files:
        return
    errors: list[MeshClawError] = []
    if wanted.apply:
        try:
            await kept.apply(environment)
            said["applied"] = True
        except MeshClawError as error:
            # A branch is what helps to merge it then.
            errors.append(error)
    if wanted.branch is not None:
        try:
            await kept.branch(
                wanted.branch,
                wanted.message,
                folder.name,
                environment=environment,
                when=now,
                reused=wanted.reused,
            )
            said["branch"] = wanted.branch
        except MeshClawError as error:
            errors.append(error)
    if len(errors) > 1:
        raise WorkError("\n".join(map(str, errors)))
    if errors:
        raise errors[0]
