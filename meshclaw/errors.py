"""What can go wrong, and how a process says so.

A user's mistake is a value (`Problem`); a broken promise raises. The tree::

    MeshClawError
    |-- ProblemsError      a file, flag or setting is wrong; nothing was spent      exit 2
    |-- PolicyError        refused before the start, or insisted on what is denied  exit 6
    |-- ProviderError      a provider did not complete a call (see FailureKind)     exit 7, or 1
    |                      when the work is what it refused
    |-- BudgetError        a limit in USD, tokens or steps would be exceeded        exit 4
    |-- DeadlineError      a limit in time was reached                              exit 5
    |-- LockedError        another process holds the lock                           exit 8
    |-- LedgerError        the ledger cannot be written; nothing more is spent      exit 9
    `-- WorkError          the work itself failed                                   exit 1
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum

from meshclaw.frozen import dataclass


class ExitCode(IntEnum):
    """Exit codes of every command; `EXIT_MEANINGS` explains each in help and docs."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_ACCEPTED = 3
    OVER_BUDGET = 4
    DEADLINE = 5
    REFUSED = 6
    PROVIDER = 7
    LOCKED = 8
    LEDGER = 9
    SKIPPED = 10
    INTERRUPTED = 130
    TERMINATED = 143


EXIT_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "succeeded; accepted, or unchecked because no checks were stated",
    ExitCode.FAILED: "the work failed (a model's refusal included)",
    ExitCode.USAGE: "usage, task or settings error: nothing was spent",
    ExitCode.NOT_ACCEPTED: "finished, but rejected by its checks, or still pending a person",
    ExitCode.OVER_BUDGET: "stopped by a budget in USD, tokens or steps",
    ExitCode.DEADLINE: "stopped by a deadline",
    ExitCode.REFUSED: "refused before the start by policy, sandbox or trust; or stopped for insisting on a"
    " denied call",
    ExitCode.PROVIDER: "provider not reachable, not authorised, or out of retries",
    ExitCode.LOCKED: "not started: another instance holds the lock",
    ExitCode.LEDGER: "the ledger cannot be written: nothing more is spent",
    ExitCode.SKIPPED: "gate closed: nothing to do, nothing spent",
    ExitCode.INTERRUPTED: "interrupted by SIGINT; the run can be resumed, and blocks nothing",
    ExitCode.TERMINATED: "interrupted by SIGTERM; the run can be resumed, and blocks nothing",
}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A user's mistake. `line` and `column` are 1-based; 0 means that there is no position."""

    source: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}:{self.column}: " if self.line else f"{self.source}: "
        return f"{place}{self.message}" + (f" - {self.hint}" if self.hint else "")


class FailureKind(StrEnum):
    """Why a provider did not complete a call. Adapters classify, once; everybody else reads."""

    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    SERVER = "server"
    CONNECTION = "connection"
    STALLED = "stalled"
    TIMEOUT = "timeout"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    INVALID_REQUEST = "invalid_request"
    CONTEXT_TOO_LONG = "context_too_long"
    CONTENT_REFUSED = "content_refused"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    BILLING = "billing"


class MeshClawError(Exception):
    """Root of everything that MeshClaw raises on purpose; the message is for a person."""

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} - {self.hint}" if self.hint else self.message


class ProblemsError(MeshClawError):
    """One or more Problems, each once and sorted by place; raised before anything is spent."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PolicyError(MeshClawError):
    """The policy refused; the hint names the line or flag that would allow it."""

    exit_code = ExitCode.REFUSED


class ProviderError(MeshClawError):
    """A call that a provider did not complete.

    `retry_after`: seconds the server asked for, already parsed, never negative, or None.
    `billed`: False when the request was refused before its first event (usage and cost are 0);
    True when the provider may charge for it although no final usage was received.
    """

    exit_code = ExitCode.PROVIDER

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        hint: str = "",
        retry_after: float | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        billed: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.retry_after = retry_after
        self.http_status = http_status
        self.request_id = request_id
        self.billed = billed
        if kind in (FailureKind.CONTENT_REFUSED, FailureKind.CONTEXT_TOO_LONG):
            self.exit_code = ExitCode.FAILED


class BudgetError(MeshClawError):
    """`limit` names which limit would be exceeded: usd, tokens or steps."""

    exit_code = ExitCode.OVER_BUDGET

    def __init__(self, limit: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.limit = limit


class DeadlineError(MeshClawError):
    """A limit in time was reached."""

    exit_code = ExitCode.DEADLINE


class LockedError(MeshClawError):
    """Another process holds the lock."""

    exit_code = ExitCode.LOCKED


class LedgerError(MeshClawError):
    """The ledger cannot be written or trusted; nothing more may be spent.

    `run` is the run that could not even be closed for it, if there is one; `resumable` says that it was cut
    short by that, so that it can be gone on with.
    """

    exit_code = ExitCode.LEDGER
    run: str | None = None
    resumable: bool = False


class WorkError(MeshClawError):
    """The work failed: a refusal, a loop without progress, an answer that does not fit."""

    exit_code = ExitCode.FAILED
