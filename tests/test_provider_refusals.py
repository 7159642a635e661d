"""Refusals by HTTP status, on all three wires, through the real SDKs."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest
from provider_calls import NOW, WIRES, failure
from wire_server import Failure, WireServer

from meshclaw.errors import FailureKind

pytestmark = pytest.mark.anyio
each_wire = pytest.mark.parametrize("wire", WIRES)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server


STATUSES = {
    400: FailureKind.INVALID_REQUEST,
    401: FailureKind.AUTHENTICATION,
    402: FailureKind.BILLING,
    403: FailureKind.PERMISSION,
    404: FailureKind.NOT_FOUND,
    408: FailureKind.TIMEOUT,
    409: FailureKind.OVERLOADED,
    413: FailureKind.CONTEXT_TOO_LONG,
    418: FailureKind.INVALID_REQUEST,
    422: FailureKind.INVALID_REQUEST,
    429: FailureKind.RATE_LIMIT,
    500: FailureKind.SERVER,
    502: FailureKind.SERVER,
    503: FailureKind.OVERLOADED,
    529: FailureKind.OVERLOADED,
}


@each_wire
@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
async def test_http_statuses(wire: str, server: WireServer, status: int, kind: FailureKind) -> None:
    headers = {"request-id": "req_77", "x-request-id": "req_77"}
    server.script(Failure(status, headers=headers, message="what the server said"))
    error = await failure(wire, server)
    assert error.kind is kind
    assert error.http_status == status
    assert error.request_id == "req_77"
    assert error.retry_after is None
    assert not error.billed
    assert f"(HTTP {status}): what the server said" in error.message


@each_wire
async def test_a_gateway_that_gave_up_may_have_cost_something(wire: str, server: WireServer) -> None:
    server.script(Failure(504))
    error = await failure(wire, server)
    assert error.kind is FailureKind.SERVER
    assert error.billed


RETRY_AFTER = {
    "seconds": ({"retry-after": "17"}, 17.0),
    "fraction": ({"retry-after": "1.5"}, 1.5),
    "milliseconds": ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
    "zero": ({"retry-after": "0"}, 0.0),
    "negative": ({"retry-after": "-3"}, 0.0),
    "huge": ({"retry-after": "86400000"}, 86_400_000.0),
    "date": ({"retry-after": formatdate(NOW + 90, usegmt=True)}, 90.0),
    "date by the server's clock": (
        {"retry-after": formatdate(1_000_060, usegmt=True), "date": formatdate(1_000_000, usegmt=True)},
        60.0,
    ),
    "date in the past": ({"retry-after": formatdate(NOW - 90, usegmt=True)}, 0.0),
    "garbage": ({"retry-after": "soon"}, None),
    "nan": ({"retry-after": "nan"}, None),
    "empty": ({"retry-after": ""}, None),
    "too many digits": ({"retry-after": "9" * 400}, None),
    "impossible date": ({"retry-after": "Tue, 99 Foo 2026 99:99:99 GMT"}, None),
}


@each_wire
@pytest.mark.parametrize("case", RETRY_AFTER)
async def test_retry_after(wire: str, server: WireServer, case: str) -> None:
    headers, seconds = RETRY_AFTER[case]
    server.script(Failure(429, headers=headers))
    error = await failure(wire, server)
    assert error.kind is FailureKind.RATE_LIMIT
    assert error.retry_after == seconds


BODIES: dict[str, tuple[int, Any, FailureKind]] = {
    "anthropic: too long": (
        400,
        {
            "error": {
                "type": "invalid_request_error",
                "message": "prompt is too long: 250000 > 200000",
            }
        },
        FailureKind.CONTEXT_TOO_LONG,
    ),
    "anthropic: credit": (
        400,
        {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access"}},
        FailureKind.BILLING,
    ),
    "anthropic: spend limit": (
        429,
        {
            "error": {
                "type": "rate_limit_error",
                "message": "limit",
                "details": {"error_code": "enforced_spend_limit_reached"},
            }
        },
        FailureKind.BILLING,
    ),
    "openai: too long": (
        400,
        {"error": {"code": "context_length_exceeded", "type": "invalid_request_error", "message": "x"}},
        FailureKind.CONTEXT_TOO_LONG,
    ),
    "openai: quota": (
        429,
        {"error": {"code": "insufficient_quota", "type": "insufficient_quota", "message": "quota"}},
        FailureKind.BILLING,
    ),
    "openai: policy": (
        400,
        {"error": {"code": "invalid_prompt", "type": "invalid_request_error", "message": "flagged"}},
        FailureKind.CONTENT_REFUSED,
    ),
    "azure: filter": (
        400,
        {"error": {"code": "content_filter", "message": "The response was filtered"}},
        FailureKind.CONTENT_REFUSED,
    ),
    "llama.cpp: too long": (
        400,
        {"error": {"code": 400, "type": "exceed_context_size_error", "message": "exceeds"}},
        FailureKind.CONTEXT_TOO_LONG,
    ),
    "gemini: key, in a list": (
        400,
        [{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "API key not valid."}}],
        FailureKind.AUTHENTICATION,
    ),
    "ollama: plain text": (404, {"error": "model 'x' not found"}, FailureKind.NOT_FOUND),
    "an invalid field is not billing": (
        400,
        {"error": {"type": "invalid_request_error", "message": "max_tokens: must be positive"}},
        FailureKind.INVALID_REQUEST,
    ),
}


@each_wire
@pytest.mark.parametrize("case", BODIES)
async def test_bodies_say_more_than_statuses(wire: str, server: WireServer, case: str) -> None:
    status, body, kind = BODIES[case]
    server.script(Failure(status, body))
    error = await failure(wire, server)
    assert error.kind is kind
    assert not error.billed


@each_wire
async def test_what_a_server_says_is_bounded_and_on_one_line(wire: str, server: WireServer) -> None:
    server.script(Failure(500, "<html>" + "x\n" * 9000, {"content-type": "text/html"}))
    assert "html" not in (await failure(wire, server)).message
    server.requests.clear()
    server.script(Failure(500, message="long\n" * 5000))
    error = await failure(wire, server)
    assert len(error.message) < 400
    assert "\n" not in error.message
