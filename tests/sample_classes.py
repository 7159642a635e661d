"""The same classes with every kind of field, made by any decorator that is called like `dataclass`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import field
from typing import Any, ClassVar


def classes(dataclass: Any) -> dict[str, Any]:
    """The same classes, by one decorator or the other."""

    @dataclass(frozen=True, slots=True)
    class Empty:
        """Nothing."""

    @dataclass(frozen=True, slots=True)
    class One:
        name: str

    @dataclass(frozen=True, slots=True)
    class Several:
        """With every kind of field."""

        kind: ClassVar[str] = "several"
        name: str
        count: int | None = None
        texts: Mapping[str, str] = field(default_factory=dict)
        hidden: str = field(default="", repr=False)
        hash: str = field(default="", compare=False)

        @property
        def twice(self) -> str:
            return self.name * 2

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Named:
        first: int
        second: int = 2
        third: list[int] = field(default_factory=list)

    @dataclass(frozen=True, slots=True, order=True)
    class Place:
        line: int
        column: int = 0
        text: str = field(default="", compare=False)

    @dataclass(frozen=True, slots=True, order=True)
    class Deeper(Place):
        depth: int = 0

    @dataclass(frozen=True, slots=True)
    class Unordered(Place):
        depth: int = 0

    @dataclass(frozen=True, slots=True)
    class Checked:
        share: float

        def __post_init__(self) -> None:
            if not 0 <= self.share <= 1:
                raise ValueError(f"no share: {self.share}")

    @dataclass(frozen=True, slots=True)
    class Own:
        name: str

        def __eq__(self, other: object) -> bool:
            return isinstance(other, type(self)) and self.name.lower() == other.name.lower()

        def __repr__(self) -> str:
            return "own"

    @dataclass(frozen=True, slots=True)
    class Hashed:
        name: str

        def __hash__(self) -> int:
            return 7

    @dataclass(frozen=True, slots=True)
    class Unhashable:
        name: str
        __hash__ = None  # type: ignore[assignment]

    @dataclass(frozen=True, slots=True)
    class Filled(Hashable):
        name: str

    @dataclass(frozen=True, slots=True)
    class Tree:
        leaves: list[Any]

    found = [Empty, One, Several, Named, Place, Deeper, Unordered, Checked]
    found += [Own, Hashed, Unhashable, Filled, Tree]
    return {cls.__name__: cls for cls in found}


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Empty", (), {}),
    ("Empty", (1,), {}),
    ("One", ("a",), {}),
    ("One", (), {}),
    ("One", ("a", "b"), {}),
    ("One", ("a",), {"other": 1}),
    ("One", (float("nan"),), {}),
    ("Several", ("a",), {}),
    ("Several", ("a", 1, {"x": "y"}, "b", "c"), {}),
    ("Several", ("a",), {"hash": "h", "count": 3}),
    ("Named", (), {"first": 1}),
    ("Named", (1,), {}),
    ("Named", (), {"first": 1, "third": [1]}),
    ("Place", (3,), {}),
    ("Place", (3, 4), {"text": "b"}),
    ("Deeper", (3, 4, "t", 5), {}),
    ("Checked", (0.5,), {}),
    ("Checked", (2,), {}),
    ("Own", ("a",), {}),
    ("Hashed", ("a",), {}),
    ("Filled", ("a",), {}),
    ("Tree", ([],), {}),
]
"""A class, and how it is called: rightly or not."""
