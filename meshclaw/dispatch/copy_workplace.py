"""A copy of the project to work in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from anyio import to_thread

from meshclaw.dispatch.publishing import Wanted, publish
from meshclaw.dispatch.workplace import CANDIDATE, MAX_CHECK_TREE, Workplace
from meshclaw.errors import WorkError
from meshclaw.isolation import (
    SHARED,
    CheckTree,
    KeptPatch,
    Patch,
    WorkCopy,
    is_cache,
    require_free_branch,
)


class CopyWorkplace(Workplace):
    """A copy of the project, made from git."""

    _copy: WorkCopy | None = None
    _reused: str | None = None
    _candidate: CheckTree | None = None

    async def open(self, *, resumed: bool) -> None:
        delegation, isolation = self._delegation, self._delegation.isolation
        if isolation and isolation.branch and delegation.reuse and not resumed:
            # Nothing was handed back, so the branch is to be made; without `reuse` that is known before.
            project, branch = delegation.project, isolation.branch
            await to_thread.run_sync(require_free_branch, self.environment, project, branch)
        await self._make_or_reopen(resumed=resumed)

    async def _make_or_reopen(self, *, resumed: bool) -> None:
        isolation = self._delegation.isolation
        assert isolation is not None
        folder, environment = self._directory.path, self.environment
        if resumed and (folder / "copy.json").is_file():
            self._copy = await WorkCopy.reopen(folder, environment)
        else:
            self._copy = await WorkCopy.make(
                self._delegation.project,
                folder,
                environment=environment,
                include_dirty=isolation.include_dirty,
                share=SHARED if isolation.shares is None else isolation.shares,
            )
        self.workspace = self._copy.workspace(self._directory.outputs)
        self.confinement = self._copy.confine(self.confinement)

    @property
    def knows_changes(self) -> bool:
        return True

    async def adopt(self, folder: Path, record: Mapping[str, Any]) -> str:
        await self._make_or_reopen(resumed=False)
        copy, patch = self._made(), record.get("patch") or {}
        if patch.get("began_as") != await to_thread.run_sync(copy.began_as):
            return "the project is not as it was then"
        await to_thread.run_sync(copy.forget)
        await (await KeptPatch.read(folder)).apply(self.environment, project=copy.path)
        self._reused = folder.name
        self.tampered = tuple(record.get("changed_by_agent") or ())
        return ""

    async def begin_judging(self) -> None:
        allowed = self._delegation.confinement
        self._judged, altered = await self._made().look(allowed.write, allowed.protected, self._guard)
        self._note(altered)

    async def end_judging(self) -> None:
        self._candidate = None
        await super().end_judging()

    async def files(self, paths: Collection[str]) -> Path:
        """What the patch would bring, and no more: a file that is left out of it is not delivered."""
        if self._candidate is None:
            self._candidate = await self._make_tree(CANDIDATE, (), paths)
        return self._candidate.path

    async def patch(self) -> Patch:
        if self._judged is not None:
            return self._judged
        allowed = self._delegation.confinement
        return await self._made().patch(allowed.write, allowed.protected)

    async def keep_patch(self) -> dict[str, Any] | None:
        """Keeps the patch in the run's folder. Raises WorkError."""
        if self._copy is None:
            return None
        patch, isolation = await self.patch(), self._delegation.isolation
        await self._copy.keep(patch, for_branch=isolation is not None and isolation.branch is not None)
        return {
            "files": [one.path for one in patch.files],
            "lines": patch.lines,
            "added": sum(one.added or 0 for one in patch.files),
            "removed": sum(one.removed or 0 for one in patch.files),
            "left_out": [one.path for one in patch.left_out],
            "base": self._copy.commit,
            "began_as": await to_thread.run_sync(self._copy.began_as),
            "branch": None,
            "applied": False,
        }

    async def publish_patch(self, said: dict[str, Any], *, accepted: bool, now: datetime) -> None:
        """Makes the task's branch of it, and applies it when the flag says so and it was accepted.

        Raises as `publish` does: the patch is kept all the same.
        """
        isolation, task = self._delegation.isolation, self._delegation.task
        assert isolation is not None
        wanted = Wanted(
            task.description or task.name, isolation.branch, accepted and isolation.apply, self._reused
        )
        await publish(self._directory.path, wanted, said, self.environment, now)

    async def close(self, *, final: bool) -> None:
        await self.end_judging()
        if self._copy is not None and final:
            await self._copy.remove()

    async def _make_tree(
        self, name: str, as_before: Sequence[str], paths: Collection[str] = (".",)
    ) -> CheckTree:
        folder, patch = self._directory.path / name, await self.patch()
        return await self._made().check_tree(folder, patch, as_before, MAX_CHECK_TREE, paths)

    def _brings(self, path: str) -> bool:
        return self._judged is not None and any(one.path == path for one in self._judged.files)

    def _left_out(self) -> Sequence[str]:
        left_out = self._judged.left_out if self._judged else ()
        return [one.path for one in left_out if not is_cache(one.path)]

    async def before(self, paths: Sequence[str], most: int) -> dict[str, bytes | None]:
        return await to_thread.run_sync(self._made().read_before, paths, most)

    def _made(self) -> WorkCopy:
        if self._copy is None:
            raise WorkError("the copy of the project could not be made")
        return self._copy
