"""A tree that stands for the project, for commands that may do to it what they like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from anyio import to_thread

from meshclaw.errors import ProblemsError, WorkError
from meshclaw.isolation.copying import copy_tree
from meshclaw.isolation.guarded_names import FORGEABLE
from meshclaw.isolation.guarding import CheckTree
from meshclaw.isolation.making import add_repository, link_shares
from meshclaw.isolation.names import SHARED
from meshclaw.isolation.repository import find_repository
from meshclaw.isolation.trees import remove_tree
from meshclaw.sandbox.base import Confinement


async def stand_in(project: Path, folder: Path, environment: Mapping[str, str], most: int) -> CheckTree:
    """A copy of the project in `folder`, what is shared linked, for commands to run in instead.

    Caches that can be forged are left out. In a repository whose top is the project it has one of its own
    that borrows the user's objects. Raises WorkError, also when there is more than `most` bytes to copy.
    """
    project = await to_thread.run_sync(project.resolve)
    await to_thread.run_sync(remove_tree, folder)
    skip = {".git", *SHARED}
    copied = await copy_tree(project, folder, skip=skip, skip_names=FORGEABLE, max_bytes=most)

    def work() -> CheckTree:
        try:
            shares = link_shares(folder, project, SHARED)
            stores = _add_repository(project, folder, environment)
        except OSError as error:
            raise WorkError(f"cannot make a copy of {project}: {error}") from error
        bound = tuple((one, one) for one in stores)

        def confine(confinement: Confinement) -> Confinement:
            return replace(confinement, appears_at=project, shared=shares, bound=bound)

        return CheckTree(folder, confine, copied.left_out)

    return await to_thread.run_sync(work)


def _add_repository(project: Path, folder: Path, environment: Mapping[str, str]) -> Sequence[Path]:
    """Gives the tree a repository where the project is one's top; returns whose objects it borrows."""
    try:
        git, repository = find_repository(environment, project)
    except ProblemsError:
        return ()
    if repository.prefix:
        return ()
    add_repository(git, folder, repository, repository.stores, SHARED)
    return repository.stores
