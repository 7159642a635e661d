"""The composition root: settings, files and plug-ins become a Dispatcher's parts."""

from meshclaw.app.app import App
from meshclaw.app.options import RunOptions, TaskSource, WeightsMissingError

__all__ = ["App", "RunOptions", "TaskSource", "WeightsMissingError"]
