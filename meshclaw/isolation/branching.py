"""Brings a kept patch onto a branch of its own in the user's repository."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.isolation.applying import Change, Delta, load_entries
from meshclaw.isolation.git import Git, find_git
from meshclaw.isolation.merging import in_line_ends_of
from meshclaw.isolation.repository import FILE, LINK, PROGRAM, Repository
from meshclaw.isolation.store import Store
from meshclaw.workspace import Entry


def taken_branches(environment: Mapping[str, str], project: Path, names: Iterable[str]) -> list[str]:
    """The branches in the project's repository that keep new ones from having these names. Blocks.

    None where there is no repository. Raises ProblemsError without git, GitError.
    """
    git = find_git(environment, project)
    listed = git.finish("for-each-ref", "--format=%(refname)", "refs/heads")
    there = {line.removeprefix("refs/heads/") for line in os.fsdecode(listed.stdout).split("\n") if line}
    # A name with slashes is a file in folders: `a` and `a/b` cannot both be.
    folders = {name[:at] for name in there for at in range(len(name)) if name[at] == "/"}
    found: dict[str, None] = {}
    for name in names:
        above = (name[:at] for at in range(len(name) + 1) if at == len(name) or name[at] == "/")
        found.update(dict.fromkeys(one for one in above if one in there))
        if name in folders:
            found.update(dict.fromkeys(sorted(one for one in there if one.startswith(f"{name}/"))[:1]))
    return list(found)


def require_free_branch(environment: Mapping[str, str], project: Path, name: str) -> None:
    """Raises ProblemsError when no new branch can have this name. Blocks."""
    for there in taken_branches(environment, project, [name]):
        raise taken(there)


@dataclass(frozen=True, slots=True)
class Signature:
    """Who makes a commit, and when."""

    name: str
    email: str
    when: datetime

    def variables(self) -> dict[str, str]:
        date = f"@{int(self.when.timestamp())} +0000"
        return {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", self.name), ("EMAIL", self.email), ("DATE", date))
        }


@dataclass(frozen=True, slots=True)
class Begun:
    """Uncommitted work: a tree of its files in the store, and which of HEAD's files were gone."""

    tree: str
    removed: frozenset[str]


class BranchMaker:
    """Makes commits upon the one that a copy was made from, and a branch of them.

    The user's repository gets new objects and one new reference; its index, work tree, HEAD and other
    references are as they were, no hook is run and no setting of theirs is read. All methods block, and
    raise GitError.
    """

    def __init__(self, store: Store, repository: Repository, signature: Signature) -> None:
        self._store = store
        self._base = repository.commit
        self._theirs = replace(
            store.git,
            git_dir=repository.git_dir,
            folder=repository.git_dir,
            extra=signature.variables(),
        )
        # Our git-dir with their objects: everything is written there.
        objects = {"GIT_OBJECT_DIRECTORY": os.fspath(repository.stores[0])}
        self._writing = replace(
            store.git, index=store.folder / "branch-index", extra={**objects, **signature.variables()}
        )

    def commit_begun(self, begun: Begun, run: str) -> str:
        """The commit of the uncommitted work; the base itself where there was none after all."""
        after = load_entries(self._store, self._store.entries(begun.tree))
        head = self._now(self._base, [*after, *begun.removed])
        changes = []
        for path in sorted({*after, *begun.removed}):
            entry, now = after.get(path), head.get(path)
            if entry and now and entry.kind == now.kind == "file" and b"\0" not in entry.data + now.data:
                # Line ends that only the work tree has are no work.
                entry = replace(entry, data=in_line_ends_of(now.data, entry.data))
            if entry != now:
                changes.append(Change(path, now, entry))
        if not changes:
            return self._base
        text = f"Work in progress, as it was when run {run} began\n"
        return self._commit(self._tree(changes, self._base), self._base, text)

    def tree(self, delta: Delta, parent: str) -> str:
        """What `parent` becomes with the patch. Raises ConflictError."""
        now = self._now(parent, delta.paths)
        changes = delta.changes({path: now.get(path) for path in delta.paths}, self._git, self._room)
        return self._tree(changes, parent)

    def find(self, name: str, tree: str, trailers: Sequence[str]) -> str | None:
        """The commit with this tree and one of the trailers on the branch; None when there is no branch.

        Raises ProblemsError for a branch without such a commit, and for an impossible name.
        """
        reference = f"refs/heads/{name}"
        if name.startswith("-") or self._theirs.finish("check-ref-format", reference).returncode:
            raise _problem(name, "no branch can have this name", "choose another")
        asked = self._theirs.finish("rev-parse", "--verify", "--quiet", reference)
        if asked.returncode:
            return None
        tip = asked.stdout.decode().strip()
        form = "--format=%T %H %(trailers:only,separator=%x00)"
        listed = self._writing.run("rev-list", form, tip, f"^{self._base}")
        for line in listed.decode("utf-8", "replace").split("\n"):
            found, _, rest = line.partition(" ")
            oid, _, ends = rest.partition(" ")
            if found == tree and not set(trailers).isdisjoint(ends.split("\0")):
                return oid
        raise taken(name)

    def make(self, name: str, tree: str, parent: str, message: str) -> str:
        """Makes the branch with one commit upon `parent`. Returns the commit's name."""
        oid = self._commit(tree, parent, message)
        zero = "0" * len(oid)
        self._theirs.run("update-ref", "-m", "branch: made by meshclaw", f"refs/heads/{name}", oid, zero)
        return oid

    @property
    def _git(self) -> Git:
        return self._store.git

    @property
    def _room(self) -> Path:
        return self._store.folder

    def _now(self, commit: str, paths: Sequence[str]) -> dict[str, Entry]:
        reading = Store(self._writing, self._store.object_format)
        held = reading.entries(commit)
        return load_entries(reading, {path: held[path] for path in paths if path in held})

    def _tree(self, changes: Sequence[Change], parent: str) -> str:
        index = self._room / "branch-index"
        index.unlink(missing_ok=True)
        self._writing.run("read-tree", parent)
        lines = _index_lines(self._writing, self._store, changes)
        self._writing.run("update-index", "-z", "--index-info", stdin=lines)
        tree = self._writing.run("write-tree").decode().strip()
        index.unlink(missing_ok=True)
        return tree

    def _commit(self, tree: str, parent: str, message: str) -> str:
        text = message.replace("\0", "").encode("utf-8", "replace")
        return self._writing.run("commit-tree", tree, "-p", parent, "-F", "-", stdin=text).decode().strip()


def _index_lines(git: Git, store: Store, changes: Sequence[Change]) -> bytes:
    """Stores the contents and says in git's words what the index is to be told."""
    removed = [change for change in changes if change.then is None]
    made = [(change.path, change.then) for change in changes if change.then is not None]
    with TemporaryDirectory(dir=store.folder) as folder:
        drafts = [Path(folder, str(number)) for number in range(len(made))]
        for draft, (_, entry) in zip(drafts, made, strict=True):
            draft.write_bytes(entry.data)
        names = b"".join(f"{number}\n".encode() for number in range(len(made)))
        here = replace(git, folder=Path(folder))
        oids = here.run("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=names).split()
    lines = [b"0 " + b"0" * 40 + b"\t" + os.fsencode(change.path) for change in removed]
    for oid, (path, entry) in zip(oids, made, strict=True):
        mode = LINK if entry.kind == "link" else PROGRAM if entry.executable else FILE
        lines.append(mode.encode() + b" " + oid + b"\t" + os.fsencode(path))
    return b"".join(line + b"\0" for line in lines)


def taken(name: str) -> ProblemsError:
    """What is raised where a branch would be made that is there already."""
    hint = f"delete it (`git branch -D {name}`), rename it, or choose another name"
    return _problem(name, "there is such a branch already", hint)


def _problem(name: str, message: str, hint: str) -> ProblemsError:
    return ProblemsError([Problem("branch", 0, 0, f"'{name}': {message}", hint)])
