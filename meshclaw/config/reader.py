"""Reads one settings file and collects its Problems."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from pathlib import Path
from typing import Any

from meshclaw.config.setting import Setting
from meshclaw.config.values import Layer, Origin, suggest
from meshclaw.documents import Node, parse, read_file
from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass

SECRET_WORDS = frozenset({"key", "api_key", "apikey", "token", "secret", "password", "authorization"})


@dataclass(slots=True)
class Reader:
    """One settings file: `layer` says whose it is, `operator_file` where the operator's settings belong.

    Whatever is wrong is added to `problems`, and what could not be read is None.
    """

    layer: Layer
    path: Path
    operator_file: Path | None
    home: str | None
    problems: list[Problem] = field(default_factory=list)

    def read(self) -> Node:
        """The file's root mapping; an empty one when the file is missing or not readable as settings."""
        nothing = Node("map", {}, 1, 1)
        try:
            root = parse(read_file(self.path), str(self.path), self.problems)
        except FileNotFoundError:
            return nothing
        except OSError as error:
            self.problems.append(Problem(str(self.path), 0, 0, f"cannot be read: {error.strerror}"))
            return nothing
        except ProblemsError as error:
            self.problems.extend(error.problems)
            return nothing
        if root.kind != "map":
            self.wrong(root, "settings are a mapping of names to values")
            return nothing
        return root

    def origin(self, node: Node) -> Origin:
        return Origin(self.layer, str(self.path), node.line, node.column)

    def wrong(self, node: Node, message: str, hint: str = "") -> None:
        self.problems.append(Problem(str(self.path), node.line, node.column, message, hint))

    def wrong_key(self, table: Node, key: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(str(self.path), *table.key_place(key), message, hint))

    def unknown_key(self, table: Node, key: str, known: Iterable[str]) -> None:
        """A key that means nothing; its value may be a secret and is never shown."""
        if key.lower().replace("-", "_") in SECRET_WORDS:
            hint = "name its environment variable in key_env, or a file of mode 0600 in key_file"
            self.wrong_key(table, key, f"'{key}': a key is never kept in settings", hint)
        else:
            self.wrong_key(table, key, f"unknown key '{key}'", suggest(key, tuple(known)))

    def not_operators(self, table: Node, key: str, name: str) -> None:
        """A project's key that only the operator may set."""
        where = self.operator_file or "the operator's settings"
        self.wrong_key(table, key, f"only the operator's settings may set '{name}'", f"move it to {where}")

    def mapping(self, node: Node, name: str) -> bool:
        """Whether `node` is a mapping; nothing at all counts as an empty one."""
        if node.kind == "map" or (node.kind == "scalar" and node.plain and node.value is None):
            return True
        self.wrong(node, f"'{name}' takes a mapping of names to values")
        return False

    def scalar(self, node: Node, setting: Setting) -> tuple[bool, Any]:
        """(True, value), or (False, None) after adding a Problem."""
        if setting.kind == "texts":
            return self._texts(node, setting)
        if node.kind != "scalar":
            self.wrong(node, f"'{setting.key}' takes one value, not a {node.kind}")
            return False, None
        try:
            return True, setting.parse("" if node.plain and node.value is None else node.text)
        except ValueError as error:
            self.wrong(node, f"{setting.key}: {error}")
            return False, None

    def _texts(self, node: Node, setting: Setting) -> tuple[bool, Any]:
        if node.kind != "list":
            self.wrong(node, f"'{setting.key}' takes a list", f"write {setting.key.split('.')[-1]}: [...]")
            return False, None
        items = []
        for item in node.value:
            if item.kind != "scalar" or not isinstance(item.value, str):
                self.wrong(item, f"an item of '{setting.key}' must be text", "quote it")
                continue
            try:
                items.append(setting.parse(item.text))
            except ValueError as error:
                self.wrong(item, f"{setting.key}: {error}")
        return len(items) == len(node.value), tuple(items)

    def file_path(self, node: Node, text: str) -> Path | None:
        """An operator's path: `~` is the home, a relative path starts from the settings file's folder."""
        path = expand_home(text, self.home)
        if path is None:
            self.wrong(node, f"'{text}' cannot be resolved", "write the whole path: HOME is not set")
            return None
        return self.path.parent / path

    def beneath(self, node: Node, text: str) -> Path | None:
        """A project's path: relative, and beneath the project even when links are followed."""
        root = self.path.parent
        path = Path(text)
        if path.is_absolute() or text.startswith("~") or ".." in path.parts:
            self.wrong(node, f"'{text}' is not beneath the project", "write a path relative to it")
            return None
        if not (root / path).resolve().is_relative_to(root.resolve()):
            self.wrong(node, f"'{text}' leads out of the project through a link")
            return None
        return root / path


def expand_home(text: str, home: str | None) -> Path | None:
    """`text` as a path, a leading `~` replaced by `home`; None when there is no home to put there."""
    if text == "~" or text.startswith("~/"):
        return Path(home, text[2:]) if home else None
    return Path(text)
