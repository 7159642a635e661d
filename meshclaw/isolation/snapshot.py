"""The project as it was before a run that works in it, kept in a git-dir of ours in the run's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from anyio import to_thread

from meshclaw.errors import Problem, ProblemsError, WorkError
from meshclaw.isolation.git import find_git
from meshclaw.isolation.guarding import CheckTree, Guard, put_back
from meshclaw.isolation.inventory import Files, is_looked_into, record, tracked, walked
from meshclaw.isolation.origin import read_json, write_json
from meshclaw.isolation.patch import Comparison, Patch
from meshclaw.isolation.repository import Blob, find_repository
from meshclaw.isolation.standing import stand_in
from meshclaw.isolation.store import Store
from meshclaw.isolation.trees import remove_tree
from meshclaw.policies import Rules

FOLDER, STATE = "before", "before.json"
NAMES = Guard()
"""What is guarded where a task states nothing."""
EVERYTHING = Rules(("**",), protected=())


class Snapshot:
    """What the project's files were, by path, and their contents. Made by `take`, found again by `reopen`.

    In a git repository these are the files that git tracks or would track, and ignored ones that are
    guarded by name; elsewhere all but caches. With `only` it is no more than that guard is concerned with.
    """

    def __init__(
        self, project: Path, store: Store, skip: frozenset[str], only: Guard | None = None
    ) -> None:
        self.project = project
        self.store = store
        self._skip = skip
        self._wants = _anything if only is None else only.concerns

    @classmethod
    async def take(
        cls,
        project: Path,
        folder: Path,
        environment: Mapping[str, str],
        skip: Sequence[str] = (),
        *,
        guard: Guard = NAMES,
        whole: bool = True,
    ) -> Snapshot:
        """Reads every file once; what the repository does not hold already is kept in the run's `folder`.

        `skip` are files and folders that are not looked at. Without `whole` it is only what the `guard` is
        concerned with. Raises ProblemsError without git, WorkError.
        """

        def work() -> Snapshot:
            remove_tree(folder / FOLDER)
            try:
                return cls._take(Path(os.path.realpath(project)), folder, environment, skip, guard, whole)
            except (OSError, WorkError) as error:
                remove_tree(folder / FOLDER)
                if isinstance(error, WorkError):
                    raise
                raise WorkError(f"cannot keep how the project was before the start: {error}") from error

        return await to_thread.run_sync(work)

    @staticmethod
    async def reopen(
        folder: Path, environment: Mapping[str, str], only: Guard | None = None
    ) -> Snapshot | None:
        """The one that was taken into the run's folder; None when none was, or not to the end.

        `only` is the guard of one that was not taken whole.
        """

        def work() -> Snapshot | None:
            if not (folder / STATE).is_file():
                return None
            try:
                data = read_json(folder / STATE, "it is not known how the project was before the start")
                project = Path(data["project"])
                git = find_git(environment, project).within(folder / FOLDER)
                store = Store(git, data["object_format"])
                return Snapshot(project, store, frozenset(data["skip"]), only)
            except (KeyError, TypeError) as error:
                message = f"cannot be understood: {error}"
                raise ProblemsError([Problem(str(folder / STATE), 0, 0, message)]) from error

        return await to_thread.run_sync(work)

    @property
    def base(self) -> dict[str, Blob]:
        """What each file was. Blocks."""
        return self.store.read_listing()

    async def altered(self, guard: Guard) -> tuple[str, ...]:
        """The guarded files that are not as they were. Raises WorkError."""

        def work() -> tuple[str, ...]:
            try:
                return guard.altered(self.base, self.now())
            except OSError as error:
                raise WorkError(f"cannot compare the project with what it was: {error}") from error

        return await to_thread.run_sync(work)

    async def look(self, guard: Guard) -> tuple[Patch, tuple[str, ...]]:
        """What `patch` and `altered` give, from one reading. Raises WorkError."""

        def work() -> tuple[Patch, tuple[str, ...]]:
            try:
                patch, now = self._comparison().look(EVERYTHING)
                return patch, guard.altered(self.base, now)
            except OSError as error:
                raise WorkError(f"cannot compare the project with what it was: {error}") from error

        return await to_thread.run_sync(work)

    async def check_tree(
        self, folder: Path, altered: Sequence[str], environment: Mapping[str, str], most: int
    ) -> CheckTree:
        """A `stand_in` for the project in `folder`, in which the files `altered` are as they were.

        Raises WorkError, also when there is more than `most` bytes to copy.
        """
        tree = await stand_in(self.project, folder, environment, most)

        def work() -> CheckTree:
            try:
                put_back(folder, altered, self.base, self.store)
            except OSError as error:
                raise WorkError(f"cannot make a tree for the checks: {error}") from error
            return tree

        return await to_thread.run_sync(work)

    async def remove(self) -> None:
        """Removes it from the run's folder. Raises WorkError."""
        await to_thread.run_sync(clear_snapshot, self.store.folder.parent)

    def read(self, paths: Sequence[str], most: int) -> dict[str, bytes | None]:
        """What files were, None where there was none; those of more than `most` bytes are left out.
        Blocks.
        """
        return self.store.contents(self.base, paths, most)

    def patch(self) -> Patch:
        """All that has changed since, as a patch. Blocks. Raises WorkError and OSError."""
        return self._comparison().patch(EVERYTHING)

    def now(self) -> dict[str, Blob]:
        """What each file is. Blocks. Raises WorkError and OSError."""
        return self._comparison().now()

    @classmethod
    def _take(
        cls,
        project: Path,
        folder: Path,
        environment: Mapping[str, str],
        skip: Sequence[str],
        guard: Guard,
        whole: bool,
    ) -> Snapshot:
        try:
            git, repository = find_repository(environment, project)
        except ProblemsError:
            git = find_git(environment, project)
            store = Store.make(git, folder / FOLDER, "sha1", ())
            files = Files(list(walked(project, skip)), {}, frozenset(skip))
        else:
            store = Store.make(git, folder / FOLDER, repository.object_format, repository.stores)
            files = tracked(store, repository, skip, guard)
        if not whole:
            files = replace(files, paths=[path for path in files.paths if guard.concerns(path)])
        store.write_listing(dict(record(project, files, store)))
        data = {
            "project": project,
            "object_format": store.object_format,
            "skip": sorted(files.skip),
        }
        write_json(folder / STATE, data)
        return cls(project, store, files.skip, None if whole else guard)

    def _comparison(self) -> Comparison:
        base = self.base
        # A folder that is named like a cache may hold the project's own files.
        own = {path[:index] for path in base for index, one in enumerate(path) if one == "/"}
        return Comparison(
            self.project,
            self.store,
            base,
            "",
            self._skip,
            enter=lambda path: path in own or is_looked_into(path),
            wants=self._wants,
            ours=False,
        )


def clear_snapshot(folder: Path) -> None:
    """Removes what there is of one in a run's folder, whole or not. Blocks. Raises WorkError."""
    (folder / STATE).unlink(missing_ok=True)
    remove_tree(folder / FOLDER)


def _anything(path: str) -> bool:
    return True
