"""The user's repository, as a copy needs to know it. It is only read, and nothing it names is run."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.isolation.belonging import belongs, looks_like_store
from meshclaw.isolation.git import Git, GitError, find_git

FILE, PROGRAM, LINK, SUBMODULE = "100644", "100755", "120000", "160000"
"""Git's modes."""
MAX_STORES = 10

_USERS_OWN = ("HOME", "XDG_CONFIG_HOME")


@dataclass(frozen=True, slots=True)
class Blob:
    """What git records of one file: its mode and the name of its content."""

    mode: str
    oid: str


NOTHING = Blob("0", "0")
"""Stands in a list of changes for a file that is not there any more."""


@dataclass(frozen=True, slots=True)
class Repository:
    """`top` is the work tree's root and `prefix` leads from there to the project (empty, or ending in `/`).

    `git_dir` is the work tree's own, `common` what all linked work trees share. `stores` are the folders
    of objects: the repository's, then those it borrows from. `branch` is None when HEAD is detached.
    """

    project: Path
    top: Path
    prefix: str
    git_dir: Path
    common: Path
    stores: tuple[Path, ...]
    commit: str
    branch: str | None
    object_format: str


def find_repository(environment: Mapping[str, str], project: Path) -> tuple[Git, Repository]:
    """The repository that the project lies in, and the git that may look at it.

    Raises ProblemsError when there is none with a work tree and a commit.
    """
    project = Path(os.path.realpath(project))
    git = find_git(environment, project)

    def ask(*arguments: str) -> str:
        return os.fsdecode(git.run(*arguments).removesuffix(b"\n"))

    try:
        top = Path(ask("rev-parse", "--path-format=absolute", "--show-toplevel"))
        git_dir = Path(ask("rev-parse", "--path-format=absolute", "--git-dir"))
    except GitError as error:
        hint = "make one with `git init` and commit, or leave out `isolate: copy`"
        raise _problem(project, "there is no git repository to make a copy from", hint) from error
    common = Path(ask("rev-parse", "--path-format=absolute", "--git-common-dir"))
    if not belongs(git, top, git_dir, common):
        hint = "work in the repository's own folder, or in a worktree that `git worktree add` made"
        raise _problem(project, f"the repository {git_dir} does not say that {top} is its work tree", hint)
    try:
        commit = ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except GitError as error:
        hint = "commit first: a copy starts from a commit"
        raise _problem(project, "the repository has no commit yet", hint) from error
    objects = Path(ask("rev-parse", "--path-format=absolute", "--git-path", "objects"))
    with contextlib.suppress(GitError):
        branch = None
        branch = ask("symbolic-ref", "--short", "--quiet", "HEAD")
    return git, Repository(
        project=project,
        top=top,
        prefix=ask("rev-parse", "--show-prefix"),
        git_dir=git_dir,
        common=common,
        stores=tuple(_stores(objects)),
        commit=commit,
        branch=branch,
        object_format=ask("rev-parse", "--show-object-format"),
    )


def users_setting(git: Git, environment: Mapping[str, str], *arguments: str) -> str | None:
    """One of the user's git settings, theirs and the repository's; reading settings runs nothing."""
    named = {name: environment[name] for name in _USERS_OWN if environment.get(name)}
    asking = replace(git, extra={**named, "GIT_CONFIG_GLOBAL": None, "GIT_CONFIG_NOSYSTEM": None})
    with contextlib.suppress(GitError):
        return os.fsdecode(asking.run("config", "--get", *arguments).removesuffix(b"\n"))
    return None


def users_excludes(git: Git, environment: Mapping[str, str]) -> Path | None:
    """The user's own file of ignore rules."""
    named = users_setting(git, environment, "--type=path", "core.excludesFile")
    folder = environment.get("XDG_CONFIG_HOME") or (
        f"{environment['HOME']}/.config" if environment.get("HOME") else ""
    )
    path = Path(named) if named else Path(folder, "git", "ignore")
    return path if path.is_absolute() and path.is_file() else None


@dataclass(frozen=True, slots=True)
class State:
    """What the user's repository holds now. Paths are from its top.

    `head` is HEAD's tree and `index` what is staged. `dirty` are tracked files that are not as staged, or
    in a conflict; `untracked` are those that no ignore rule speaks of. `nested` are the folders of other
    repositories, submodules among them.
    """

    head: Mapping[str, Blob]
    index: Mapping[str, Blob]
    dirty: frozenset[str]
    untracked: frozenset[str]
    nested: frozenset[str] = frozenset()

    @property
    def uncommitted(self) -> frozenset[str]:
        """All paths at which the work tree may differ from HEAD."""
        every = self.head.keys() | self.index.keys()
        staged = (path for path in every if self.head.get(path) != self.index.get(path))
        return self.dirty | self.untracked | frozenset(staged)


def read_state(private: Git, repository: Repository, commit: str, *, untracked: bool) -> State:
    """Looks at the user's work tree from `private`, a git-dir of our own that borrows their objects: so
    their settings are not even read. Their index and ignore rules are copied into it. Raises GitError."""
    assert private.git_dir is not None
    head = dict(parse_tree(private.run("ls-tree", "-r", "-z", "--full-tree", commit)))
    info = private.git_dir / "info"
    info.mkdir(exist_ok=True)
    with contextlib.suppress(OSError):
        shutil.copyfile(repository.common / "info" / "exclude", info / "exclude")
    index = private.git_dir / "users-index"
    if not (repository.git_dir / "index").is_file():
        return State(head, {}, frozenset(), frozenset())
    # With its time: git holds a file that is as young as the index to be perhaps changed, and looks again.
    shutil.copy2(repository.git_dir / "index", index)
    for part in repository.git_dir.glob("sharedindex.*"):
        shutil.copyfile(part, private.git_dir / part.name)
    looking = private.within(private.git_dir, repository.top, index)
    staged = list(_parse_index(looking.run("ls-files", "--stage", "-z")))
    changed = _names(looking.run("diff-files", "--name-only", "-z", "--ignore-submodules=all"))
    others = nested = frozenset[str]()
    if untracked:
        listed = _names(looking.run("ls-files", "--others", "--exclude-standard", "-z"))
        others = frozenset(name for name in listed if not name.endswith("/"))
        nested = frozenset(name.rstrip("/") for name in listed if name.endswith("/"))
    conflicts = {path for path, _, stage in staged if stage}
    return State(
        head,
        {path: blob for path, blob, _ in staged},
        frozenset(changed) | conflicts,
        others,
        nested | {path for path, blob, _ in staged if blob.mode == SUBMODULE},
    )


def parse_tree(data: bytes) -> Iterator[tuple[str, Blob]]:
    """What `ls-tree -r -z` prints, as paths and what is there."""
    for record in _records(data):
        fields, _, path = record.partition(b"\t")
        mode, _, oid = fields.decode("ascii").split(" ")
        yield os.fsdecode(path), Blob(mode, oid)


def _parse_index(data: bytes) -> Iterator[tuple[str, Blob, int]]:
    for record in _records(data):
        fields, _, path = record.partition(b"\t")
        mode, oid, stage = fields.decode("ascii").split(" ")
        yield os.fsdecode(path), Blob(mode, oid), int(stage)


def _names(data: bytes) -> list[str]:
    return [os.fsdecode(name) for name in _records(data)]


def _records(data: bytes) -> list[bytes]:
    return data.split(b"\0")[:-1]


def _stores(objects: Path) -> Iterator[Path]:
    """A store and those it borrows from; git allows for five in a row. What looks like none is left out:
    commands are shown all of it, and a `.git` that came with the project can name any folder."""
    waiting, seen = [objects], set[Path]()
    while waiting and len(seen) < MAX_STORES:
        store = Path(os.path.realpath(waiting.pop(0)))
        if store in seen or not looks_like_store(store):
            continue
        seen.add(store)
        yield store
        with contextlib.suppress(OSError):
            borrowed = store / "info" / "alternates"
            lines = borrowed.read_bytes().splitlines() if borrowed.is_file() else []
            waiting += [store / os.fsdecode(line) for line in lines if line and not line.startswith(b"#")]


def _problem(project: Path, message: str, hint: str) -> ProblemsError:
    return ProblemsError([Problem(str(project), 0, 0, message, hint)])
