"""Playing a recorded transcript back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from provider_calls import RecordingSink

from meshclaw.errors import FailureKind, ProblemsError, ProviderError
from meshclaw.messages import (
    Message,
    Opaque,
    Request,
    Response,
    StopReason,
    Text,
    ToolCall,
    encode_response,
    request_digest,
    user,
)
from meshclaw.providers.base import NullSink
from meshclaw.providers.replay import ReplayProvider
from meshclaw.runs import Event, encode_line
from meshclaw.usage import Usage, UsageSource

pytestmark = pytest.mark.anyio

FIRST = Request("m", (user("one"),))
SECOND = Request("m", (user("one"), user("two")))
RESPONSE = Response(
    Message("assistant", (Opaque("p", {"sig": "x"}), Text("Hello"), ToolCall("c1", "read", '{"path": "a'))),
    StopReason.TOOL_CALLS,
    Usage(1, 2, {"5m": 3}, 4, 1),
    UsageSource.FINAL,
    {"input_tokens": 1},
    "resp-1",
    "m-2026",
    "standard",
    "tool_use",
)
ANSWER = replace(RESPONSE, message=Message("assistant", (Text("Bye"),)), response_id=None)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def transcript(tmp_path: Path) -> Path:
    """Two responses; the second call was tried twice."""
    events = [
        Event("start", {"system": "", "nudge": True}),
        Event("request", {"call": "1.1.0", "digest": request_digest(FIRST)}),
        Event("response", {"call": "1.1.0", "response": encode_response(RESPONSE)}),
        Event("tool-start", {"id": "c1"}),
        Event("request", {"call": "1.2.0", "digest": "that of a try that failed"}),
        Event("request", {"call": "1.2.1", "digest": request_digest(SECOND)}),
        Event("response", {"call": "1.2.1", "response": encode_response(ANSWER)}),
        Event("end", {"status": "succeeded"}),
    ]
    path = tmp_path / "transcript.jsonl"
    path.write_bytes(b"".join(map(encode_line, events)))
    return path


async def test_responses_come_back_in_order_and_whole(transcript: Path) -> None:
    provider = ReplayProvider(transcript, strict=True)
    sink = RecordingSink()
    assert await provider.complete(FIRST, sink) == RESPONSE
    assert await provider.complete(SECOND, sink) == ANSWER
    assert sink.deltas == ["Hello", "Bye"]
    assert sink.ids == ["resp-1"]
    assert sink.usages == [RESPONSE.usage, ANSWER.usage]
    assert (provider.name, provider.free, provider.nudge) == ("replay", True, True)
    assert provider.window("m") is None


async def test_the_end_of_the_recording_is_said(transcript: Path) -> None:
    provider = ReplayProvider(transcript)
    for _ in range(2):
        await provider.complete(FIRST, NullSink())
    with pytest.raises(ProviderError, match="the recording has no more responses") as caught:
        await provider.complete(FIRST, NullSink())
    assert caught.value.kind is FailureKind.INVALID_REQUEST
    assert not caught.value.billed


async def test_strict_refuses_another_request_and_keeps_its_place(transcript: Path) -> None:
    provider = ReplayProvider(transcript, strict=True)
    with pytest.raises(ProviderError, match="request 1 is not the one that was recorded"):
        await provider.complete(SECOND, NullSink())
    assert await provider.complete(FIRST, NullSink()) == RESPONSE


async def test_without_strict_the_request_does_not_matter(transcript: Path) -> None:
    assert await ReplayProvider(transcript).complete(SECOND, NullSink()) == RESPONSE


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match="cannot be read: No such file"):
        ReplayProvider(tmp_path / "nothing.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no json\n", "not a line of a transcript"),
        (b'{"event": "response", "call": "1.1.0", "response": {"stop": "answer"}}\n', "not whole"),
    ],
)
def test_a_file_that_is_no_transcript_is_a_problem(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "transcript.jsonl"
    path.write_bytes(content)
    with pytest.raises(ProblemsError, match=message):
        ReplayProvider(path)
