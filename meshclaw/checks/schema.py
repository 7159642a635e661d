"""`schema`: the result fits the task's `output.schema`."""

from __future__ import annotations

from meshclaw.answers import read_answer
from meshclaw.checks.base import CheckContext, CheckResult, error, failed, passed
from meshclaw.runs import Candidate
from meshclaw.schemas import violations


class SchemaCheck:
    kind = "schema"
    label = "schema"
    needs_changes = False
    asks = False
    reads_files = False

    def __init__(self, argument: None = None) -> None:
        """Takes nothing: the schema is the task's."""

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        if context.schema is None:
            return error(self, "the task states no output.schema")
        # A runner that reads the answer itself hands over its value; others only the text.
        if candidate.value is None:
            problems = read_answer(candidate.text, context.schema).problems
        else:
            problems = tuple(violations(candidate.value, context.schema))
        if not problems:
            return passed(self)
        return failed(self, f"the result does not fit: {problems[0]}", "\n".join(problems))
