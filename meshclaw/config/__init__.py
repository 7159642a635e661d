"""Settings in layers; each value remembers where it came from."""

from meshclaw.config.keys import resolve_key
from meshclaw.config.load import KINDS, load_config
from meshclaw.config.values import Config, KeySource, Layer, Origin, ProviderSettings, SandboxSettings

__all__ = [
    "KINDS",
    "Config",
    "KeySource",
    "Layer",
    "Origin",
    "ProviderSettings",
    "SandboxSettings",
    "load_config",
    "resolve_key",
]
