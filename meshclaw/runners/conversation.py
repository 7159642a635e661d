"""Builds a conversation again from recorded Steps, to the byte as it was sent."""

from __future__ import annotations

from collections.abc import Sequence

from meshclaw.messages import Message, Part, Text, ToolResult, user
from meshclaw.runners.compaction import compact
from meshclaw.runs import Step

NOT_DONE = "Not done: the attempt had ended."


def beginning(prompt: str) -> tuple[Message, ...]:
    return (user(prompt),)


def is_open(step: Step) -> bool:
    """Whether a last Step was cut off before all that follows from its response was done and told."""
    return step.feedback is None and step.compactions == 0


def told(messages: tuple[Message, ...], step: Step) -> tuple[Message, ...]:
    """`messages` with what the model was told after the Step's response, room made where it was made."""
    texts = [text for _, text in step.notices]
    if step.feedback is not None:
        texts.append(step.feedback)
    # No wire takes a conversation in which a call has no result.
    undone = [ToolResult(call.id, NOT_DONE, is_error=True) for call in step.pending]
    messages = said(messages, [*step.results, *undone], texts)
    for _ in range(step.compactions):
        compacted = compact(messages)
        if compacted is not None:
            messages = compacted.messages
    return messages


def said(
    messages: tuple[Message, ...], results: Sequence[ToolResult], texts: Sequence[str]
) -> tuple[Message, ...]:
    """`messages` with one more of the user's: results of tools, then what else there is to say."""
    parts: tuple[Part, ...] = (*results, *map(Text, texts))
    return (*messages, Message("user", parts)) if parts else messages
