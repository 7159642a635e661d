"""Does what a run proposed, when a person agrees: as the user, in the project, after the run.

Trust, the operator's ceiling and the keys that may not show are those of today, as when a run goes on; the
task and the operator's flags are those of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from meshclaw.app.options import TaskSource
from meshclaw.app.proposals import Proposal, ProposalLog
from meshclaw.app.risks import accepted_risk, find_risks
from meshclaw.app.saving import read_saved
from meshclaw.app.trusting import require_trust, run_powers
from meshclaw.errors import PolicyError, Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.metering import timestamp
from meshclaw.policies import Effects, Rules, TaskPolicy
from meshclaw.redaction import REDACTED
from meshclaw.runs import RunDirectory
from meshclaw.sandbox.base import Command, CommandResult
from meshclaw.sandbox.unconfined import Unconfined
from meshclaw.shell_syntax import SyntaxProblem, parse_command_line

if TYPE_CHECKING:
    from meshclaw.app.app import App

LONGEST = 3_600.0
"""Seconds that one proposal may take."""
KEPT_OUTPUT = 4_096
"""Characters of its output that are written down: the end of it."""


@dataclass(frozen=True, slots=True)
class Performed:
    """What came of a proposal. `exit_code` is None when it did not end by itself; `reason` says why."""

    exit_code: int | None
    output: str
    reason: str = ""


class Performer:
    """Does the proposals of one run, whose lock the caller holds; `app` is one of the run's own project.

    Raises PolicyError when the run's task or project is not trusted any more, ProblemsError when the
    project is gone.
    """

    def __init__(self, app: App, directory: RunDirectory, record: Mapping[str, Any]) -> None:
        if not app.project.is_dir():
            raise ProblemsError([Problem(str(app.project), 0, 0, "the run's project is gone")])
        saved = read_saved(directory)
        task = app.parse_task(saved.text.encode(), saved.source, saved.name, saved.path)
        require_trust(app, run_powers(app, TaskSource(saved.name, saved.path, saved.origin), task))
        self._app = app
        self._saved = saved
        self._task = task
        self._record = record
        self._redactor = app.redactor
        self._log = ProposalLog(directory.path)

    def require_care(self) -> None:
        """For doing it unasked. Raises PolicyError unless the run ended well and kept the rule of two."""
        if self._record["exit"] != 0:
            raise PolicyError(
                f"what this run proposed is not done unasked: it ended with exit {self._record['exit']}",
                hint="look at the run, then do it in a terminal, which asks",
            )
        app, saved = self._app, self._saved
        risks = find_risks(self._task, saved.options, app.config, project=app.project, cwd=saved.cwd)
        outward = "what it proposes is done without anybody having looked"
        accepted_risk(self._task, replace(risks, outward=(*risks.outward, outward)), app.config.policy)

    def review(self, one: Proposal) -> str:
        """The script that does it. Raises PolicyError when it may not be done, or not any more."""
        parsed = parse_command_line(one.command)
        if isinstance(parsed, SyntaxProblem):
            raise PolicyError(f"proposal {one.number} cannot be read: {parsed.reason}")
        if REDACTED in one.command or self._redactor.text(one.command) != one.command:
            raise PolicyError(f"proposal {one.number} holds a secret, or had one")
        policy = TaskPolicy(
            run=self._task.allow.run,
            propose=self._task.propose,
            granted=Rules(run=self._saved.options.allow_run),
            ceiling=self._app.config.policy,
            shell_enabled=True,
            source=self._task.source,
        )
        decision = policy.review(Effects(commands=(one.command,), complete=True))
        if not decision.allowed and not decision.proposal:
            raise PolicyError(f"proposal {one.number}: {decision.reason}", hint=decision.remedy)
        return parsed.script

    async def perform(self, one: Proposal) -> Performed:
        """Does it, and writes down that it begins and how it ended. Raises PolicyError, LedgerError."""
        script = self.review(one)
        await anyio.to_thread.run_sync(self._log.begin, one, self._now())
        done = Performed(None, "", "interrupted")
        try:
            done = await self._execute(script)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._write_end, one, done)
        return done

    async def _execute(self, script: str) -> Performed:
        command = Command(script, self._app.project, dict(self._app.environment), timeout=LONGEST)
        try:
            result = await Unconfined().execute(command)
        except (OSError, ValueError) as error:
            return Performed(None, "", f"could not be started: {error}")
        return Performed(result.exit_code, self._redactor.text(result.output), _stopped(result))

    def _write_end(self, one: Proposal, done: Performed) -> None:
        output = done.output[-KEPT_OUTPUT:]
        self._log.end(one, self._now(), exit_code=done.exit_code, reason=done.reason, output=output)

    def _now(self) -> str:
        return timestamp(self._app.now())


def _stopped(result: CommandResult) -> str:
    return f"stopped: it ran longer than {LONGEST / 3600:g} h" if result.timed_out else ""
