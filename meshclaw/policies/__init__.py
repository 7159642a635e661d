"""What an agent may do. Default deny: what is not declared, parsed and allowed does not happen."""

from meshclaw.policies.effects import Decision, Effects, Policy
from meshclaw.policies.patterns import (
    SPECIAL_COMMANDS,
    host_pattern_problem,
    matches_command,
    matches_glob,
    matches_host,
    run_pattern_problem,
    write_pattern_problem,
)
from meshclaw.policies.protected import PROTECTED, guarding
from meshclaw.policies.rules import FULL_SHELL, Ceiling, Rules
from meshclaw.policies.task_policy import TaskPolicy

__all__ = [
    "FULL_SHELL",
    "PROTECTED",
    "SPECIAL_COMMANDS",
    "Ceiling",
    "Decision",
    "Effects",
    "Policy",
    "Rules",
    "TaskPolicy",
    "guarding",
    "host_pattern_problem",
    "matches_command",
    "matches_glob",
    "matches_host",
    "run_pattern_problem",
    "write_pattern_problem",
]
