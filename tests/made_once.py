"""What takes whole runs to make, made once in a session however the tests are ordered.

A parametrised fixture of a module is made anew whenever its parameter changes, and tests come in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

T = TypeVar("T")


class Once:
    """By key, which must hold all that the making depends on."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._made: dict[Hashable, Any] = {}

    def made(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._made:
            self._made[key] = make()
        found: T = self._made[key]
        return found

    def entered(self, key: Hashable, make: Callable[[], AbstractContextManager[T]]) -> T:
        """The same for a context, which is left when the session ends."""
        return self.made(key, lambda: self._stack.enter_context(make()))
