"""`dataclass` of the standard library, which makes frozen, slotted classes in a third of the time.

That one compiles six methods of every such class, a tenth of a second for those that one command needs.
Here only `__init__` is compiled; the others are closures. Any other class is left to the standard library.
`benchmarks/frozen_classes.py` measures it.
"""

from __future__ import annotations

import abc
import dataclasses
import operator
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from operator import attrgetter
from reprlib import recursive_repr
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen=False, slots=False, order=False, kw_only=False, **options):
        """A class decorator with the standard library's arguments, and classes that behave as its own do.

        What is not done is refused with TypeError when the class is made: fields with `init=False` or a
        `hash` of their own, InitVar, and bases that the standard library has frozen. Two things differ: a
        subclass that is no dataclass is frozen as well, whatever it adds, and cannot declare a slot again.
        """
        if options or not (frozen and slots):
            return dataclasses.dataclass(
                frozen=frozen, slots=slots, order=order, kw_only=kw_only, **options
            )

        def freeze(cls):
            # A class without a docstring would be given its signature, which takes long to find out.
            cls.__doc__ = cls.__doc__ or cls.__name__
            plain = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)
            return _frozen(plain(cls), _EQUAL | _ORDER if order else _EQUAL)

        return freeze


def _frozen(cls: Any, comparisons: dict[str, Callable[[Any, Any], Any]]) -> Any:
    own = vars(cls)
    for name in ("__setattr__", "__delattr__", *(comparisons.keys() - _EQUAL)):
        if name in own:
            raise TypeError(f"{cls.__name__} has a {name} of its own")
    parts = fields(cls)
    compared = _getter([part.name for part in parts if part.compare])
    shown = [part.name for part in parts if part.repr]
    made: dict[str, Callable[..., Any]] = {
        name: _comparison(compare, compared) for name, compare in comparisons.items()
    }
    if "__hash__" not in own or (own["__hash__"] is None and "__eq__" in own):
        cls.__hash__ = lambda self: hash(compared(self))
    made |= {"__repr__": _representation(shown), "__getstate__": _getstate, "__setstate__": _setstate}
    if "__init__" not in own:
        made["__init__"] = _initialiser(cls, parts)
    for name, method in made.items():
        if name not in own:
            setattr(cls, name, method)
    cls.__setattr__ = _setattr
    cls.__delattr__ = _delattr
    return abc.update_abstractmethods(cls)


def _getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What gives the values of these fields."""
    if len(names) > 1:
        return attrgetter(*names)
    if not names:
        return lambda self: ()
    only = attrgetter(*names)
    return lambda self: (only(self),)


def _initialiser(cls: Any, parts: Sequence[Field[Any]]) -> Callable[..., None]:
    """`__init__` for these fields. Only their names become source text; what they hold is handed in."""
    handed: dict[str, Any] = {"_frozen_made": _MADE}
    plain: list[str] = []
    named: list[str] = []
    body: list[str] = []
    for part in parts:
        name = value = part.name
        default = ""
        if not part.init or part.hash is not None:
            raise TypeError(f"{cls.__name__}.{name}: neither init=False nor hash is supported")
        if part.default is not MISSING:
            handed[f"_frozen_default_{name}"] = part.default
            default = f"=_frozen_default_{name}"
        elif part.default_factory is not MISSING:
            handed[f"_frozen_make_{name}"] = part.default_factory
            default = "=_frozen_made"
            value = f"_frozen_make_{name}() if {name} is _frozen_made else {name}"
        (named if part.kw_only else plain).append(name + default)
        # The slot itself sets a third faster than `object.__setattr__`, which looks for it first.
        handed[f"_frozen_set_{name}"] = getattr(cls, name).__set__
        body.append(f"  _frozen_set_{name}(self, {value})")
    if set(cls.__match_args__) - {part.name for part in parts}:
        raise TypeError(f"{cls.__name__}: InitVar is not supported")
    if hasattr(cls, "__post_init__"):
        body.append("  self.__post_init__()")
    parameters = ", ".join(["self", *plain, *(["*", *named] if named else [])])
    head = [f"def make({', '.join(handed)}):", f" def __init__({parameters}):"]
    found: dict[str, Any] = {}
    exec("\n".join([*head, *body, "  return", " return __init__"]), _names(cls), found)  # noqa: S102
    made: Callable[..., None] = found["make"](**handed)
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__annotations__ = {**{part.name: part.type for part in parts}, "return": None}
    return made


def _names(cls: Any) -> dict[str, Any]:
    """Where the annotations of a class are looked up."""
    module = sys.modules.get(cls.__module__)
    return {} if module is None else vars(module)


class _Made:
    """Stands for a default that is made anew for each value, as in the standard library's signatures."""

    def __repr__(self) -> str:
        return "<factory>"


_MADE = _Made()
_EQUAL = {"__eq__": operator.eq}
_ORDER = {"__lt__": operator.lt, "__le__": operator.le, "__gt__": operator.gt, "__ge__": operator.ge}


def _comparison(
    compare: Callable[[Any, Any], Any], compared: Callable[[Any], Any]
) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        if type(self) is not type(other):
            return NotImplemented
        return compare(compared(self), compared(other))

    return method


# pytest tells field by field how two values differ if their `__eq__` says that it is from this file.
_comparison.__code__ = _comparison.__code__.replace(
    co_consts=tuple(
        const.replace(co_filename="<string>") if isinstance(const, CodeType) else const
        for const in _comparison.__code__.co_consts
    )
)


def _representation(names: Sequence[str]) -> Callable[[Any], str]:
    @recursive_repr()
    def method(self: Any) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({', '.join(shown)})"

    return method


def _setattr(self: Any, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, part.name) for part in fields(self)]


def _setstate(self: Any, state: Sequence[Any]) -> None:
    for part, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, part.name, value)
