"""Tests of acceptance: what a Candidate must pass to count as done."""

from meshclaw.checks.base import Check, CheckContext, CheckResult, CheckStatus, FileChange, Question
from meshclaw.checks.judging import feedback, judge_all, outcome_of, run_check

__all__ = [
    "Check",
    "CheckContext",
    "CheckResult",
    "CheckStatus",
    "FileChange",
    "Question",
    "feedback",
    "judge_all",
    "outcome_of",
    "run_check",
]
