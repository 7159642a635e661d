"""What is kept of a conversation from request to request changes no digest and no bound."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from meshclaw.messages import (
    Message,
    Opaque,
    Part,
    Request,
    RequestDigest,
    Text,
    ToolCall,
    ToolResult,
    ToolSpec,
    encode_message,
    request_digest,
)
from meshclaw.metering.bounds import MESSAGE_OVERHEAD, InputBound, message_bytes
from meshclaw.usage import Usage

TOOLS = (ToolSpec("read", "Reads.", {"type": "object"}), ToolSpec("list", "", {}))

texts = st.text(max_size=8)
parts: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, texts),
    st.builds(ToolCall, texts, texts, texts),
    st.builds(ToolResult, texts, texts, st.booleans()),
    st.builds(Opaque, texts, st.dictionaries(texts, st.integers())),
)
messages = st.builds(
    Message, st.sampled_from(["user", "assistant"]), st.lists(parts, max_size=3).map(tuple)
)
histories = st.lists(messages, max_size=4).map(tuple)


@st.composite
def conversations(draw: st.DrawFn) -> list[Request]:
    """Requests of which most append to the one before; some begin anew or change something else."""
    request = Request("m", draw(histories), system=draw(texts), tools=draw(st.sampled_from([(), TOOLS])))
    found = [request]
    for _ in range(draw(st.integers(0, 5))):
        before = request.messages
        kept = before[: draw(st.integers(0, len(before)))] if draw(st.booleans()) else before
        changes: dict[str, Any] = {"messages": (*kept, *draw(histories))}
        changes |= draw(
            st.sampled_from(
                [
                    {},
                    {},
                    {},
                    {"max_output": 512},
                    {"effort": "low"},
                    {"tools": TOOLS[:1]},
                    {"schema": {"type": "string"}},
                    {"system": "another"},
                    {"model": "n"},
                ]
            )
        )
        request = replace(request, **changes)
        found.append(request)
    return found


@given(conversations())
def test_a_digest_is_that_of_the_whole_request_as_one_json_object(requests: list[Request]) -> None:
    kept = RequestDigest()
    for request in requests:
        content = {
            "model": request.model,
            "system": request.system,
            "tools": [[spec.name, spec.description, spec.parameters] for spec in request.tools],
            "messages": [encode_message(message) for message in request.messages],
            "max_output": request.max_output,
            "effort": request.effort,
            "schema": request.schema,
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        assert kept.of(request) == hashlib.sha256(text.encode()).hexdigest()
        assert request_digest(request) == kept.of(request)


@given(conversations(), st.lists(st.one_of(st.none(), st.integers(0, 200)), min_size=6, max_size=6))
def test_a_bound_is_that_of_the_whole_request_or_of_what_came_since(
    requests: list[Request], totals: list[int | None]
) -> None:
    """`totals` are what the calls took; None is unknown."""
    kept = InputBound(7)
    last: tuple[tuple[Message, ...], int] | None = None
    for request, total in zip(requests, totals, strict=False):
        expected = InputBound(7).of(request)
        count = len(last[0]) if last else 0
        if last and request.messages[:count] == last[0]:
            since = request.messages[count:]
            new = sum(message_bytes(message) for message in since if message.role == "user")
            expected = min(expected, last[1] + new + MESSAGE_OVERHEAD * len(since) + 7)
        assert kept.of(request) == expected
        kept.took(request, Usage(input=total, output=0))
        last = None if total is None else (request.messages, total)


def test_the_bound_of_a_single_request_counts_all_that_the_model_reads() -> None:
    bare = Request("m", (Message("user", (Text("äb"),)),))
    assert InputBound(0).of(bare) == len("äb".encode()) + MESSAGE_OVERHEAD
    assert InputBound(5).of(bare) == InputBound(0).of(bare) + 5
    with_system = replace(bare, system="Be brief.")
    assert InputBound(0).of(with_system) == InputBound(0).of(bare) + len("Be brief.")
    for more in ({"tools": TOOLS}, {"schema": {"type": "object"}}):
        assert InputBound(0).of(replace(bare, **more)) > InputBound(0).of(bare) + 10
