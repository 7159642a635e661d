"""The only way to open files for an agent."""

from meshclaw.workspace.entries import FileInfo, NotFoundError, WorkspaceError, shown_name
from meshclaw.workspace.files import RUN_FOLDER, Workspace

__all__ = ["RUN_FOLDER", "FileInfo", "NotFoundError", "Workspace", "WorkspaceError", "shown_name"]
