"""Every call is reserved before and settled after, however it ends."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import anyio
import pytest

from meshclaw.budgets import NO_LIMITS, Budget, BudgetMeter
from meshclaw.errors import BudgetError, FailureKind, LedgerError, ProviderError
from meshclaw.ledger.entry import Call, Reserve
from meshclaw.messages import Message, Request, Response, Text, ToolResult, user
from meshclaw.metering import CallContext, Metered, call_usage, total_cost, total_usage
from meshclaw.pricing import Prices, Rates
from meshclaw.providers.base import NullSink, Sink
from meshclaw.redaction import Redactor
from meshclaw.testing import MemoryLedger, Say, ScriptedProvider, Turn
from meshclaw.usage import UNKNOWN, Usage, UsageSource

NOW = datetime(2026, 11, 23, 12, 0, 0, 123_456, tzinfo=UTC)
REDACTOR = Redactor(["hunter22"])
PRICES = Prices({"scripted": Rates(Decimal(2), Decimal(10))})


class Bench:
    """A Metered provider with fakes all around it; `log` is the order in which things were kept."""

    def __init__(
        self,
        turns: list[Turn],
        budget: Budget = NO_LIMITS,
        *,
        prices: Prices = PRICES,
        inner: Any = None,
        ledger: MemoryLedger | None = None,
    ) -> None:
        self.ledger = ledger or MemoryLedger()
        self.budget = BudgetMeter(budget)
        self.log: list[tuple[str, dict[str, Any]]] = []
        self.inner = inner or ScriptedProvider(turns, free=False)
        self.metered = Metered(
            self.inner,
            CallContext(
                run="run-1",
                attempt=1,
                ledger=self.ledger,
                budget=self.budget,
                prices=prices,
                now=lambda: NOW,
                record=self.record,
                notify=lambda kind, **data: self.log.append((kind, data)),
                redact=REDACTOR.data,
                redact_stream=REDACTOR.stream,
            ),
        )

    async def record(self, kind: str, **data: Any) -> None:
        self.log.append((kind, {**data, "ledger": len(self.ledger.entries)}))

    async def ask(self, text: str = "hello", **options: Any) -> Response:
        request = Request("m", (user(text),), **options)
        return await self.metered.complete(request, NullSink())

    @property
    def calls(self) -> list[Call]:
        return [entry for entry in self.ledger.entries if isinstance(entry, Call)]


async def test_a_call_is_reserved_then_recorded_then_settled() -> None:
    bench = Bench([Say("hi", usage=Usage(input=7, output=3, reasoning=1))])
    await bench.ask()
    reserve, call = bench.ledger.entries
    assert isinstance(reserve, Reserve)
    assert isinstance(call, Call)
    assert reserve.call == call.call == "run-1/1.1.0"
    assert reserve.tokens == len("hello") + 16 + 8_192
    assert reserve.cost_nusd == (len("hello") + 16) * 2_000 + 8_192 * 10_000
    assert (reserve.at, reserve.expires) == ("2026-11-23T12:00:00.123Z", "2026-11-23T12:15:00.123Z")
    assert (call.status, call.cost_nusd, call.cost_state) == ("ok", 7 * 2_000 + 3 * 10_000, "priced")
    assert call_usage(call) == Usage(input=7, output=3, reasoning=1)
    kept = {kind: data["ledger"] for kind, data in bench.log if "ledger" in data}
    assert kept == {"request": 0, "response": 1}, "the response is on disk before the call is settled"


async def test_a_refusal_before_the_first_event_costs_nothing() -> None:
    bench = Bench([ProviderError(FailureKind.RATE_LIMIT, "slow down", http_status=429)])
    with pytest.raises(ProviderError):
        await bench.ask()
    (call,) = bench.calls
    assert (call.status, call.failure, call.cost_nusd, call.possibly_billed) == (
        "refused",
        "rate_limit",
        0,
        False,
    )
    assert call_usage(call).total == 0
    assert bench.budget.spent_tokens == 0


async def test_a_call_that_breaks_off_is_possibly_billed_and_charged_its_whole_reservation() -> None:
    bench = Bench(
        [ProviderError(FailureKind.TRUNCATED, "gone", billed=True)], Budget(Decimal(1), None, None, None)
    )
    with pytest.raises(ProviderError):
        await bench.ask(max_output=1_000)
    (call,) = bench.calls
    assert (call.status, call.failure) == ("error", "truncated")
    assert (call.cost_nusd, call.cost_state, call.possibly_billed) == (None, "unknown", True)
    assert call.usage_source == "absent"
    assert bench.budget.spent_nusd == (5 + 16) * 2_000 + 1_000 * 10_000


class BreaksOff:
    """Begins to answer, reports usage, and then fails or hangs."""

    name, overhead_tokens, free, nudge = "scripted", 0, False, False

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def window(self, model: str) -> int | None:
        return None

    async def complete(self, request: Request, sink: Sink) -> Response:
        sink.response_id("resp-9")
        sink.usage(Usage(input=40, output=1))
        sink.text("the answer is")
        if self.error is None:
            await anyio.sleep_forever()
        assert self.error is not None
        raise self.error

    async def aclose(self) -> None: ...


async def test_partial_usage_and_the_response_id_survive_a_broken_call() -> None:
    bench = Bench([], inner=BreaksOff(ProviderError(FailureKind.CONNECTION, "reset")))
    with pytest.raises(ProviderError):
        await bench.ask()
    (call,) = bench.calls
    assert (call.status, call.response_id, call.usage_source) == ("error", "resp-9", "partial")
    assert (call.input, call.output, call.cost_nusd, call.possibly_billed) == (40, 1, None, True)


async def test_a_call_that_is_cancelled_while_it_is_reserved_is_closed_and_cost_nothing() -> None:
    class Slow(MemoryLedger):
        async def append(self, *entries: Any) -> None:
            scope.cancel()
            await anyio.sleep(0.01)
            await super().append(*entries)

    bench = Bench([Say("never")], ledger=Slow())
    with anyio.CancelScope() as scope:
        await bench.ask()
    assert bench.inner.requests == []
    (call,) = bench.calls
    assert (call.status, call.cost_nusd, call.possibly_billed, call.input) == ("aborted", 0, False, 0)
    assert (bench.budget.spent_nusd, bench.budget.spent_tokens) == (0, 0)


async def test_cancellation_settles_the_call_before_it_goes_on() -> None:
    bench = Bench([], inner=BreaksOff(None))
    with anyio.move_on_after(0.05) as scope:
        await bench.ask()
    assert scope.cancelled_caught
    (call,) = bench.calls
    assert (call.status, call.failure, call.possibly_billed) == ("aborted", None, True)


async def test_an_adapter_that_breaks_its_promise_is_still_accounted_for() -> None:
    bench = Bench([], inner=BreaksOff(KeyError("delta")))
    with pytest.raises(KeyError):
        await bench.ask()
    (call,) = bench.calls
    assert (call.status, call.failure, call.possibly_billed) == ("error", "malformed", True)


async def test_nothing_is_asked_when_the_ledger_cannot_be_written() -> None:
    bench = Bench([Say("hi")], Budget(None, 100_000, None, None))
    bench.ledger.fail = "the disk is full"
    with pytest.raises(LedgerError):
        await bench.ask()
    assert bench.inner.requests == []
    assert bench.budget.spent_tokens == 0
    bench.ledger.fail = ""
    assert (await bench.ask()).message.text == "hi"


async def test_nothing_is_asked_beyond_the_budget() -> None:
    bench = Bench([Say("hi")], Budget(None, 600, None, None))
    with pytest.raises(BudgetError):
        await bench.ask("x" * 1_000)
    assert bench.inner.requests == []
    assert bench.ledger.entries == []


async def test_unknown_usage_is_unknown_in_the_ledger_and_never_zero() -> None:
    bench = Bench([Say("hi", usage=UNKNOWN)])
    await bench.ask()
    (call,) = bench.calls
    assert (call.status, call.input, call.output, call.cost_nusd, call.cost_state) == (
        "ok",
        None,
        None,
        None,
        "unknown",
    )
    assert total_usage(bench.calls).total is None
    assert total_cost(bench.calls).nusd is None


async def test_an_unpriced_model_is_unpriced_not_free() -> None:
    bench = Bench([Say("hi")], prices=Prices({}))
    await bench.ask()
    (call,) = bench.calls
    assert (call.cost_nusd, call.cost_state) == (None, "unpriced")


async def test_retries_of_one_step_are_calls_of_their_own() -> None:
    bench = Bench([ProviderError(FailureKind.OVERLOADED, "busy"), Say("hi"), Say("ho")])
    with pytest.raises(ProviderError):
        await bench.ask(step=1)
    await bench.ask(step=1)
    await bench.ask(step=2)
    assert [(call.call, call.retry) for call in bench.calls] == [
        ("run-1/1.1.0", 0),
        ("run-1/1.1.1", 1),
        ("run-1/1.2.0", 0),
    ]


async def test_a_later_call_is_bounded_by_the_one_before_and_what_was_appended() -> None:
    bench = Bench([Say("ok", usage=Usage(input=10_000, output=50)), Say("done")])
    first = Request("m", (user("x" * 50_000),), max_output=600)
    response = await bench.metered.complete(first, NullSink())
    result = Message("user", (ToolResult("call_1", "y" * 100), Text("go on")))
    second = Request("m", (*first.messages, response.message, result), max_output=600, step=2)
    await bench.metered.complete(second, NullSink())
    reserve = [entry for entry in bench.ledger.entries if isinstance(entry, Reserve)][1]
    assert reserve.tokens == 10_050 + len("call_1") + 100 + len("go on") + 2 * 16 + 600


async def test_a_rewritten_history_is_bounded_by_its_bytes_again() -> None:
    bench = Bench([Say("ok", usage=Usage(input=10, output=5)), Say("done")])
    await bench.ask("x" * 900, max_output=600)
    await bench.ask("z" * 2_000, max_output=600, step=2)
    reserve = [entry for entry in bench.ledger.entries if isinstance(entry, Reserve)][1]
    assert reserve.tokens == 2_000 + 16 + 600


async def test_more_than_the_bound_is_flagged_and_stops_the_run() -> None:
    bench = Bench(
        [Say("hi", usage=Usage(input=9_999, output=1)), Say("never asked")], Budget(None, 10**6, None, None)
    )
    await bench.ask(max_output=600)
    assert bench.calls[0].over_reserve
    with pytest.raises(BudgetError, match="more than its bound"):
        await bench.ask(step=2)


async def test_secrets_are_redacted_on_entry_to_the_history() -> None:
    bench = Bench([Say("the password is hunter22", calls=[("shell", {"command": "echo hunter22"})])])
    response = await bench.ask()
    assert "hunter22" not in repr(response)
    recorded = next(data for kind, data in bench.log if kind == "response")
    assert "hunter22" not in repr(recorded)
    assert "[redacted]" in repr(recorded)


async def test_a_free_provider_costs_nothing_even_when_a_call_breaks_off() -> None:
    inner = BreaksOff(ProviderError(FailureKind.TRUNCATED, "gone", billed=True))
    inner.free = True
    bench = Bench([], inner=inner)
    with pytest.raises(ProviderError):
        await bench.ask()
    (call,) = bench.calls
    assert (call.cost_nusd, call.cost_state, call.possibly_billed) == (0, "priced", False)


def test_source_names_match_the_ledgers() -> None:
    assert {source.value for source in UsageSource} == {"final", "partial", "estimated", "absent"}
