"""`run`: a command that exits 0."""

from __future__ import annotations

from meshclaw.checks.base import CheckContext, CheckResult, error, failed, passed
from meshclaw.checks.evidence import label
from meshclaw.runs import Candidate
from meshclaw.sandbox.base import SandboxError

TIMEOUT = 600.0
"""Seconds that a command may take, unless the task says otherwise."""
_NOT_RUN = {126: " (it cannot be executed)", 127: " (a command was not found)"}


class RunCheck:
    """Runs contained, where protected files are as they were; its output is the evidence."""

    kind = "run"
    needs_changes = False
    asks = False
    reads_files = False

    def __init__(self, script: str, *, timeout: float = TIMEOUT, name: str = "") -> None:
        self.label = label(self.kind, script, name)
        self.script = script
        self._timeout = timeout

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        if context.execute is None:
            return error(self, "no command can run here")
        try:
            result = await context.execute(self.script, self._timeout)
        except (SandboxError, OSError) as problem:
            return error(self, f"the command could not be run: {problem}")
        if result.timed_out:
            return failed(self, f"it ran longer than {self._timeout:g} s", result.output)
        if result.stopped:
            return failed(self, f"it was stopped: {result.stopped}", result.output)
        if result.exit_code == 0:
            return passed(self, result.output)
        code = result.exit_code
        reason = "it was killed" if code is None else f"exit code {code}{_NOT_RUN.get(code, '')}"
        return failed(self, reason, result.output)
