"""Tasks: what is asked, from YAML files that are checked whole before anything is spent."""

from meshclaw.tasks.editors import task_json_schema
from meshclaw.tasks.load import load_task, parse_task
from meshclaw.tasks.model import (
    Acceptance,
    Allow,
    Axis,
    Input,
    InputKind,
    Matrix,
    Need,
    Output,
    Param,
    ParamType,
    Task,
    Value,
)
from meshclaw.tasks.params import bind_params

__all__ = [
    "Acceptance",
    "Allow",
    "Axis",
    "Input",
    "InputKind",
    "Matrix",
    "Need",
    "Output",
    "Param",
    "ParamType",
    "Task",
    "Value",
    "bind_params",
    "load_task",
    "parse_task",
    "task_json_schema",
]
