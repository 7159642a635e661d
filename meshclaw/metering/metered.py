"""The only door to money: reserve, call, settle.

Every call goes through a Metered provider, in this order, each arrow synced to disk: ledger `reserve`
-> request -> transcript: the response as received -> ledger `call`. Whatever happens after `reserve`,
exactly one `call` follows: at once, or from the transcript when a killed run is recovered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

import anyio

from meshclaw.budgets import BudgetMeter, Reservation
from meshclaw.errors import FailureKind, ProviderError
from meshclaw.frozen import dataclass
from meshclaw.ledger.entry import Call, CallStatus, Ledger, Reserve
from meshclaw.messages import Request, RequestDigest, Response, encode_response
from meshclaw.metering.bounds import CallPrices, InputBound
from meshclaw.metering.entries import call_usage, response_cost, settled_call, timestamp, with_usage
from meshclaw.metering.watcher import RedactingStream, Watcher, redacted
from meshclaw.pricing import Prices
from meshclaw.providers.base import Provider, Sink
from meshclaw.usage import ZERO, UsageSource

EXPIRY_MARGIN = timedelta(minutes=5)
"""How long after a call's deadline its reserve still counts as in flight."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a Metered provider needs to know of the attempt it works for.

    `record` writes a transcript line and tells the watchers; `notify` only tells them. `redact` keeps
    secrets out of what is remembered. `now` is the wall clock, in UTC. `label` stands before the step in
    the ids of calls that no Runner makes; `tries` counts, by step, the calls that an earlier process made.
    """

    run: str
    attempt: int
    ledger: Ledger
    budget: BudgetMeter
    prices: Prices
    now: Callable[[], datetime]
    record: Callable[..., Awaitable[None]]
    notify: Callable[..., None]
    redact: Callable[[Any], Any]
    redact_stream: Callable[[], RedactingStream]
    label: str = ""
    tries: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A call that was reserved and not settled yet."""

    call: str
    request: Request
    reservation: Reservation
    watcher: Watcher
    number: int
    started: float


class Metered:
    """A Provider whose every call is reserved before and settled after, in ledger and budget.

    Raises, besides what the inner provider raises: BudgetError before a call that does not fit, and
    LedgerError when the ledger or the transcript cannot be written.
    """

    def __init__(self, inner: Provider, context: CallContext) -> None:
        self._inner = inner
        self._context = context
        self._tries = dict(context.tries)
        self._bound = InputBound(inner.overhead_tokens)
        self._digest = RequestDigest()
        self.calls: list[Call] = []
        self.name = inner.name
        self.overhead_tokens = inner.overhead_tokens
        self.free = inner.free
        self.nudge = inner.nudge

    def window(self, model: str) -> int | None:
        """The provider's own word, else the context length published with the price."""
        return self._inner.window(model) or self._context.prices.window(self.name, model)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def complete(self, request: Request, sink: Sink) -> Response:
        """One call, accounted for however it ends."""
        pending = await self._reserve(request, sink)
        left = False
        try:
            await anyio.lowlevel.checkpoint_if_cancelled()
            left = True
            response = await self._inner.complete(pending.request, pending.watcher)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await self._settle_failure(pending, error, left=left)
            raise
        with anyio.CancelScope(shield=True):
            response = await self._settle(pending, response)
        self._bound.took(pending.request, response.usage)
        return response

    async def _reserve(self, request: Request, sink: Sink) -> _Pending:
        context = self._context
        number = self._tries.get(request.step, 0)
        self._tries[request.step] = number + 1
        call = f"{context.attempt}.{context.label}{request.step}.{number}"
        prices = CallPrices(context.prices, self.name, request.model, context.now())
        reservation = await context.budget.admit(self._bound.of(request), request.max_output, prices)
        if reservation.max_output != request.max_output:
            request = replace(request, max_output=reservation.max_output)
        try:
            await context.record(
                "request",
                call=call,
                max_output=request.max_output,
                messages=len(request.messages),
                digest=self._digest.of(request),
            )
            with anyio.CancelScope(shield=True):
                # The ledger keeps what it was handed, also when nobody waits for it any more.
                await context.ledger.append(self._reserve_entry(call, request, reservation))
        except BaseException:
            context.budget.settle(reservation, ZERO, 0)
            raise
        watcher = Watcher(sink, context.notify, context.redact_stream(), context.redact)
        return _Pending(call, request, reservation, watcher, number, perf_counter())

    async def _settle(self, pending: _Pending, response: Response) -> Response:
        context = self._context
        pending.watcher.finish()
        response = redacted(response, context.redact)
        entry = self._call_entry(pending)
        cost = response_cost(context.prices, self.name, pending.request.model, response, context.now())
        over = context.budget.settle(pending.reservation, response.usage, cost.nusd)
        entry = settled_call(entry, response, cost, over_reserve=over)
        try:
            await context.record("response", call=pending.call, response=encode_response(response))
        finally:
            await self._append(entry)
        return response

    async def _settle_failure(self, pending: _Pending, error: BaseException, *, left: bool) -> None:
        """`left` says that the request may have been on the wire; else it cost nothing."""
        context, watcher = self._context, pending.watcher
        watcher.finish()
        entry = self._call_entry(pending)
        failure: str | None = None
        status: CallStatus = "aborted"
        if isinstance(error, ProviderError):
            failure = str(error.kind)
            status = "error" if error.billed or watcher.answering else "refused"
        elif isinstance(error, Exception):
            failure, status = str(FailureKind.MALFORMED), "error"
        if status == "refused" or not left:
            context.budget.settle(pending.reservation, ZERO, 0)
            entry = with_usage(entry, ZERO, UsageSource.FINAL)
            entry = replace(entry, cost_nusd=0, cost_state="priced")
        else:
            cost_nusd = 0 if self.free else None
            context.budget.settle(pending.reservation, None, cost_nusd)
            entry = with_usage(entry, watcher.last_usage, watcher.source)
            entry = replace(
                entry,
                cost_nusd=cost_nusd,
                cost_state="priced" if self.free else "unknown",
                possibly_billed=not self.free,
                response_id=watcher.id,
            )
        await self._append(replace(entry, status=status, failure=failure))

    async def _append(self, entry: Call) -> None:
        await self._context.ledger.append(entry)
        self.calls.append(entry)
        self._context.notify(
            "call",
            call=entry.call.partition("/")[2],
            status=entry.status,
            failure=entry.failure,
            usage=call_usage(entry).as_dict(),
            cost_nusd=entry.cost_nusd,
            cost_state=entry.cost_state,
        )

    def _reserve_entry(self, call: str, request: Request, reservation: Reservation) -> Reserve:
        context = self._context
        now = context.now()
        expires = now + timedelta(seconds=request.timeout) + EXPIRY_MARGIN
        return Reserve(
            at=timestamp(now),
            call=f"{context.run}/{call}",
            run=context.run,
            attempt=context.attempt,
            step=request.step,
            model=f"{self.name}/{request.model}",
            tokens=reservation.tokens,
            cost_nusd=reservation.cost_nusd,
            expires=timestamp(expires),
        )

    def _call_entry(self, pending: _Pending) -> Call:
        context = self._context
        return Call(
            at=timestamp(context.now()),
            call=f"{context.run}/{pending.call}",
            run=context.run,
            attempt=context.attempt,
            step=pending.request.step,
            status="error",
            provider=self.name,
            model=f"{self.name}/{pending.request.model}",
            milliseconds=round((perf_counter() - pending.started) * 1000),
            retry=pending.number,
        )
