"""The only way to open files for an agent."""

from meshclaw.workspace.entries import (
    FileInfo,
    IsFolderError,
    NotFoundError,
    RefusedError,
    WorkspaceError,
    shown_name,
)
from meshclaw.workspace.exact import Entry, ExactWorkspace, leads_out
from meshclaw.workspace.files import RUN_FOLDER, Workspace

__all__ = [
    "RUN_FOLDER",
    "Entry",
    "ExactWorkspace",
    "FileInfo",
    "IsFolderError",
    "NotFoundError",
    "RefusedError",
    "Workspace",
    "WorkspaceError",
    "leads_out",
    "shown_name",
]
