"""`human`: a person decides, later."""

from __future__ import annotations

from meshclaw.checks.base import CheckContext, CheckResult
from meshclaw.checks.evidence import label
from meshclaw.runs import Candidate


class HumanCheck:
    """Stays pending until a person accepts or rejects the run; `look_at` says at what to look."""

    kind = "human"
    needs_changes = False
    asks = True
    reads_files = False

    def __init__(self, look_at: str | None = None, *, name: str = "") -> None:
        self.label = label(self.kind, look_at, name)

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        return CheckResult(self.kind, self.label, "pending", "a person has to decide")
