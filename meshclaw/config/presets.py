"""Providers that need little or no setting up, and how the operator's machine reaches them."""

from __future__ import annotations

from typing import Literal

from meshclaw.frozen import dataclass

TokensField = Literal["max_tokens", "max_completion_tokens"]
"""What a server calls the output limit."""


@dataclass(frozen=True, slots=True)
class Preset:
    """`publisher` is the provider's id in `genai-prices`; `source` documents the address and the key."""

    kind: str
    base_url: str | None
    key_env: str | None
    source: str
    base_url_env: str | None = None
    publisher: str | None = None
    tokens_field: TokensField = "max_tokens"


BUILT_IN: dict[str, Preset] = {
    "anthropic": Preset(
        "anthropic",
        None,
        "ANTHROPIC_API_KEY",
        "github.com/anthropics/anthropic-sdk-python",
        base_url_env="ANTHROPIC_BASE_URL",
        publisher="anthropic",
    ),
    "openai": Preset(
        "openai-responses",
        None,
        "OPENAI_API_KEY",
        "github.com/openai/openai-python",
        base_url_env="OPENAI_BASE_URL",
        publisher="openai",
        tokens_field="max_completion_tokens",
    ),
    "local": Preset("local", None, None, "the embedded model"),
    "replay": Preset("replay", None, None, "recorded transcripts"),
}
"""There without any setting. The variables are those of the official SDKs."""

PRESETS: dict[str, Preset] = {
    "ollama": Preset("openai-chat", "http://127.0.0.1:11434/v1", None, "docs.ollama.com/openai"),
    "vllm": Preset(
        "openai-chat",
        "http://127.0.0.1:8000/v1",
        None,
        "docs.vllm.ai/en/latest/serving/openai_compatible_server",
    ),
    "lmstudio": Preset(
        "openai-chat", "http://127.0.0.1:1234/v1", None, "lmstudio.ai/docs/developer/openai-compat"
    ),
    "llamacpp": Preset(
        "openai-chat",
        "http://127.0.0.1:8080/v1",
        None,
        "github.com/ggml-org/llama.cpp/tree/master/tools/server",
    ),
    "openrouter": Preset(
        "openai-chat",
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        "openrouter.ai/docs/quickstart",
        publisher="openrouter",
        tokens_field="max_completion_tokens",
    ),
    "gemini": Preset(
        "openai-chat",
        "https://generativelanguage.googleapis.com/v1beta/openai/",
        "GEMINI_API_KEY",
        "ai.google.dev/gemini-api/docs/openai",
        publisher="google",
    ),
}
"""Compatible servers: those on this machine work unset, the others once the operator names them."""
