"""Carries out one Step's tool calls, in order, each written down before it begins and when it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from meshclaw.messages import ToolCall, ToolResult
from meshclaw.runners.base import RunContext
from meshclaw.runs import Done, Step
from meshclaw.tools.toolbox import Executed

MAY_HAVE_HAPPENED = (
    "The process was killed while this ran, so it may have happened, wholly or in part, or not at all. "
    "Look before you do it again."
)
"""What the model is told of a call that began and left no result, unless it only reads."""


async def execute_calls(
    calls: Sequence[ToolCall], context: RunContext, recorded: Step | None = None
) -> list[Done]:
    """What came of each of `calls`.

    Calls that only read run side by side; any other waits for all before it. What is `recorded` of the Step
    already is not done again; of a call that began and left no result, the model is told that it may have
    happened, unless the call only reads.
    """
    toolbox = context.toolbox
    done = list(recorded.done) if recorded else []
    started = recorded.started if recorded else frozenset[str]()
    while len(done) < len(calls):
        first = calls[len(done)]
        reading = toolbox.only_reads(first)
        if first.id in started and not reading:
            done.append(Done(ToolResult(first.id, MAY_HAVE_HAPPENED, is_error=True)))
            await _record_result(context, done[-1], "", durable=True)
            continue
        batch = [first]
        for call in calls[len(done) + 1 :] if reading else ():
            if not toolbox.only_reads(call):
                break
            batch.append(call)
        # What only reads can be done again, so nothing hangs on its lines; the next response's make them
        # durable. Anything else must be on the disk before it begins.
        durable = not reading
        for call in batch:
            await context.record(
                "tool-start", durable=durable, id=call.id, name=call.name, arguments=call.arguments
            )
        for executed in await _together(batch, context):
            if executed.proposal:
                await context.record("proposal", id=executed.result.call_id, command=executed.proposal)
            done.append(Done(executed.result, executed.denied, executed.wanted, executed.refused))
            await _record_result(context, done[-1], executed.display, durable=durable)
    return done


async def _record_result(context: RunContext, one: Done, display: str, *, durable: bool) -> None:
    result = one.result
    extra: dict[str, Any] = {"display": display} if display else {}
    if one.denied:
        extra |= {"denied": one.denied, "wanted": one.wanted}
    if one.refused:
        extra |= {"refused": list(one.refused)}
    await context.record(
        "tool-result",
        durable=durable,
        id=result.call_id,
        content=result.content,
        is_error=result.is_error,
        **extra,
    )


async def _together(batch: Sequence[ToolCall], context: RunContext) -> list[Executed]:
    toolbox = context.toolbox
    if len(batch) == 1:
        return [await toolbox.execute(batch[0])]
    executed: dict[int, Executed] = {}

    async def execute(index: int, call: ToolCall) -> None:
        executed[index] = await toolbox.execute(call)

    async with anyio.create_task_group() as group:
        for index, call in enumerate(batch):
            group.start_soon(execute, index, call)
    return [executed[index] for index in range(len(batch))]
