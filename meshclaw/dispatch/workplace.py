"""Where a run works, and where its checks look: the project itself, or a copy of it.

Checks never run where the agent works. They get a tree of their own, made from what the agent left, in
which protected files are as they were before the start; it is gone when they have judged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from meshclaw.dispatch.delegation import Delegation
from meshclaw.dispatch.remains import are_there, note_remains
from meshclaw.errors import ProblemsError, WorkError
from meshclaw.runs import RunDirectory
from meshclaw.sandbox.base import Command, CommandResult, Confinement, Refused, SandboxError
from meshclaw.sandbox.unconfined import Unconfined
from meshclaw.workspace import Workspace, shown_name

if TYPE_CHECKING:
    from meshclaw.isolation import CheckTree, Guard, Patch, Snapshot

CHECK_TREE, AS_LEFT_TREE, CANDIDATE = "check", "check-as-left", "candidate"
TREES = (CHECK_TREE, AS_LEFT_TREE, CANDIDATE)
"""Folders of a run that are there while it is judged."""
MAX_CHECK_TREE = 4 * 2**30
"""Bytes of the tree that is made for checks."""
MAX_NAMES = 20
"""Files that are named above a check's output."""
AS_BEFORE = "[as before the start, whatever was changed in them: {}]\n"
AS_LEFT = "[run a second time, with these as they were left: {}]\n"
BOTH_PASSED = "[passes with these as they were left, too: {}]\n"
NOT_COPIED = "[could not be copied, and so not here: {}]\n"
NOT_HERE = "[not in the patch, and so not here: {}]\n"


class Workplace:
    """The project itself. `environment` is what commands get, `confinement` what holds the agent's.

    `tampered` are the guarded files that the agent changed, as far as attempts have been judged; None where
    that cannot be known. `refused` is what checks' commands asked for in vain.
    """

    def __init__(
        self,
        delegation: Delegation,
        directory: RunDirectory,
        environment: Mapping[str, str],
        confinement: Confinement,
        tampered: Sequence[str] = (),
    ) -> None:
        self._delegation = delegation
        self._directory = directory
        self.environment = environment
        self._snapshot: Snapshot | None = None
        self._trees: dict[str, CheckTree] = {}
        self._judged: Patch | None = None
        self._altered: tuple[str, ...] = ()
        self.confinement = confinement
        # A replay works in a copy that stands for the project, and so may its paths.
        known_as, hidden = delegation.confinement.appears_at, delegation.hidden
        self.workspace = Workspace(delegation.project, directory.outputs, known_as=known_as, hidden=hidden)
        self.tampered: tuple[str, ...] | None = tuple(tampered)
        self.refused: tuple[Refused, ...] = ()

    async def open(self, *, resumed: bool) -> None:
        """Notes how things are before the start, as far as checks need it; a run that goes on knows it."""
        checks, recorded = self._delegation.checks, self._delegation.recorded
        noted = recorded or self._notes_remains
        if noted or any(check.needs_changes or check.kind == "run" for check in checks):
            await self._keep_track(whole=True, resumed=resumed)
        elif checks and self._may_write():
            try:
                await self._keep_track(whole=False, resumed=resumed)
            except (ProblemsError, WorkError):
                # There is no git, or it cannot be read: nothing but a name in the record depends on it.
                self.tampered = None

    @cached_property
    def _guard(self) -> Guard:
        from meshclaw.isolation import Guard

        delegation = self._delegation
        scripts = [script for check in delegation.checks if (script := getattr(check, "script", ""))]
        return Guard(delegation.protect, scripts, delegation.confinement.write)

    @property
    def knows_changes(self) -> bool:
        """Whether `patch` tells what adopted work has changed."""
        return False

    async def adopt(self, folder: Path, record: Mapping[str, Any]) -> str:
        """Opens with the work of an accepted run in place, that in `folder`; else says why it is not."""
        await self.open(resumed=False)
        self.tampered = tuple(record.get("changed_by_agent") or ())
        if not self._notes_remains or await to_thread.run_sync(are_there, self._delegation.project, folder):
            return ""
        return "what it had changed in the project is not as it left it"

    async def patch(self) -> Patch:
        """All that the agent has changed so far; while it is judged, what there was when that began."""
        if self._judged is not None:
            return self._judged
        return await to_thread.run_sync(self._known().patch)

    async def before(self, paths: Sequence[str], most: int) -> dict[str, bytes | None]:
        """What the project's files were before the start; None where there was none.

        Files of more than `most` bytes are left out. Raises WorkError.
        """
        return await to_thread.run_sync(self._known().read, paths, most)

    async def begin_judging(self) -> None:
        """Looks at what an attempt has left, before anything judges it. Raises WorkError."""
        if self._snapshot is None:
            return
        if any(check.needs_changes for check in self._delegation.checks):
            self._judged, altered = await self._snapshot.look(self._guard)
        else:
            altered = await self._snapshot.altered(self._guard)
        self._note(altered)

    async def files(self, paths: Collection[str]) -> Path:
        """The folder of the candidate's files, for checks that read these `paths`. Raises WorkError."""
        return self.workspace.root

    async def execute_check(self, script: str, timeout: float) -> CommandResult:
        """Runs a check's command, contained like the agent's, in the tree for checks.

        Where files were put back there that may be the very work, one that passes runs once more with
        those as they were left: a patch that breaks them is not accepted for what they were. Raises
        SandboxError when there is nothing to hold it, OSError, and WorkError when a tree cannot be made.
        """
        altered = self._altered
        result = await self._execute(CHECK_TREE, altered, script, timeout)
        above = _named(AS_BEFORE, altered)
        work = [path for path in altered if self._guard.may_be_work(path) and self._brings(path)]
        if work and _passes(result):
            tests = [path for path in altered if path not in work]
            again = await self._execute(AS_LEFT_TREE, tests, script, timeout)
            if _passes(again):
                above += _named(BOTH_PASSED, work)
            else:
                result, above = again, _named(AS_BEFORE, tests) + _named(AS_LEFT, work)
        above += _named(NOT_COPIED, self._trees[CHECK_TREE].left_out)
        above += _named(NOT_HERE, self._left_out())
        return replace(result, output=above + result.output) if above else result

    async def _execute(
        self, name: str, as_before: Sequence[str], script: str, timeout: float
    ) -> CommandResult:
        """Runs it in the tree `name`, made when first needed, where the files `as_before` are put back."""
        sandbox = self._delegation.sandbox
        if sandbox is None:
            raise SandboxError("there is no sandbox for the check's command")
        if name not in self._trees:
            self._trees[name] = await self._make_tree(name, as_before)
        tree = self._trees[name]
        result = await sandbox.execute(
            Command(
                script=script,
                directory=tree.path,
                environment=self.environment,
                timeout=timeout,
                workspace=tree.path,
                confinement=tree.confine(self.confinement.for_checks()),
            )
        )
        self.refused += result.refused
        return result

    async def end_judging(self) -> None:
        """Removes the trees for checks: the next attempt's are judged in new ones."""
        self._trees, self._judged = {}, None
        if not self._delegation.checks:
            return
        from meshclaw.isolation import remove_tree

        for name in TREES:
            await to_thread.run_sync(remove_tree, self._directory.path / name)

    async def keep_patch(self) -> dict[str, Any] | None:
        """What the record says of a patch; None where the project itself was worked on.

        There it is noted how the changed files are now, for runs that would reuse it. Raises WorkError.
        """
        if self._snapshot is not None and self._notes_remains:
            await to_thread.run_sync(note_remains, self._snapshot, self._directory.path)
        return None

    async def publish_patch(self, said: dict[str, Any], *, accepted: bool, now: datetime) -> None:
        """Brings a good patch where the task or a flag wants it; `said` is what the record says of it."""

    async def close(self, *, final: bool) -> None:
        """Gives back what was made for the run; a run that may go on keeps what it needs for that."""
        await self.end_judging()
        if self._snapshot is not None and final:
            await self._snapshot.remove()

    @property
    def _notes_remains(self) -> bool:
        """Whether a later run may want to know if what this one does is still there."""
        task = self._delegation.task
        return task.reuse == "accepted" and task.runner != "prompt"

    async def _make_tree(self, name: str, as_before: Sequence[str]) -> CheckTree:
        folder = self._directory.path / name
        return await self._known().check_tree(folder, as_before, self.environment, MAX_CHECK_TREE)

    def _brings(self, path: str) -> bool:
        """Whether what became of the file will stay."""
        return True

    def _left_out(self) -> Sequence[str]:
        """What the agent has made that will not be handed back."""
        return ()

    def _note(self, altered: tuple[str, ...]) -> None:
        self._altered = altered
        self.tampered = tuple(sorted({*(self.tampered or ()), *altered}))

    def _may_write(self) -> bool:
        sandbox, confinement = self._delegation.sandbox, self._delegation.confinement
        contained = sandbox is None or sandbox.name != Unconfined.name
        return bool(self._delegation.tools) and bool(confinement.write or not contained)

    async def _keep_track(self, *, whole: bool, resumed: bool) -> None:
        from meshclaw.isolation import SHARED, Snapshot

        folder, environment, guard = self._directory.path, self.environment, self._guard
        if resumed:
            self._snapshot = await Snapshot.reopen(folder, environment, None if whole else guard)
        if self._snapshot is None:
            project = self._delegation.project
            self._snapshot = await Snapshot.take(
                project, folder, environment, SHARED, guard=guard, whole=whole
            )

    def _known(self) -> Snapshot:
        if self._snapshot is None:
            raise WorkError("it is not known how the project was before the start")
        return self._snapshot


def _passes(result: CommandResult) -> bool:
    return result.exit_code == 0 and not result.timed_out and not result.stopped


def _named(text: str, names: Sequence[str]) -> str:
    shown = [shown_name(name) for name in names[:MAX_NAMES]]
    more = len(names) - len(shown)
    return text.format(", ".join([*shown, f"and {more} more"] if more else shown)) if names else ""
