"""What both OpenAI wires share: the SDK's client, and how usage is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from meshclaw.messages import Request, Response
from meshclaw.providers.content import count, optional_count, section
from meshclaw.providers.failures import Origin
from meshclaw.providers.wire import (
    Call,
    Fold,
    SdkErrors,
    check_settings,
    exchange,
    http_client,
    is_loopback,
)
from meshclaw.usage import Usage

if TYPE_CHECKING:
    from openai import AsyncOpenAI

DEFAULT_BASE_URL = "https://api.openai.com/v1"
KEY_HINT = "export OPENAI_API_KEY=... (keys: https://platform.openai.com/api-keys)"


def preload() -> None:
    """Imports what the first call needs: about a second of CPU, so begin it in a thread."""
    import httpx2  # noqa: F401
    import openai  # noqa: F401


class OpenAIClient:
    """The SDK's client, made at the first call.

    `needs_key` says whether a missing key is a mistake; on loopback it never is.
    """

    def __init__(self, key: str | None, base_url: str, *, needs_key: bool, trusted: bool) -> None:
        self._key = key.strip() if key else None
        self._base_url = base_url
        self._needs_key = needs_key and not is_loopback(base_url)
        self._trusted = trusted
        self._client: AsyncOpenAI | None = None

    async def connect(self, origin: Origin) -> AsyncOpenAI:
        """Raises ProviderError when the key or the address cannot be right."""
        check_settings(self._base_url, self._key, origin, needs_key=self._needs_key)
        if self._client is None:
            await anyio.to_thread.run_sync(preload)
        from openai import AsyncOpenAI

        if self._client is None:
            self._client = AsyncOpenAI(
                api_key=self._key or "none",
                base_url=self._base_url,
                max_retries=0,
                timeout=None,
                http_client=http_client(self._base_url, self._key, trusted=self._trusted),
            )
        return self._client

    async def exchange(
        self, request: Request, call: Call, fold: Fold, origin: Origin, now: float
    ) -> Response:
        """See `wire.exchange`."""
        import openai

        errors = SdkErrors(openai.APIStatusError, openai.APIConnectionError, openai.OpenAIError)
        return await exchange(request, call, fold, origin, errors, now)

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def read_usage(wire: Mapping[str, Any], prompt: str, answer: str) -> Usage:
    """Usage from the wire, whose prompt count includes cache reads and writes: both are subtracted.

    `prompt` and `answer` are the wire's words for the two sides: `input`/`output` (Responses) or
    `prompt`/`completion` (Chat).
    """
    total = count(wire, f"{prompt}_tokens")
    details = section(wire, f"{prompt}_tokens_details")
    known = details or {}
    read = optional_count(known, "cached_tokens")
    writes, assumed = _cache_writes(known)
    fresh: int | None = None
    if total is not None and read is not None and writes is not None:
        fresh = total - read - sum(writes.values())
    if total is None or fresh is None or fresh < 0:
        fresh, read, writes = None, None, None
    output = count(wire, f"{answer}_tokens")
    thought = section(wire, f"{answer}_tokens_details")
    reasoning = optional_count(thought or {}, "reasoning_tokens")
    if output is None or reasoning is None or reasoning > output:
        reasoning = None
    missing = (details is None and total is not None) or (thought is None and output is not None)
    return Usage(fresh, read, writes, output, reasoning, split_assumed=assumed or missing)


def _cache_writes(details: Mapping[str, Any]) -> tuple[dict[str, int] | None, bool]:
    """Tokens written by lifetime, None when inconsistent; and whether the lifetime was assumed."""
    written = optional_count(details, "cache_write_tokens")
    split = section(details, "cache_write_tokens_details")
    if written is None:
        return None, False
    if split is None:
        return ({"other": written} if written else {}), written > 0
    short, long = optional_count(split, "ttl_30m_tokens"), optional_count(split, "ttl_12h_tokens")
    if short is None or long is None or short + long != written:
        return None, False
    return {lifetime: tokens for lifetime, tokens in (("30m", short), ("12h", long)) if tokens}, False
