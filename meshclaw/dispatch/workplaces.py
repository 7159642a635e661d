"""Which workplace a run gets, and what is left of it when the run is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from meshclaw.dispatch.delegation import Delegation
from meshclaw.dispatch.workplace import TREES, Workplace
from meshclaw.runs import RunDirectory


def workplace_of(
    delegation: Delegation, directory: RunDirectory, tampered: Sequence[str] = ()
) -> Workplace:
    """Where the run works; nothing is made before `open` but its inputs' files, for commands to read.

    `tampered` are files of checks that earlier processes of the run saw changed.
    """
    files = (directory.path / "files",) if delegation.input_files else ()
    confinement = replace(delegation.confinement, read=(*delegation.confinement.read, *files))
    environment = {**delegation.environment, **_write_inputs(delegation, directory.path / "files")}
    kind = Workplace
    if delegation.isolation is not None:
        from meshclaw.dispatch.copy_workplace import CopyWorkplace

        kind = CopyWorkplace
    return kind(delegation, directory, environment, confinement, tampered)


def _write_inputs(delegation: Delegation, folder: Path) -> dict[str, str]:
    """Keeps every input as a file, so that commands reach it by name and never as code."""
    variables: dict[str, str] = {}
    for name, data in delegation.input_files.items():
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / name).write_bytes(data)
        variables[f"MESHCLAW_INPUT_{name.upper()}"] = str(folder / name)
    return variables


def clear_workplace(folder: Path) -> None:
    """Removes what a workplace has left in a run's folder: copies, trees for checks. Blocks.

    A kept patch stays. Raises WorkError.
    """
    from meshclaw.isolation import clear, clear_snapshot, remove_tree

    for name in TREES:
        remove_tree(folder / name)
    clear_snapshot(folder)
    clear(folder)
