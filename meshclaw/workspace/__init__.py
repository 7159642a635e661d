"""The only way to open files for an agent."""

from meshclaw.workspace.files import (
    RUN_FOLDER,
    FileInfo,
    NotFoundError,
    Workspace,
    WorkspaceError,
    shown_name,
)

__all__ = ["RUN_FOLDER", "FileInfo", "NotFoundError", "Workspace", "WorkspaceError", "shown_name"]
