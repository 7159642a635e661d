"""What becomes of a result: the run's folder keeps it, and a good one goes where the task wants it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from anyio import to_thread

from meshclaw.dispatch.attempts import Conclusion
from meshclaw.dispatch.delegation import Delegation
from meshclaw.dispatch.publishing import Wanted, publish
from meshclaw.dispatch.workplace import Workplace
from meshclaw.errors import ExitCode, MeshClawError
from meshclaw.frozen import dataclass
from meshclaw.runs import Outcome, RunDirectory, RunStatus
from meshclaw.workspace import Workspace, WorkspaceError


@dataclass(frozen=True, slots=True)
class Delivery:
    """The conclusion, changed when something could not be delivered, and what the record says of it.

    `failed` says that a good result did not get where it was to go.
    """

    conclusion: Conclusion
    output_file: str | None = None
    patch: Mapping[str, Any] | None = None
    problems: tuple[str, ...] = ()
    failed: bool = False


def is_good(conclusion: Conclusion) -> bool:
    """Whether the result may go out: nothing that was stated speaks against it, and nobody is waited
    for.
    """
    return conclusion.candidate.status is RunStatus.SUCCEEDED and conclusion.outcome in (
        Outcome.ACCEPTED,
        Outcome.UNCHECKED,
    )


async def hand_back(conclusion: Conclusion, workplace: Workplace | None, now: datetime) -> Delivery:
    """Keeps the patch of a run that worked in a copy; a good one goes where the task or a flag wants it."""
    if workplace is None:
        return Delivery(conclusion)
    delivery = Delivery(conclusion)
    try:
        patch = await workplace.keep_patch()
        if patch is None:
            return delivery
        delivery = replace(delivery, patch=patch)
        if is_good(conclusion):
            accepted = conclusion.outcome is Outcome.ACCEPTED
            await workplace.publish_patch(patch, accepted=accepted, now=now)
    except MeshClawError as error:
        return _failed(delivery, f"the patch: {error}")
    return delivery


def write_result(delegation: Delegation, delivery: Delivery, directory: RunDirectory) -> Delivery:
    """Keeps the result's text in the run's folder, and a good one where the task wants it. Blocks."""
    conclusion = delivery.conclusion
    text = conclusion.candidate.text
    if text:
        (directory.path / "result.txt").write_text(text, encoding="utf-8")
    target = delegation.output_file
    if target is None or not is_good(conclusion):
        return delivery
    text = text if text.endswith("\n") else text + "\n"
    root = delegation.output_root or delegation.project
    shown = shown_target(target, root, delegation.project)
    try:
        Workspace(root).write_bytes(target, text.encode())
    except WorkspaceError as error:
        return _failed(delivery, f"cannot write the result to {shown}: {error}")
    return replace(delivery, output_file=shown)


def shown_target(target: str, root: Path, project: Path) -> str:
    """How the record names a result's file: from the project, or, where a flag leads elsewhere, whole."""
    return target if root == project else str(root / target)


def _failed(delivery: Delivery, problem: str) -> Delivery:
    conclusion = delivery.conclusion
    candidate = replace(conclusion.candidate, status=RunStatus.FAILED, reason=problem)
    return replace(
        delivery,
        conclusion=replace(conclusion, candidate=candidate, exit_code=ExitCode.FAILED),
        problems=(*delivery.problems, problem),
        failed=True,
    )


def undelivered(
    delegation: Delegation, conclusion: Conclusion, delivery: Delivery | None
) -> dict[str, Any] | None:
    """Where a result is to go once a person accepts it: one that waits for that, or that could not be
    delivered; for the run's record.
    """
    if conclusion.outcome is not Outcome.PENDING and not (delivery and delivery.failed):
        return None
    isolation = delegation.isolation
    root = delegation.output_root or delegation.project
    return {
        "output_file": delegation.output_file,
        "output_root": str(root),
        "branch": None if isolation is None else isolation.branch,
        "apply": isolation is not None and isolation.apply,
        "message": delegation.task.description or delegation.task.name,
    }


async def deliver_accepted(
    directory: RunDirectory, record: Mapping[str, Any], environment: Mapping[str, str], now: datetime
) -> dict[str, Any]:
    """Delivers what a person has accepted since; gives the record's keys that change with it.

    Raises WorkError or WorkspaceError where it does not fit, ProblemsError for an impossible branch.
    """
    wants = record.get("undelivered")
    changed: dict[str, Any] = {"undelivered": None}
    if not wants:
        return changed
    if wants["output_file"] is not None:
        text = await to_thread.run_sync(lambda: (directory.path / "result.txt").read_bytes())
        text = text if text.endswith(b"\n") else text + b"\n"
        workspace = Workspace(Path(wants["output_root"]))
        await to_thread.run_sync(workspace.write_bytes, wants["output_file"], text)
        project = Path(record["project"])
        changed["output_file"] = shown_target(wants["output_file"], workspace.root, project)
    if record.get("patch") and record["patch"]["files"]:
        patch = changed["patch"] = dict(record["patch"])
        wanted = Wanted(wants["message"], wants["branch"], wants["apply"])
        try:
            await publish(directory.path, wanted, patch, environment, now)
        except MeshClawError:
            if patch != record["patch"]:
                await to_thread.run_sync(directory.write_record, {**record, "patch": patch})
            raise
    return changed
