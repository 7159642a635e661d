"""A run's own copy of the project, made from git, in the run's folder.

There it keeps `copy/`, the files the agent works on; `git/`, a git-dir of ours that no agent reaches;
`objects`, where the copy's own repository finds the user's objects; and `copy.json`, which says what it was
made from and is there once the copy is whole. What is left in the end is described in `kept`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from anyio import to_thread

from meshclaw.errors import Problem, ProblemsError, WorkError
from meshclaw.isolation.git import Git, find_git
from meshclaw.isolation.guarding import CheckTree, Guard, in_the_way, lay, reached
from meshclaw.isolation.kept import STATE as KEPT
from meshclaw.isolation.kept import STORE, keep, release
from meshclaw.isolation.making import add_repository, fill, link_shares, refresh, uncommitted
from meshclaw.isolation.names import SHARED, checked_shares
from meshclaw.isolation.origin import Origin, draft_of, read_json, write_json
from meshclaw.isolation.patch import Comparison, Patch
from meshclaw.isolation.repository import Blob, find_repository, read_state, users_excludes
from meshclaw.isolation.store import UNCOMMITTED, Store
from meshclaw.isolation.trees import remove_tree
from meshclaw.policies import PROTECTED, Rules
from meshclaw.sandbox.base import Confinement
from meshclaw.workspace import Workspace

FILES, OBJECTS, STATE = "copy", "objects", "copy.json"


class WorkCopy:
    """One run's copy; made by `make`, found again by `reopen`.

    Its repository borrows the user's objects and has nothing else of theirs: no settings, hooks, remotes or
    stash. Git is never run in it by us.
    """

    def __init__(self, folder: Path, origin: Origin, git: Git) -> None:
        self.folder = folder
        self.origin = origin
        repository = origin.repository
        self._git = replace(git, excludes=origin.excludes)
        self._store = Store(self._git.within(folder / STORE), repository.object_format)

    @property
    def path(self) -> Path:
        """The project inside of the copy: where the agent works."""
        return self.folder / FILES / self.origin.repository.prefix

    @property
    def project(self) -> Path:
        """The project it is a copy of."""
        return self.origin.repository.project

    @property
    def commit(self) -> str:
        """The commit that the copy began with."""
        return self.origin.repository.commit

    def began_as(self) -> str:
        """SHA-256 over what the copy held before any agent: its files, their modes and contents. Blocks."""
        return self._store.listing_digest()

    def forget(self) -> None:
        """Nobody reopens it after this: a run that is killed and goes on makes another. Blocks."""
        (self.folder / STATE).unlink()

    @classmethod
    async def make(
        cls,
        project: Path,
        folder: Path,
        *,
        environment: Mapping[str, str],
        include_dirty: bool = False,
        share: Sequence[str] = SHARED,
    ) -> WorkCopy:
        """Makes the copy in the run's `folder`, which is there. What a killed try left is removed first.

        It holds what HEAD holds, and with `include_dirty` what the work tree holds: staged, changed and
        new files that git does not ignore. `share` names files and folders of the project that it uses
        and may not change; those that are not there do not matter. Submodules are empty folders.
        Raises ProblemsError when the project lies in no git repository, when that has no commit, or for a
        wrong `share`; WorkError when git or the disk fails, after which nothing is left, and when a patch
        was kept in `folder`.
        """
        shares = checked_shares(share)

        def work() -> WorkCopy:
            git, repository = find_repository(environment, project)
            excludes = users_excludes(git, environment)
            copy = cls(
                Path(os.path.realpath(folder)), Origin(repository, shares, include_dirty, excludes), git
            )
            if (copy.folder / KEPT).exists():
                raise WorkError(f"{copy.folder} holds a patch already")
            copy._clear()
            try:
                return copy._make()
            except OSError as error:
                copy._clear()
                raise WorkError(f"cannot make the copy: {error}") from error
            except BaseException:
                copy._clear()
                raise

        return await to_thread.run_sync(work)

    @classmethod
    async def reopen(cls, folder: Path, environment: Mapping[str, str]) -> WorkCopy:
        """The copy that `make` made in the run's folder, as the agent left it.

        Raises ProblemsError when there is none: not made, not finished, or removed; WorkError when the
        agent left it so that it cannot be gone on with.
        """

        def work() -> WorkCopy:
            place = Path(os.path.realpath(folder)) / STATE
            data = read_json(place, "there is no copy of the project here")
            try:
                origin = Origin.from_data(data)
            except (KeyError, TypeError, ValueError) as error:
                raise ProblemsError(
                    [Problem(str(place), 0, 0, f"cannot be understood: {error}")]
                ) from error
            copy = cls(place.parent, origin, find_git(environment, origin.repository.project))
            try:
                link_shares(copy.path, copy.project, origin.shares)
            except OSError as error:
                raise WorkError(f"cannot go on in the copy: {error}") from error
            return copy

        return await to_thread.run_sync(work)

    def workspace(self, outputs: Path | None = None) -> Workspace:
        """For the file tools: absolute paths in the original are taken as the copy's."""
        return Workspace(self.path, outputs, known_as=self.project)

    def confine(self, confinement: Confinement) -> Confinement:
        """`confinement` for commands whose workspace is the copy, or a tree that stands for it.

        A sandbox that mounts shows it at the original's path, with what is shared in its place. Others run
        it where it lies, where links lead to what is shared.
        """
        first, *others = self.origin.repository.stores
        return replace(
            confinement,
            appears_at=self.project,
            shared=self.origin.shares,
            bound=((first, self.folder / OBJECTS), *((one, one) for one in others)),
        )

    async def patch(self, write: Sequence[str], protected: Sequence[str] = PROTECTED) -> Patch:
        """What has changed since the copy was made, as far as the globs `write` let it through.

        `protected` are paths that a glob must name at its start. New files that git ignores are left out,
        unless a glob names the ignored place itself. May be called as often as one likes; nothing that is
        in the copy is run. Raises WorkError.
        """
        return (await self._look(Rules(write, protected=protected)))[0]

    async def look(
        self, write: Sequence[str], protected: Sequence[str], guard: Guard
    ) -> tuple[Patch, tuple[str, ...]]:
        """The patch, and the guarded files that are not as they were, in it or not. Raises WorkError."""
        patch, base, now = await self._look(Rules(write, protected=protected))
        prefix = self.origin.repository.prefix
        return patch, guard.altered(_inside(base, prefix), _inside(now, prefix))

    async def _look(self, rules: Rules) -> tuple[Patch, dict[str, Blob], dict[str, Blob]]:
        def work() -> tuple[Patch, dict[str, Blob], dict[str, Blob]]:
            base = self._store.read_listing()
            try:
                patch, now = self._comparison(base).look(rules)
            except OSError as error:
                raise WorkError(f"cannot compare the copy: {error}") from error
            return patch, base, now

        return await to_thread.run_sync(work)

    def read_before(self, paths: Sequence[str], most: int) -> dict[str, bytes | None]:
        """What files were when the copy was made; None where there was none. Blocks."""
        base = _inside(self._store.read_listing(), self.origin.repository.prefix)
        return self._store.contents(base, paths, most)

    async def check_tree(
        self,
        folder: Path,
        patch: Patch,
        altered: Sequence[str],
        most: int,
        paths: Collection[str] = (".",),
    ) -> CheckTree:
        """In `folder`, what the copy began with and `patch` on it; the files `altered` as they were.

        Of the project there is what `paths` lead to, and what is shared, and a repository like the copy's
        own; nothing that the patch would not bring. Raises WorkError, also when there is more than `most`
        bytes.
        """
        prefix = self.origin.repository.prefix

        def work() -> CheckTree:
            remove_tree(folder)
            base = self._store.read_listing()
            kept = {prefix + path for path in altered}
            try:
                before, after = (self._store.entries(tree) for tree in (patch.before, patch.after))
                files = {path: blob for path, blob in base.items() if path not in before or path in kept}
                files |= {path: blob for path, blob in after.items() if not in_the_way(path, kept)}
                lay(folder, reached(files, prefix, paths), self._store, most)
                (folder / prefix).mkdir(parents=True, exist_ok=True)
                link_shares(folder / prefix, self.project, self.origin.shares)
                self._add_repository(folder)
            except OSError as error:
                raise WorkError(f"cannot make a tree for the checks: {error}") from error
            return CheckTree(folder / prefix, self.confine)

        return await to_thread.run_sync(work)

    async def add_repository(self, folder: Path) -> None:
        """Gives another tree of the project's, such as a check's, a fresh repository like the copy's own.

        `folder` stands for the repository's top. Raises WorkError.
        """
        await to_thread.run_sync(self._add_repository, folder)

    async def keep(self, patch: Patch, *, for_branch: bool = False) -> None:
        """Puts the patch into the run's folder, durably, with what applying it takes. Raises WorkError.

        With `for_branch` also the uncommitted work that the copy began with, which goes before it.
        """
        begun = for_branch and self.origin.include_dirty
        await to_thread.run_sync(partial(keep, self.folder, self._store, patch, self.origin, begun=begun))

    async def remove(self) -> None:
        """Removes all but a kept patch. May be called twice. Raises WorkError."""
        await to_thread.run_sync(self._clear)

    def _make(self) -> WorkCopy:
        repository, files = self.origin.repository, self.folder / FILES
        Store.make(self._git, self.folder / STORE, repository.object_format, repository.stores)
        dirty = self.origin.include_dirty
        state = read_state(self._store.git, repository, repository.commit, untracked=dirty)
        files.mkdir(mode=0o700)
        shares = self.origin.shares
        base = fill(files, self._store, repository, state, dirty=dirty, shares=shares)
        self._store.write_listing(base)
        if dirty:
            listed = uncommitted(state, base, [repository.prefix + name for name in shares])
            self._store.write_listing(listed, UNCOMMITTED)
        (self.folder / OBJECTS).symlink_to(repository.stores[0])
        self._add_repository(files)
        refresh(self._git, files)
        self.path.mkdir(parents=True, exist_ok=True)
        shares = link_shares(self.path, repository.project, shares)
        self.origin = replace(self.origin, shares=shares)
        write_json(self.folder / STATE, self.origin.as_data())
        return self

    def _comparison(self, base: Mapping[str, Blob]) -> Comparison:
        prefix = self.origin.repository.prefix
        shared = [prefix + name for name in self.origin.shares]
        return Comparison(self.folder / FILES, self._store, base, prefix, shared)

    def _add_repository(self, folder: Path) -> None:
        repository, shares = self.origin.repository, self.origin.shares
        borrowed = [self.folder / OBJECTS, *repository.stores[1:]]
        add_repository(self._git, folder, repository, borrowed, shares)

    def _clear(self) -> None:
        clear(self.folder)


def _inside(files: Mapping[str, Blob], prefix: str) -> dict[str, Blob]:
    return {path.removeprefix(prefix): blob for path, blob in files.items() if path.startswith(prefix)}


def clear(folder: Path) -> None:
    """Removes what there is of a copy in a run's folder, whole or not; a kept patch stays.

    Blocks. Raises WorkError.
    """
    try:
        for state in (folder / STATE, draft_of(folder / STATE)):
            state.unlink(missing_ok=True)
        remove_tree(folder / FILES)
        (folder / OBJECTS).unlink(missing_ok=True)
        release(folder)
    except OSError as error:
        raise WorkError(f"cannot remove the copy: {error}") from error
