"""Settings -> the adapter that a model's name asks for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshclaw.app.options import WeightsMissingError
from meshclaw.config import ProviderSettings, resolve_key
from meshclaw.pricing import FREE, Prices, Rates
from meshclaw.providers.base import Provider

if TYPE_CHECKING:
    from meshclaw.models.store import ModelStore

PRELOADED = {
    "anthropic": "meshclaw.providers.anthropic",
    "openai-responses": "meshclaw.providers.openai_responses",
    "openai-chat": "meshclaw.providers.openai_chat",
}
"""Adapters whose SDK takes long to import: it is begun in a thread while inputs are gathered."""


def begin_import(kind: str) -> None:
    """Begins to import the SDK behind an adapter, in a thread; returns at once."""
    module = PRELOADED.get(kind)
    if module is not None:
        threading.Thread(target=_preload, args=(module,), daemon=True).start()


def build_provider(
    factory: Any,
    settings: ProviderSettings,
    model: str,
    *,
    environment: Mapping[str, str],
    store: Callable[[], ModelStore],
    cwd: Path,
) -> Provider:
    """The adapter for `model`, the provider's own id; `factory` is its class.

    Raises ProblemsError or WeightsMissingError.
    """
    built: Provider
    if settings.kind == "local":
        weights = store().path(model)
        if weights is None:
            raise WeightsMissingError(model, store().find(model).size)
        options = {} if settings.window is None else {"window": settings.window}
        built = factory(weights, name=settings.name, **options)
        return built
    if settings.kind == "replay":
        path = cwd / model
        built = factory(path / "transcript.jsonl" if path.is_dir() else path)
        return built
    common: dict[str, Any] = {
        "name": settings.name,
        "free": settings.free,
        "trusted": settings.trusted,
        "key_hint": _key_hint(settings),
    }
    if settings.window is not None:
        common["windows"] = {model: settings.window}
    if settings.kind == "openai-chat":
        common |= {"limit_name": settings.tokens_field, "nudge": settings.loopback}
    built = factory(resolve_key(settings, environment), settings.base_url, **common)
    return built


def prices_for(providers: Mapping[str, ProviderSettings]) -> Prices:
    """The operator's own prices, and under which publisher the others are listed."""
    tables: dict[str, Rates] = {"local": FREE, "replay": FREE}
    publishers: dict[str, str] = {}
    for name, settings in providers.items():
        if settings.price is not None:
            tables[name] = settings.price
        elif settings.publisher is not None:
            publishers[name] = settings.publisher
    return Prices(tables, publishers)


def _key_hint(settings: ProviderSettings) -> str:
    if settings.key is None:
        return f"bind a key to its host in the operator's settings (providers.{settings.name})"
    if settings.key.env:
        return f"export {settings.key.env}=..."
    return f"put the key into {settings.key.file}, mode 0600"


def _preload(module: str) -> None:
    # Whatever goes wrong here goes wrong again, and is said, when the adapter is used.
    try:
        import_module(module).preload()
    except Exception:
        return
