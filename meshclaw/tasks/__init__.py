"""Tasks: what is asked, from YAML files that are checked whole before anything is spent."""

from meshclaw.tasks.fields import task_json_schema
from meshclaw.tasks.load import load_task, parse_task
from meshclaw.tasks.model import Allow, Input, InputKind, Output, Param, ParamType, Task
from meshclaw.tasks.params import bind_params

__all__ = [
    "Allow",
    "Input",
    "InputKind",
    "Output",
    "Param",
    "ParamType",
    "Task",
    "bind_params",
    "load_task",
    "parse_task",
    "task_json_schema",
]
