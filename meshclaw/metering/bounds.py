"""How many tokens a call can take at most, before it is made."""

from __future__ import annotations

import json
from datetime import datetime

from meshclaw.messages import Message, Request, Text, ToolCall, ToolResult, ToolSpec, encode_message
from meshclaw.pricing import Prices
from meshclaw.usage import Usage

MESSAGE_OVERHEAD = 16
"""Tokens that bound the role markers around one message, on any wire."""


def input_bound(request: Request, last: tuple[Request, Usage] | None, overhead: int) -> int:
    """Most prompt tokens that `request` can hold: a token is at least one byte of its text.

    `last` is the call before and what it took: a request that only appends to it is bounded by that
    call's total and the bytes that came since. `overhead` is the provider's constant, in tokens.
    """
    whole = request_bytes(request) + MESSAGE_OVERHEAD * len(request.messages) + overhead
    if last is None:
        return whole
    before, usage = last
    count = len(before.messages)
    if usage.total is None or request.messages[:count] != before.messages:
        return whole
    appended = request.messages[count:]
    # The model's own answer is counted by its output tokens, which usage.total includes.
    new = [message for message in appended if message.role != "assistant"]
    extra = sum(map(message_bytes, new)) + MESSAGE_OVERHEAD * len(appended)
    return min(whole, usage.total + extra + overhead)


def message_bytes(message: Message) -> int:
    """Bytes of a message's content as UTF-8, an upper bound on its tokens."""
    total = 0
    for part in message.parts:
        match part:
            case Text(text):
                total += len(text.encode(errors="replace"))
            case ToolCall(id, name, arguments):
                total += len(f"{id}{name}{arguments}".encode(errors="replace"))
            case ToolResult(call_id, content):
                total += len(f"{call_id}{content}".encode(errors="replace"))
            case _:
                total += len(json.dumps(encode_message(Message("user", (part,)))))
    return total


def request_bytes(request: Request) -> int:
    """Bytes of everything in a request that the model reads."""
    total = len(request.system.encode(errors="replace")) + sum(map(message_bytes, request.messages))
    total += sum(_spec_bytes(spec) for spec in request.tools)
    return total + (len(json.dumps(dict(request.schema))) if request.schema is not None else 0)


def _spec_bytes(spec: ToolSpec) -> int:
    return len(json.dumps({"n": spec.name, "d": spec.description, "p": dict(spec.parameters)}))


class CallPrices:
    """Binds Prices to one model and moment, for BudgetMeter.reserve."""

    def __init__(self, prices: Prices, provider: str, model: str, at: datetime) -> None:
        self._prices, self._provider, self._model, self._at = prices, provider, model, at

    def bound(self, input_tokens: int, output_tokens: int) -> int | None:
        return self._prices.bound(self._provider, self._model, input_tokens, output_tokens, at=self._at)
