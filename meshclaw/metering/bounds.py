"""How many tokens a call can take at most, before it is made."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from meshclaw.messages import Message, Request, Text, ToolCall, ToolResult, ToolSpec, encode_message
from meshclaw.pricing import Prices
from meshclaw.usage import Usage

MESSAGE_OVERHEAD = 16
"""Tokens that bound the role markers around one message, on any wire."""


class InputBound:
    """Bounds the prompts of one conversation, by their bytes and by what the calls before took.

    `overhead` is the provider's constant, in tokens. What was counted of a request is kept: one that only
    appends to it costs what came since.
    """

    def __init__(self, overhead: int) -> None:
        self._overhead = overhead
        self._messages: tuple[Message, ...] = ()
        self._bytes = 0
        self._fixed: tuple[Any, ...] = ()
        self._fixed_bytes = 0
        self._took: tuple[tuple[Message, ...], int] | None = None

    def of(self, request: Request) -> int:
        """Most prompt tokens that `request` can hold: a token is at least one byte of its text.

        A request that only appends to one whose `took` is known is bounded by that call's total and the
        bytes that came since.
        """
        messages = request.messages
        known = len(self._messages)
        if messages[:known] != self._messages:
            known, self._messages, self._bytes = 0, (), 0
        self._bytes += sum(map(message_bytes, messages[known:]))
        self._messages = messages
        fixed = (request.system, request.tools, request.schema)
        if fixed != self._fixed:
            self._fixed, self._fixed_bytes = fixed, _fixed_bytes(request)
        whole = self._fixed_bytes + self._bytes + MESSAGE_OVERHEAD * len(messages) + self._overhead
        if self._took is None:
            return whole
        before, total = self._took
        if messages[: len(before)] != before:
            return whole
        appended = messages[len(before) :]
        # The model's own answer is counted by its output tokens, which the total includes.
        new = [message for message in appended if message.role != "assistant"]
        extra = sum(map(message_bytes, new)) + MESSAGE_OVERHEAD * len(appended)
        return min(whole, total + extra + self._overhead)

    def took(self, request: Request, usage: Usage) -> None:
        """Takes in what a call took."""
        self._took = None if usage.total is None else (request.messages, usage.total)


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


def _fixed_bytes(request: Request) -> int:
    """Bytes of what the model reads besides messages: mostly the same in a whole conversation."""
    count = len(request.system.encode(errors="replace")) + sum(map(_spec_bytes, request.tools))
    return count + (len(json.dumps(dict(request.schema))) if request.schema is not None else 0)


def _spec_bytes(spec: ToolSpec) -> int:
    return len(json.dumps({"n": spec.name, "d": spec.description, "p": dict(spec.parameters)}))


class CallPrices:
    """Binds Prices to one model and moment, for BudgetMeter.reserve."""

    def __init__(self, prices: Prices, provider: str, model: str, at: datetime) -> None:
        self._prices, self._provider, self._model, self._at = prices, provider, model, at

    def bound(self, input_tokens: int, output_tokens: int) -> int | None:
        return self._prices.bound(self._provider, self._model, input_tokens, output_tokens, at=self._at)
