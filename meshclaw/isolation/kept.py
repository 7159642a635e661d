"""The patch that a run leaves behind: `patch.diff` to read, `patch.json` and `git/` to apply it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from anyio import to_thread

from meshclaw.errors import Problem, ProblemsError, WorkError
from meshclaw.frozen import dataclass
from meshclaw.isolation.applying import Delta, apply
from meshclaw.isolation.branching import Begun, BranchMaker, Signature
from meshclaw.isolation.git import find_git
from meshclaw.isolation.origin import Origin, draft_of, read_json, write_json, write_whole
from meshclaw.isolation.patch import ChangedFile, LeftOut, Patch
from meshclaw.isolation.repository import NOTHING, Blob, users_setting
from meshclaw.isolation.store import UNCOMMITTED, Store
from meshclaw.isolation.trees import remove_tree
from meshclaw.isolation.turns import turn

STORE, TEXT, STATE = "git", "patch.diff", "patch.json"
BEFORE, AFTER = "refs/meshclaw/before", "refs/meshclaw/after"
BEGUN = "refs/meshclaw/begun"


@dataclass(frozen=True, slots=True)
class Side:
    """A patch's files before or after it, by path from the repository's top; `contents` has no links."""

    blobs: Mapping[str, Blob]
    contents: Mapping[str, bytes | None]


TRAILER = "MeshClaw-Run"
"""The trailer of a commit that names the run."""


@dataclass(frozen=True, slots=True)
class KeptPatch:
    """A run's patch, and what it was made from.

    `begun` is the uncommitted work that the copy began with, where a branch may want it: the tree of its
    files, and which files were gone.
    """

    folder: Path
    patch: Patch
    origin: Origin
    begun: Begun | None = None

    @classmethod
    async def read(cls, folder: Path) -> KeptPatch:
        """The one in a run's folder. Raises ProblemsError when there is none."""
        return await to_thread.run_sync(read_kept, folder)

    def sides(self, environment: Mapping[str, str], most: int) -> tuple[Side, Side]:
        """What it found and what it leaves; contents of more than `most` bytes are left out. Blocks.

        Raises ProblemsError without git, WorkError.
        """
        store = self._store(environment)
        before, after = store.entries(self.patch.before), store.entries(self.patch.after)
        return (
            Side(before, store.contents(before, before, most)),
            Side(after, store.contents(after, after, most)),
        )

    async def apply(
        self, environment: Mapping[str, str], *, project: Path | None = None, check: bool = False
    ) -> tuple[str, ...]:
        """Makes the changes in the work tree of `project`, the one the copy was made from unless stated.

        Files that were changed since are merged, three-way; what is there already stays. With `check`
        nothing is written. Returns the files that were, or would be, changed. No link is followed, git's
        index is not touched, and an error in the middle undoes what was done. Patches of runs that lie side
        by side come one after another into the project; another tree has to be the caller's alone.
        Raises ConflictError, which says where the patch does not fit, WorkError and LockedError.
        """
        target = project or self.origin.repository.project

        def work() -> tuple[str, ...]:
            store = self._store(environment)
            delta = Delta.read(store, self.patch.before, self.patch.after, self.origin.repository.prefix)
            return apply(delta, target, store.git, store.folder, check=check)

        if project is not None:
            return await to_thread.run_sync(work)
        async with turn(target, self.folder.parent):
            return await to_thread.run_sync(work)

    async def branch(
        self,
        name: str,
        message: str,
        run: str,
        *,
        environment: Mapping[str, str],
        when: datetime,
        reused: str | None = None,
    ) -> str:
        """Makes a branch with one commit, the patch, upon the commit that the copy was made from.

        A copy that began with uncommitted work has a commit of that before it. The commits are the user's,
        made at `when`; a trailer names `run`. A branch that has this very commit already, of the run itself
        or of the one whose result is `reused`, stays as it is. Nothing else in the repository changes, and
        no hook is run. Returns the commit's name. Raises ProblemsError for a name that is impossible or
        taken; ConflictError when the copy held uncommitted changes in the same lines that were not kept;
        WorkError also for an empty patch.
        """

        def work() -> str:
            if not self.patch.files:
                raise WorkError("nothing was changed, so there is no branch to make")
            store, repository = self._store(environment), self.origin.repository
            theirs = replace(store.git, git_dir=repository.git_dir, folder=repository.git_dir)
            names = [users_setting(theirs, environment, f"user.{key}") for key in ("name", "email")]
            signature = Signature(names[0] or "MeshClaw", names[1] or "meshclaw@localhost", when)
            delta = Delta.read(store, self.patch.before, self.patch.after)
            text = f"{message.strip()}\n\n{TRAILER}: {run}\n"
            maker = BranchMaker(store, repository, signature)
            parent = maker.commit_begun(self.begun, run) if self.begun else repository.commit
            tree = maker.tree(delta, parent)
            known = maker.find(name, tree, [f"{TRAILER}: {one}" for one in (run, reused) if one])
            return known or maker.make(name, tree, parent, text)

        return await to_thread.run_sync(work)

    def _store(self, environment: Mapping[str, str]) -> Store:
        repository = self.origin.repository
        git = find_git(environment, repository.project)
        return Store(git.within(self.folder / STORE), repository.object_format)


def read_kept(folder: Path) -> KeptPatch:
    """The one in a run's folder. Blocks. Raises ProblemsError when there is none."""
    place = folder / STATE
    data = read_json(place, "there is no patch here: the run did not work in a copy, or did not end")
    try:
        patch = Patch(
            (folder / TEXT).read_bytes(),
            tuple(ChangedFile(**one) for one in data["files"]),
            tuple(LeftOut(**one) for one in data["left_out"]),
            data["before"],
            data["after"],
        )
        begun = data.get("begun")
        return KeptPatch(
            folder,
            patch,
            Origin.from_data(data["origin"]),
            Begun(begun["tree"], frozenset(begun["removed"])) if begun else None,
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ProblemsError([Problem(str(place), 0, 0, f"cannot be understood: {error}")]) from error


def keep(folder: Path, store: Store, patch: Patch, origin: Origin, *, begun: bool) -> None:
    """Makes the run's folder hold the patch whatever becomes of the copy and the user's repository.

    With `begun` it also keeps the uncommitted work that the copy began with.
    """
    try:
        kept = _keep_begun(store) if begun else None
        store.git.run("update-ref", BEFORE, patch.before)
        store.git.run("update-ref", AFTER, patch.after)
        store.git.run("repack", "-a", "-d", "-q")
        write_whole(folder / TEXT, patch.text)
        files = [asdict(one) for one in patch.files]
        left_out = [asdict(one) for one in patch.left_out]
        trees = {"before": patch.before, "after": patch.after}
        data = {"origin": origin.as_data(), **trees, "files": files, "left_out": left_out, "begun": kept}
        write_json(folder / STATE, data)
    except OSError as error:
        raise WorkError(f"cannot keep the patch: {error}") from error


def _keep_begun(store: Store) -> dict[str, Any] | None:
    # A copy that an older version made has no such list.
    listed = store.read_listing(UNCOMMITTED) if (store.folder / UNCOMMITTED).is_file() else {}
    if not listed:
        return None
    tree = store.tree({path: blob for path, blob in listed.items() if blob != NOTHING})
    store.git.run("update-ref", BEGUN, tree)
    return {"tree": tree, "removed": sorted(path for path, blob in listed.items() if blob == NOTHING)}


def release(folder: Path) -> None:
    """Lets the store of a kept patch stand alone; without a patch it is removed."""
    for name in (TEXT, STATE):
        draft_of(folder / name).unlink(missing_ok=True)
    if (folder / STATE).is_file():
        Store.release(folder / STORE)
    else:
        remove_tree(folder / STORE)
        (folder / TEXT).unlink(missing_ok=True)
