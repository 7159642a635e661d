"""What is there to use, found without spending anything: keys, servers on this machine, own weights."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping

import anyio
import anyio.to_thread

from meshclaw.frozen import dataclass
from meshclaw.models.store import ModelStore

SUGGESTED: dict[str, dict[str, str]] = {
    "anthropic": {
        "default": "claude-sonnet-5-5",
        "fast": "claude-haiku-5-5",
        "strong": "claude-opus-5-5",
    },
    "openai": {
        "default": "gpt-6.1-terra",
        "fast": "gpt-6-luna",
        "strong": "gpt-6.1-sol",
    },
}
"""Model ids to offer, by provider and alias.

Source: the ids in the official SDKs (`anthropic.types.model_param`, `openai.types.shared.chat_model`) that
genai-prices has a price for; a test holds this table against both.
"""

KEYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("anthropic", ("ANTHROPIC_API_KEY",)),
    ("openai", ("OPENAI_API_KEY",)),
)
"""The official SDKs' own environment variables, in the order in which providers are preferred."""

SERVERS: tuple[tuple[str, str], ...] = (
    ("ollama", "http://127.0.0.1:11434/v1"),
    ("lmstudio", "http://127.0.0.1:1234/v1"),
    ("llamacpp", "http://127.0.0.1:8080/v1"),
)
"""OpenAI-compatible servers at the ports that they listen on by default."""

Probe = Callable[[str], Awaitable[list[str] | None]]
"""Asks a server's base URL for its model ids; None when nothing usable answers. Must be bounded in time."""


@dataclass(frozen=True, slots=True)
class Detected:
    """`model` is a complete name; `found` says in a few words why it is offered.

    `base_url` is set for a server on this machine, whose provider has to be built from it.
    """

    provider: str
    model: str
    found: str
    base_url: str | None = None


async def detect(environment: Mapping[str, str], store: ModelStore, *, probe: Probe) -> list[Detected]:
    """What could answer a request now, best first: keys, local servers, the embedded model."""
    found: list[Detected] = []
    for provider, variables in KEYS:
        variable = next((name for name in variables if environment.get(name)), None)
        if variable is not None:
            found.append(
                Detected(provider, f"{provider}/{SUGGESTED[provider]['default']}", f"{variable} is set")
            )
    served: dict[str, list[str] | None] = {}

    async def ask(name: str, url: str) -> None:
        served[name] = await probe(url)

    async with anyio.create_task_group() as group:
        for name, url in SERVERS:
            group.start_soon(ask, name, url)
    for name, url in SERVERS:
        chat = [model for model in served[name] or () if "embed" not in model]
        if chat:
            found.append(Detected(name, f"{name}/{chat[0]}", f"a server answers at {url}", url))
    stored = await anyio.to_thread.run_sync(store.list)
    why = "the embedded model's weights are here"
    found += [Detected("local", f"local/{one.model.name}", why) for one in stored if one.path is not None]
    return found


MAX_LISTING = 256 * 1024
"""Bytes of a model list that are read at most."""


async def probe_http(url: str, timeout: float = 0.5) -> list[str] | None:
    """A Probe over HTTP: `GET {url}/models`, answered within `timeout` seconds, without proxies."""
    import httpx2

    body = bytearray()
    try:
        with anyio.fail_after(timeout):
            async with (
                httpx2.AsyncClient(trust_env=False, timeout=timeout) as client,
                client.stream("GET", f"{url}/models") as response,
            ):
                if response.status_code != 200:
                    return None
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_LISTING:
                        return None
        return [str(entry["id"]) for entry in json.loads(body)["data"]]
    except (httpx2.HTTPError, TimeoutError, ValueError, KeyError, TypeError):
        return None
