"""The `providers:` and `keys:` tables: how each provider is reached, and whose key goes where."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from meshclaw.config.presets import BUILT_IN, PRESETS, Preset
from meshclaw.config.reader import Reader
from meshclaw.config.settings import KEY_FIELDS, PROVIDER_FIELDS
from meshclaw.config.values import DEFAULT, KeySource, Origin, ProviderSettings, suggest
from meshclaw.documents import Node
from meshclaw.pricing import FREE, Rates
from meshclaw.units import parse_usd

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")
_FIELDS = {one.key: one for one in PROVIDER_FIELDS}
_KEYS = {one.key: one for one in KEY_FIELDS}
_PRICES = ("input", "output", "cache_read", "cache_write")
_OF_BUILT_IN: dict[str, tuple[str, ...]] = {"local": ("window",), "replay": ()}
"""What can be set about built-ins that are reached over no wire."""


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine."""
    from ipaddress import ip_address

    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_url(text: str) -> str | None:
    """Why `text` cannot be a server's base URL, or None. The answer never repeats a password in it."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        return f"this is not a URL: {error}"
    if "@" in parts.netloc:
        return "a URL with a user name or password in it"
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\x00-\x20\x7f]", text):
        return f"'{text}' is not a URL: write https://host/v1"
    if port == 0 or "?" in text or "#" in text:
        return "a base URL has no query, fragment or port 0"
    return None


def built_in(environment: Mapping[str, str]) -> dict[str, ProviderSettings]:
    """Providers that are there without any setting: the built-ins, and servers on this machine."""
    found = {}
    for name, preset in {**BUILT_IN, **PRESETS}.items():
        if name in BUILT_IN or preset.key_env is None:
            found[name] = _from_preset(name, preset, environment)
    return found


class ProviderReader:
    """Reads provider tables of one file. `kinds` are the kinds that a provider may have."""

    def __init__(self, reader: Reader, kinds: Collection[str], environment: Mapping[str, str]) -> None:
        self._reader = reader
        self._kinds = tuple(kind for kind in kinds if kind not in _OF_BUILT_IN)
        self._environment = environment

    def keys(self, table: Node) -> dict[str, KeySource]:
        """`keys: {host: {key_env}}`, by host; a host without a port is the one behind https."""
        found = {}
        for host, node in table.items():
            if not _HOST.fullmatch(host):
                self._reader.wrong_key(table, host, f"'{host}' is not a host", "write host or host:port")
            elif self._reader.mapping(node, f"keys.{host}"):
                for key in set(dict(node.items())) - set(_KEYS):
                    self._reader.unknown_key(node, key, _KEYS)
                source = self._key(node)
                if source is not None:
                    found[host] = source
                elif not dict(node.items()):
                    self._reader.wrong(node, f"keys.{host} says no key", "name one in key_env or key_file")
        return found

    def operators(self, table: Node) -> dict[str, ProviderSettings]:
        """The operator's own providers, built-ins and presets among them."""
        found = {}
        for name, node in table.items():
            preset = BUILT_IN.get(name) or PRESETS.get(name)
            if self._good_name(table, name) and self._reader.mapping(node, f"providers.{name}"):
                one = self._one(name, node, preset)
                if one is not None:
                    found[name] = one
        return found

    def projects(
        self, table: Node, taken: Collection[str], keys: Mapping[str, KeySource]
    ) -> dict[str, ProviderSettings]:
        """A project's providers: never one of `taken`, and no key but one that the operator bound."""
        found = {}
        for name, node in table.items():
            if name in taken or name in PRESETS:
                hint = "choose another name" if name in taken else "the operator has to set it up"
                self._reader.wrong_key(table, name, f"a project cannot define provider '{name}'", hint)
            elif self._good_name(table, name) and self._reader.mapping(node, f"providers.{name}"):
                one = self._one(name, node, None)
                if one is not None:
                    found[name] = replace(one, trusted=False, key=_bound(one.base_url, keys))
        return found

    def _good_name(self, table: Node, name: str) -> bool:
        if _NAME.fullmatch(name):
            return True
        hint = "use small letters, digits, - and _"
        self._reader.wrong_key(table, name, f"'{name}' cannot be a provider's name", hint)
        return False

    def _one(self, name: str, node: Node, preset: Preset | None) -> ProviderSettings | None:
        values = self._fields(name, node)
        kind = values.get("kind") or (preset.kind if preset else "openai-chat")
        bad = False
        if "kind" in values and preset is not None and kind != preset.kind:
            self._reader.wrong(values["kind_node"], f"provider '{name}' is always of kind {preset.kind}")
            bad = True
        elif "kind" in values and preset is None and kind not in self._kinds:
            self._reader.wrong(
                values["kind_node"], f"unknown kind '{kind}'", suggest(str(kind), self._kinds)
            )
            bad = True
        if preset is None and "base_url" not in values and node.get("base_url") is None:
            self._reader.wrong(
                node, f"provider '{name}' needs a base_url", "write base_url: https://host/v1"
            )
            bad = True
        if bad:
            return None
        base = _from_preset(name, preset or Preset(str(kind), None, None, ""), self._environment)
        url = (
            base.base_url if _env_url(preset, self._environment) else values.get("base_url", base.base_url)
        )
        loopback = url is not None and is_loopback(url)
        price = values.get("price", FREE if loopback else None)
        return replace(
            base,
            base_url=url,
            loopback=loopback,
            price=price,
            key=self._key(node) or base.key,
            window=values.get("window"),
            tokens_field=values.get("max_tokens_field", base.tokens_field),
        )

    def _fields(self, name: str, node: Node) -> dict[str, Any]:
        known = _OF_BUILT_IN.get(name, tuple(_FIELDS))
        values: dict[str, Any] = {}
        for key, one in node.items():
            setting = _FIELDS.get(key)
            if setting is None or key not in known:
                self._reader.unknown_key(node, key, known or ("nothing can be set here",))
            elif self._reader.layer == "project" and setting.by == "operator":
                self._reader.not_operators(node, key, f"providers.{name}.{key}")
            elif key == "price":
                found, price = self._price(one)
                values |= {"price": price} if found else {}
            elif key not in _KEYS:
                good, value = self._reader.scalar(one, setting)
                complaint = check_url(value) if good and key == "base_url" else None
                if complaint:
                    self._reader.wrong(one, complaint, "keys go into key_env or key_file")
                elif good:
                    values |= {key: value, f"{key}_node": one}
        return values

    def _key(self, node: Node) -> KeySource | None:
        variable, file = node.get("key_env"), node.get("key_file")
        if self._reader.layer == "project":
            return None
        if variable is not None and file is not None:
            self._reader.wrong(file, "both key_env and key_file", "name one of them")
            return None
        if variable is not None:
            good, name = self._reader.scalar(variable, _KEYS["key_env"])
            if good and _VARIABLE.fullmatch(name):
                return KeySource(env=name, origin=self._reader.origin(variable))
            if good:
                hint = "write its name in capitals; the key itself never goes here"
                self._reader.wrong(variable, "key_env takes the name of an environment variable", hint)
        elif file is not None:
            good, text = self._reader.scalar(file, _KEYS["key_file"])
            path = self._reader.file_path(file, text) if good else None
            if path is not None:
                return KeySource(file=path, origin=self._reader.origin(file))
        return None

    def _price(self, node: Node) -> tuple[bool, Rates | None]:
        """(True, None) stands for published prices."""
        if node.kind == "scalar" and node.text in ("free", "published"):
            return True, FREE if node.text == "free" else None
        if node.kind != "map":
            self._reader.wrong(node, "a price is free, published, or {input: 1.25, output: 10}")
            return False, None
        rates: dict[str, Decimal] = {}
        good = True
        for key, one in node.items():
            if key not in _PRICES:
                self._reader.unknown_key(node, key, _PRICES)
                good = False
                continue
            try:
                rates[key] = parse_usd(one.text)
            except ValueError as error:
                self._reader.wrong(one, f"price.{key}: {error}")
                good = False
        if good and not {"input", "output"} <= set(rates):
            self._reader.wrong(node, "a price has at least input and output")
            good = False
        return good, Rates(**rates, source="settings") if good else None


def _from_preset(name: str, preset: Preset, environment: Mapping[str, str]) -> ProviderSettings:
    url = _env_url(preset, environment) or preset.base_url
    loopback = name == "local" or (url is not None and is_loopback(url))
    return ProviderSettings(
        name,
        preset.kind,
        base_url=url,
        key=KeySource(env=preset.key_env, origin=DEFAULT) if preset.key_env else None,
        price=FREE if loopback or name == "replay" else None,
        publisher=preset.publisher,
        tokens_field=preset.tokens_field,
        loopback=loopback,
    )


def _env_url(preset: Preset | None, environment: Mapping[str, str]) -> str | None:
    variable = preset.base_url_env if preset else None
    return environment.get(variable) or None if variable else None


def _bound(base_url: str | None, keys: Mapping[str, KeySource]) -> KeySource | None:
    """The operator's key for that very host and port; in the clear only on this machine."""
    parts = urlsplit(base_url or "")
    if parts.scheme != "https" and not is_loopback(base_url or ""):
        return None
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return keys.get(f"{shown}:{port}") or (
        keys.get(shown) if parts.scheme == "https" and port == 443 else None
    )


def env_origin(name: str, environment: Mapping[str, str]) -> Origin | None:
    """Where a built-in's base URL comes from when the environment names it."""
    preset = BUILT_IN.get(name)
    if preset is None or not _env_url(preset, environment):
        return None
    return Origin("environment", preset.base_url_env or "")
