"""Which new files git ignores, asked of git without showing it the copy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from meshclaw.isolation.names import is_beneath
from meshclaw.isolation.store import Store
from meshclaw.isolation.trees import Folders, remove_tree


def literal_folders(globs: Iterable[str]) -> Iterator[str]:
    """What each glob names before its first wildcard: a folder, or the one file."""
    for glob in globs:
        names = glob.removeprefix("./").rstrip("/").split("/")
        wild = [index for index, name in enumerate(names) if any(one in name for one in "*?[")]
        if literal := "/".join(names[: wild[0]] if wild else names):
            yield literal


def find_ignored(
    store: Store, ignore_files: Mapping[str, bytes], paths: Sequence[str], wanted: Sequence[str]
) -> dict[str, str]:
    """Those of `paths` that git ignores, each with the outermost folder that is ignored (or itself).

    `ignore_files` are the `.gitignore` files by path; the user's own rules count as well. What lies in a
    place of `wanted` that is itself ignored is not given: who names such a place wants what is in it.
    The rules are the agent's: git reads them in a folder that holds nothing else.
    """
    if not paths:
        return {}
    room = store.folder / "ignore"
    remove_tree(room)
    room.mkdir()
    folders = {above for path in paths for above in _above(path)}
    with Folders(room, create=True) as inside:
        for folder in sorted(folders, key=lambda one: one.split("/")):
            inside.make(folder)
        for path, data in sorted(ignore_files.items(), key=lambda one: one[0].split("/")):
            with inside.create(path) as file:
                file.write(data)
    asked = {*folders, *paths, *wanted}
    said = store.git.within(store.folder, room).run(
        "check-ignore",
        "--no-index",
        "-z",
        "--stdin",
        # After `./` nothing is a pattern's magic.
        stdin=b"".join(b"./" + os.fsencode(path) + b"\0" for path in asked),
        codes=(0, 1),
    )
    remove_tree(room)
    ignored = {os.fsdecode(path.removeprefix(b"./")) for path in said.split(b"\0")[:-1]}
    named = [place for place in wanted if place in ignored]
    return {
        path: next(place for place in (*_above(path), path) if place in ignored)
        for path in paths
        if path in ignored and not is_beneath(path, named)
    }


def _above(path: str) -> Iterator[str]:
    """The folders that `path` lies in, the outermost first."""
    names = path.split("/")
    yield from ("/".join(names[:count]) for count in range(1, len(names)))
