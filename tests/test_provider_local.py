"""The embedded model for real: what it is held to, and that it stays quiet, private and stoppable."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from llama_server import LlamaServer, weights_of

from meshclaw.errors import FailureKind, ProviderError
from meshclaw.messages import Message, Request, StopReason, ToolResult, ToolSpec, user
from meshclaw.providers.base import NullSink
from meshclaw.providers.local import LocalProvider
from meshclaw.usage import Usage, UsageSource

pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.xdist_group("embedded model")]

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 40}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
WRITE = ToolSpec(
    "write",
    "Writes a whole file.",
    {
        "type": "object",
        "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
        "required": ["path", "content"],
        "additionalProperties": False,
    },
)


class Recorder(NullSink):
    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.ids: list[str] = []
        self.seen: list[Usage] = []

    def text(self, delta: str) -> None:
        self.pieces.append(delta)

    def response_id(self, value: str) -> None:
        self.ids.append(value)

    def usage(self, usage: Usage) -> None:
        self.seen.append(usage)


@pytest.fixture(scope="module")
def local() -> Iterator[LocalProvider]:
    provider = LocalProvider(weights_of(), threads=1)
    yield provider
    anyio.run(provider.aclose)


async def test_an_answer_fits_its_schema_and_is_the_same_again(local: LocalProvider) -> None:
    sink = Recorder()
    request = Request(
        "qwen",
        (user("Ada Lovelace turned 36 last week. Extract the person."),),
        schema=PERSON,
        max_output=80,
    )
    first = await local.complete(request, sink)
    await local.complete(Request("qwen", (user("Say: yes"),), max_output=5), NullSink())
    again = await local.complete(request, NullSink())
    assert json.loads(first.message.text) == {"name": "Ada Lovelace", "age": 36}
    assert again.message == first.message
    assert first.stop is StopReason.ANSWER
    assert "".join(sink.pieces) == first.message.text
    assert sink.ids == [first.response_id]
    assert sink.seen == [first.usage]
    assert first.usage_source is UsageSource.FINAL
    assert first.wire_usage is not None
    assert first.usage.total == first.wire_usage["total_tokens"]
    assert again.usage == first.usage


async def test_a_tool_is_called_through_our_own_template(local: LocalProvider) -> None:
    request = Request(
        "qwen",
        (user("Create the file hello.txt with the text: Hello"),),
        tools=(WRITE,),
        max_output=200,
        step=3,
    )
    response = await local.complete(request, NullSink())
    assert response.stop is StopReason.TOOL_CALLS
    (call,) = response.message.tool_calls
    assert (call.id, call.name) == ("call_3", "write")
    assert json.loads(call.arguments) == {"path": "hello.txt", "content": "Hello"}

    result = Message("user", (ToolResult(call.id, "created hello.txt, 5 bytes"),))
    history = (*request.messages, response.message, result)
    after = await local.complete(replace(request, messages=history, step=4), NullSink())
    assert after.wire_usage is not None
    assert after.usage.total == after.wire_usage["total_tokens"]
    assert (after.usage.cache_read or 0) > (after.usage.input or 0), "the first turn's prompt was cached"


async def test_an_answer_that_is_cut_off_says_so(local: LocalProvider) -> None:
    response = await local.complete(Request("qwen", (user("Count to 50."),), max_output=8), NullSink())
    assert response.stop is StopReason.MAX_OUTPUT
    assert response.usage.output == 8


async def test_cancelling_stops_the_generation_and_the_next_call_works(local: LocalProvider) -> None:
    with anyio.CancelScope() as scope:

        class Stopper(NullSink):
            def text(self, delta: str) -> None:
                scope.cancel()

        request = Request("qwen", (user("Count from 1 to 1000."),), max_output=4_000)
        await local.complete(request, Stopper())
    assert scope.cancelled_caught
    response = await local.complete(Request("qwen", (user("Say: yes"),), max_output=5), NullSink())
    assert response.message.text


async def test_the_deadline_holds_while_the_prompt_is_read(local: LocalProvider) -> None:
    request = Request("qwen", (user("seven " * 6_000),), timeout=0.2)
    with pytest.raises(ProviderError, match="did not finish within") as failed:
        await local.complete(request, NullSink())
    assert failed.value.kind is FailureKind.TIMEOUT


async def test_a_prompt_beyond_the_window_is_refused_at_once(local: LocalProvider) -> None:
    with pytest.raises(ProviderError, match=r"do not fit into .* window of 16384") as failed:
        await local.complete(Request("qwen", (user("hi " * 20_000),)), NullSink())
    assert failed.value.kind is FailureKind.CONTEXT_TOO_LONG


async def test_a_schema_that_cannot_be_enforced_is_said(local: LocalProvider) -> None:
    with pytest.raises(ProviderError) as failed:
        await local.complete(Request("qwen", (user("hi"),), schema={"type": "zork"}), NullSink())
    assert failed.value.kind is FailureKind.INVALID_REQUEST


async def test_an_error_of_the_sinks_is_not_swallowed(local: LocalProvider) -> None:
    class Broken(NullSink):
        def text(self, delta: str) -> None:
            raise LookupError("the sink broke")

    with pytest.raises(LookupError, match="the sink broke"):
        await local.complete(Request("qwen", (user("Say: yes"),), max_output=5), Broken())


SCRIPT = """
import sys, anyio
from pathlib import Path
from meshclaw.messages import Request, user
from meshclaw.providers.base import NullSink
from meshclaw.providers.local import LocalProvider

async def main():
    provider = LocalProvider(Path(sys.argv[1]))
    await provider.preload()
    response = await provider.complete(Request("qwen", (user("Say: yes"),), max_output=5), NullSink())
    sys.stdout.write("<" + response.message.text + ">")
    print(provider._engine.listening_address, file=sys.stderr, flush=True)
    await anyio.to_thread.run_sync(sys.stdin.read)
    await provider.aclose()

anyio.run(main)
"""


def status_of(url: str) -> int:
    import httpx2

    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    return int(httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=120).status_code)


def test_nothing_but_the_result_is_printed_and_nobody_else_is_served() -> None:
    weights = weights_of()
    command = [sys.executable, "-c", SCRIPT, str(weights)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=Path(__file__).parent
    ) as process:
        assert process.stderr is not None
        address = process.stderr.readline().decode().strip()
        assert status_of(address) == 401
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0
    assert stdout.startswith(b"<")
    assert stdout.endswith(b">")
    assert b"\n" not in stdout
    assert stderr == b""


def test_the_test_server_serves_anybody() -> None:
    with LlamaServer(weights_of()) as server:
        assert status_of(server.url) == 200
