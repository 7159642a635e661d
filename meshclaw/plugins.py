"""Entry points -> factories. Built-ins come through the very same groups, and cannot be shadowed.

Nothing is imported before it is named. A built-in is found in our own distribution's entry points
(0.2 ms); only where all names are asked for is every installed distribution looked through (some ms).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from meshclaw.errors import Problem, ProblemsError

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

Group = Literal["providers", "runners", "tools", "checks"]
GROUPS: tuple[Group, ...] = ("providers", "runners", "tools", "checks")
OWN_DISTRIBUTION = "meshclaw"
_ENTRIES = "entry_points.txt"


class Plugins:
    """The entry points of the groups `meshclaw.providers`, `.runners`, `.tools` and `.checks`.

    `path` is where distributions are looked for, first ones first (default: `sys.path`).
    """

    def __init__(self, path: Iterable[str] | None = None) -> None:
        self._path = None if path is None else list(path)

    def names(self, group: Group) -> tuple[str, ...]:
        """All names of a group, built-ins first; nothing is imported."""
        own = self._own.get(group, {})
        return (*own, *sorted(name for name in self._others.get(group, {}) if name not in own))

    def load(self, group: Group, name: str) -> Any:
        """Imports and returns what `name` stands for: usually a class.

        Raises ProblemsError for an unknown or ambiguous name, and when the import fails.
        """
        entry = self._own.get(group, {}).get(name)
        if entry is None:
            entry = self._other(group, name)
        try:
            return entry.load()
        except Exception as error:
            # A plugin may fail in any way; whatever it was, the user has to be told whose it is.
            source = _distribution(entry)
            message = f"plugin '{name}' of {source} cannot be loaded: {type(error).__name__}: {error}"
            raise ProblemsError([Problem(_place(group), 0, 0, message, f"reinstall {source}")]) from error

    def source(self, group: Group, name: str) -> str | None:
        """The distribution and version that a plug-in comes from; None for what is built in.

        Raises ProblemsError for an unknown or ambiguous name.
        """
        return None if name in self._own.get(group, {}) else _distribution(self._other(group, name))

    def problems(self) -> list[Problem]:
        """What is installed but not used: names of built-ins, and names that two distributions claim."""
        found = []
        for group in GROUPS:
            for name, entries in sorted(self._others.get(group, {}).items()):
                sources = ", ".join(_distribution(entry) for entry in entries)
                if name in self._own.get(group, {}):
                    message = f"'{name}' of {sources} is ignored: it is built in"
                    found.append(Problem(_place(group), 0, 0, message, "a plugin needs a name of its own"))
                elif len(entries) > 1:
                    message = f"'{name}' comes from several distributions: {sources}"
                    found.append(Problem(_place(group), 0, 0, message, "uninstall all but one"))
        return found

    def _other(self, group: Group, name: str) -> EntryPoint:
        entries = self._others.get(group, {}).get(name, [])
        if len(entries) == 1:
            return entries[0]
        if entries:
            sources = ", ".join(_distribution(entry) for entry in entries)
            message = f"'{name}' comes from several distributions: {sources}"
            raise ProblemsError([Problem(_place(group), 0, 0, message, "uninstall all but one")])
        known = self.names(group)
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known) or 'none'}"
        raise ProblemsError(
            [Problem(_place(group), 0, 0, f"unknown {group.removesuffix('s')} '{name}'", hint)]
        )

    @cached_property
    def _own(self) -> dict[str, dict[str, EntryPoint]]:
        own = next(self._distributions(OWN_DISTRIBUTION), None)
        found: dict[str, dict[str, EntryPoint]] = {}
        for entry in own.entry_points if own else ():
            group = _group(entry)
            if group is not None:
                found.setdefault(group, {})[entry.name] = entry
        if not found:
            hint = "install it with pip, pipx or uv; a bare checkout has no entry points"
            raise ProblemsError([Problem("plugins", 0, 0, "MeshClaw's own entry points are missing", hint)])
        return found

    @cached_property
    def _others(self) -> dict[str, dict[str, list[EntryPoint]]]:
        # A distribution's name takes long to read: only of those that may have something is it asked.
        speaking = [one for one in self._distributions() if "meshclaw." in (one.read_text(_ENTRIES) or "")]
        found: dict[str, dict[str, list[EntryPoint]]] = {}
        seen = {OWN_DISTRIBUTION}
        for one in speaking:
            name = _normal(one.name)
            if name in seen:
                continue
            seen.add(name)
            # A second copy further down the path is not the one that would be imported.
            first = next(self._distributions(name), one) if name else one
            for entry in first.entry_points:
                group = _group(entry)
                if group is not None:
                    found.setdefault(group, {}).setdefault(entry.name, []).append(entry)
        return found

    def _distributions(self, name: str | None = None) -> Iterator[Distribution]:
        from importlib.metadata import distributions

        path = sys.path if self._path is None else self._path
        return iter(distributions(path=path, name=name) if name else distributions(path=path))


def _group(entry: EntryPoint) -> str | None:
    prefix, _, group = entry.group.partition(".")
    return group if prefix == "meshclaw" and group in GROUPS else None


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"


def _place(group: Group) -> str:
    return f"meshclaw.{group}"


def _normal(name: str | None) -> str:
    return (name or "").lower().replace("_", "-").replace(".", "-")
