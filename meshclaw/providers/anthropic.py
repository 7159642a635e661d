"""Anthropic's Messages API, through its SDK, streamed.

`anthropic_wire` says how requests and answers look there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import anyio.to_thread

from meshclaw.messages import Request, Response
from meshclaw.providers.anthropic_wire import MessageFold, encode_request, extra_headers
from meshclaw.providers.base import Sink
from meshclaw.providers.failures import Origin
from meshclaw.providers.wire import Call, SdkErrors, check_settings, exchange, http_client, is_loopback

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

DEFAULT_BASE_URL = "https://api.anthropic.com"
KEY_HINT = "export ANTHROPIC_API_KEY=... (keys: https://platform.claude.com/settings/keys)"
OVERHEAD_TOKENS = 1_000
"""Upper bound of what the API adds to a prompt: its tool-use preamble and role markers."""


def preload() -> None:
    """Imports what the first call needs: more than a second of CPU, so begin it in a thread."""
    import anthropic  # noqa: F401
    import httpx2  # noqa: F401


class AnthropicProvider:
    """`api_key` None raises kind `authentication` at the first call, except for a server on loopback.

    `trusted` False (a server that a project names) keeps the SDK's environment headers away from it.
    `windows` gives context lengths by model. `clock` is the wall clock, in seconds since the epoch.
    """

    def __init__(
        self,
        api_key: str | None,
        base_url: str | None = None,
        *,
        name: str = "anthropic",
        free: bool = False,
        nudge: bool = False,
        trusted: bool = True,
        windows: Mapping[str, int] | None = None,
        key_hint: str = KEY_HINT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.free = free
        self.nudge = nudge
        self.overhead_tokens = OVERHEAD_TOKENS
        self._key = (api_key or "").strip()
        self._base_url = base_url or DEFAULT_BASE_URL
        self._trusted = trusted
        self._windows = windows or {}
        self._key_hint = key_hint
        self._clock = clock
        self._client: AsyncAnthropic | None = None

    def window(self, model: str) -> int | None:
        return self._windows.get(model)

    async def complete(self, request: Request, sink: Sink) -> Response:
        origin = Origin(self.name, request.model, self._key_hint)
        check_settings(self._base_url, self._key, origin, needs_key=not is_loopback(self._base_url))
        if self._client is None:
            await anyio.to_thread.run_sync(preload)
        import anthropic

        client = self._connect()
        body = encode_request(request, self.name, anthropic.transform_schema)
        return await exchange(
            request,
            Call(client, "/v1/messages", body, extra_headers(request.model)),
            MessageFold(self.name, sink, origin),
            origin,
            SdkErrors(anthropic.APIStatusError, anthropic.APIConnectionError, anthropic.AnthropicError),
            self._clock(),
        )

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _connect(self) -> AsyncAnthropic:
        from anthropic import AsyncAnthropic

        if self._client is None:
            self._client = AsyncAnthropic(
                api_key=self._key or "none",
                base_url=self._base_url,
                max_retries=0,
                timeout=None,
                open_telemetry=False,
                http_client=http_client(self._base_url, self._key, trusted=self._trusted),
            )
        return self._client
