"""Runs that work in a copy of the project and hand back a patch.

A name brings its module when it is first asked for: most runs need none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshclaw.isolation.applying import ConflictError
    from meshclaw.isolation.branching import require_free_branch, taken_branches
    from meshclaw.isolation.copying import Copied, copy_tree
    from meshclaw.isolation.guarded_names import is_cache
    from meshclaw.isolation.guarding import CheckTree, Guard
    from meshclaw.isolation.kept import KeptPatch
    from meshclaw.isolation.merging import Conflict
    from meshclaw.isolation.names import SHARED
    from meshclaw.isolation.patch import ChangedFile, LeftOut, Patch
    from meshclaw.isolation.snapshot import Snapshot, clear_snapshot
    from meshclaw.isolation.standing import stand_in
    from meshclaw.isolation.trees import remove_tree
    from meshclaw.isolation.work_copy import WorkCopy, clear

__all__ = [
    "SHARED",
    "ChangedFile",
    "CheckTree",
    "Conflict",
    "ConflictError",
    "Copied",
    "Guard",
    "KeptPatch",
    "LeftOut",
    "Patch",
    "Snapshot",
    "WorkCopy",
    "clear",
    "clear_snapshot",
    "copy_tree",
    "is_cache",
    "remove_tree",
    "require_free_branch",
    "stand_in",
    "taken_branches",
]

_PLACES = {
    "ChangedFile": "patch",
    "CheckTree": "guarding",
    "Conflict": "merging",
    "ConflictError": "applying",
    "Copied": "copying",
    "Guard": "guarding",
    "KeptPatch": "kept",
    "LeftOut": "patch",
    "Patch": "patch",
    "SHARED": "names",
    "Snapshot": "snapshot",
    "WorkCopy": "work_copy",
    "clear": "work_copy",
    "clear_snapshot": "snapshot",
    "copy_tree": "copying",
    "is_cache": "guarded_names",
    "remove_tree": "trees",
    "require_free_branch": "branching",
    "stand_in": "standing",
    "taken_branches": "branching",
}
"""The module of each name."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
