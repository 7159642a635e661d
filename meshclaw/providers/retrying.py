"""The one owner of retries: SDK clients are told not to, so that no call goes unaccounted for."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio

from meshclaw.errors import FailureKind, ProviderError
from meshclaw.messages import Request, Response
from meshclaw.providers.base import Provider, Sink

if TYPE_CHECKING:
    import tenacity

TRANSIENT = frozenset(
    {
        FailureKind.RATE_LIMIT,
        FailureKind.OVERLOADED,
        FailureKind.SERVER,
        FailureKind.CONNECTION,
        FailureKind.STALLED,
    }
)
"""What usually passes: tried again as often as `attempts` allows."""

ONCE = frozenset({FailureKind.TIMEOUT, FailureKind.TRUNCATED, FailureKind.MALFORMED})
"""What may have been paid for and tends to repeat itself: tried again once."""

OnRetry = Callable[[int, ProviderError, float], None]


class Retrying:
    """A Provider that tries again what is transient. Put it around Metered: each try is its own call.

    At most `attempts` calls are made for one `complete`. The wait before try n + 1 is random between 0 and
    `base * 2 ** (n - 1)` seconds, at most `cap`; a server's Retry-After is waited for in full, plus a
    random part of `base`. When that is longer than `cap`, or the caller's deadline comes first, the error
    is raised at once and its hint says so. `on_retry(tries so far, error, wait)` is told before each wait.
    Everything but ProviderError (budget, ledger, cancellation) passes straight through.
    """

    def __init__(
        self,
        inner: Provider,
        *,
        attempts: int = 4,
        base: float = 1.0,
        cap: float = 60.0,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
        on_retry: OnRetry | None = None,
    ) -> None:
        self._inner = inner
        self._attempts = attempts
        self._base = base
        self._cap = cap
        self._sleep = sleep
        self._uniform = uniform
        self._on_retry = on_retry
        self.name = inner.name
        self.overhead_tokens = inner.overhead_tokens
        self.free = inner.free
        self.nudge = inner.nudge

    def window(self, model: str) -> int | None:
        return self._inner.window(model)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def complete(self, request: Request, sink: Sink) -> Response:
        """As the inner provider, or the last error of several tries."""
        try:
            return await self._inner.complete(request, sink)
        except ProviderError as error:
            failed = error
        return await self._retry(failed, request, sink)

    async def _retry(self, failed: ProviderError, request: Request, sink: Sink) -> Response:
        """Goes on after the first try, which has `failed`. Most calls never need the library for it."""
        import tenacity

        tries = iter([failed])

        async def attempt() -> Response:
            for error in tries:
                raise error
            return await self._inner.complete(request, sink)

        plan = _Plan(request.timeout)
        retrying = tenacity.AsyncRetrying(
            sleep=self._sleep,
            wait=self._wait,
            retry=tenacity.retry_if_exception(plan.worth_another),
            stop=lambda state: self._futile(state, plan),
            before_sleep=self._tell,
            reraise=True,
        )
        return await retrying(attempt)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Full jitter; see "Exponential Backoff And Jitter", AWS Architecture Blog."""
        error = _error(state)
        if error.retry_after is not None:
            return error.retry_after + self._uniform(0.0, min(self._base, self._cap))
        return self._uniform(0.0, min(self._cap, self._base * 2 ** (state.attempt_number - 1)))

    def _futile(self, state: tenacity.RetryCallState, plan: _Plan) -> bool:
        """True when the wait before another try is too long; the error then says so."""
        error = _error(state)
        if state.attempt_number >= self._attempts:
            return True
        remaining = anyio.current_effective_deadline() - anyio.current_time()
        if (error.retry_after or 0.0) > self._cap:
            reason = f"not tried again: the server asks to wait {error.retry_after:g} s"
        elif remaining <= plan.time_needed(error, state.upcoming_sleep):
            reason = "not tried again: the deadline comes first"
        else:
            return False
        error.hint = f"{error.hint}; {reason}" if error.hint else reason
        return True

    def _tell(self, state: tenacity.RetryCallState) -> None:
        if self._on_retry is not None:
            self._on_retry(state.attempt_number, _error(state), state.upcoming_sleep)


class _Plan:
    """Decides for one `complete` whether a failure is worth another try."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._once_left = 1

    def worth_another(self, error: BaseException) -> bool:
        if not isinstance(error, ProviderError):
            return False
        if error.kind in ONCE:
            self._once_left -= 1
            return self._once_left >= 0
        return error.kind in TRANSIENT

    def time_needed(self, error: ProviderError, wait: float) -> float:
        """Seconds that must be left. A call that took its whole time will probably do so again."""
        own_timeout = error.kind is FailureKind.TIMEOUT and error.http_status is None
        return wait + self._timeout if own_timeout else wait


def _error(state: tenacity.RetryCallState) -> ProviderError:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, ProviderError)
    return error
