"""Settings for people: what holds and why, and the page about every key. Made from the one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshclaw.config.presets import BUILT_IN, PRESETS, Preset
from meshclaw.config.setting import WHO, Setting
from meshclaw.config.settings import DEFAULT_MODEL, KEY_FIELDS, MODEL, PROVIDER_FIELDS, SCALARS
from meshclaw.config.values import DEFAULT, Config, Origin, ProviderSettings
from meshclaw.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `config show`. Keys are never in it, only where they are looked for."""

    key: str
    value: str
    origin: Origin


def rows(config: Config, resolved: Mapping[str, str] | None = None) -> list[Row]:
    """Every setting that has a value, in the table's order, then aliases, then providers.

    `resolved` says what holds for those that nobody has set.
    """
    usual = resolved or {}
    found = []
    for one in SCALARS:
        value = _value(config, one.key)
        shown = usual.get(one.key) if value is None or value == () else None
        found.append(Row(one.key, shown or one.show(value), config.origins.get(one.key, DEFAULT)))
    models = [*([] if "default" in config.models else ["default"]), *config.models]
    for alias in models:
        key = f"models.{alias}"
        value = config.models.get(alias, DEFAULT_MODEL.unset)
        found.append(Row(key, value, config.origins.get(key, DEFAULT)))
    for name, provider in config.providers.items():
        key = f"providers.{name}"
        found.append(Row(key, _describe(provider), config.origins.get(key, DEFAULT)))
    return found


def _value(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _describe(provider: ProviderSettings) -> str:
    parts = [provider.kind + (f" at {provider.base_url}" if provider.base_url else "")]
    if provider.kind not in ("local", "replay"):
        parts.append(f"key from {provider.key}" if provider.key else "no key")
    if provider.free:
        parts.append("free")
    elif provider.price is not None:
        parts.append(f"${provider.price.input} in, ${provider.price.output} out per million tokens")
    else:
        parts.append("published prices" if provider.publisher else "no price")
    if provider.window:
        parts.append(f"window {provider.window}")
    return ", ".join(parts)


def settings_page() -> str:
    """docs/settings.md: every key, who may set it, its default and its environment variable."""
    presets = "\n".join(_preset_line(name, preset) for name, preset in {**BUILT_IN, **PRESETS}.items())
    return f"""\
# Settings

<!-- Made by `make docs` from meshclaw/config/settings.py: change it there. -->

No setting is needed for a first run. Later layers override earlier ones: defaults, the operator's file
(`meshclaw config show` says where it is), the project's `meshclaw.yaml`, the task, the environment, flags.
A project is not the operator: it can narrow limits, never widen them, and never decides where a key goes.

{_table((*SCALARS, DEFAULT_MODEL, MODEL))}

`policy.*` is a ceiling: of what a task's `allow` and `propose` name, only what the ceiling names too holds;
an empty list lets nothing pass. The operator's own flags (`--allow-write`, `--allow-run`) may go beyond it.
What later runs and other programs obey (`meshclaw.yaml`, the tasks, `.envrc`, `.vscode`, shell start-up
files and the like, at the project's root) has to be named on both sides: `**` does not include it.

Durations take `ms`, `s`, `m`, `h`, `d`; counts take `k` and `M`. The word `unlimited` removes a limit of
the budget. Relative paths start at the folder of the file that names them.

## providers.NAME

{_table(PROVIDER_FIELDS)}

A project may define a provider of its own; it gets no key unless the operator bound one to its host under
`keys:`. A server on this machine costs nothing unless a `price` says otherwise: behind a proxy to a paid
service, say `price: published` or state the rates.

## keys.HOST

`HOST` is `host` (reached over https) or `host:port`.

{_table(KEY_FIELDS)}

A key itself is never kept in a settings file.

## Known providers

The built-in ones and the servers on this machine need no settings, as in `--model ollama/qwen3`; the others
are set up by naming them: `providers: {{openrouter: {{}}}}`.

| name | kind | address | key | documented at |
|---|---|---|---|---|
{presets}
"""


def _table(settings: tuple[Setting, ...]) -> str:
    lines = ["| key | meaning | default | set by | environment |", "|---|---|---|---|---|"]
    for one in settings:
        default = one.unset or ("none" if one.default is None else f"`{one.show(one.default)}`")
        meaning = one.description
        if one.choices:
            meaning += f" One of {', '.join(f'`{choice}`' for choice in one.choices)}."
        env = f"`{one.env}`" if one.env else ""
        lines.append(f"| `{one.key}` | {meaning} | {default} | {WHO[one.by]} | {env} |")
    return "\n".join(lines)


def _preset_line(name: str, preset: Preset) -> str:
    address = f"`{preset.base_url}`" if preset.base_url else "the SDK's own" if preset.key_env else ""
    if preset.base_url_env:
        address += f", or `{preset.base_url_env}`"
    key = f"`{preset.key_env}`" if preset.key_env else ""
    return f"| `{name}` | `{preset.kind}` | {address} | {key} | {preset.source} |"
