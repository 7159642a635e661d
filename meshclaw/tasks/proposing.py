"""Checks `propose:`: patterns that can hold, and nothing in it that would run at once instead."""

from __future__ import annotations

from collections.abc import Iterator

from meshclaw.documents import Node
from meshclaw.policies import FULL_SHELL, matches_command, run_pattern_problem
from meshclaw.shell_syntax import parse_pattern
from meshclaw.tasks.values import Reader


def check_propose(reader: Reader, root: Node) -> None:
    """Adds a Problem for every pattern of `propose` that does not mean what it seems to."""
    node = root.get("propose")
    if node is None:
        return
    tools = root.get("tools")
    if "shell" not in [item.text for item in _items(tools)]:
        reader.problem_at(root.key_place("propose"), "'propose' needs the tool shell", "add it to tools")
    allow = root.get("allow")
    allowed = [item.text for item in _items(allow.get("run") if allow else None)]
    for item in _items(node):
        if "{{" in item.text:
            reader.problem(item, "'{{' is not allowed in propose", "what is proposed is fixed beforehand")
        elif wrong := run_pattern_problem(item.text):
            reader.problem(item, f"'{item.text}' can never match: {wrong}")
        elif wider := next((pattern for pattern in allowed if _covers(pattern, item.text)), None):
            message = f"'{item.text}' would run at once: allow.run has '{wider}'"
            reader.problem(item, message, "name in allow.run what may run without a person")


def _items(node: Node | None) -> Iterator[Node]:
    for item in node.value if node is not None and node.kind == "list" else ():
        if item.kind == "scalar":
            yield item


def _covers(wide: str, narrow: str) -> bool:
    """Whether `wide` surely matches all that `narrow` does: a star can only be matched by a star."""
    if wide in (FULL_SHELL, narrow):
        return True
    wide_words, narrow_words = parse_pattern(wide), parse_pattern(narrow)
    if not isinstance(wide_words, tuple) or not isinstance(narrow_words, tuple):
        return False
    return matches_command([word.text for word in narrow_words], wide_words)
