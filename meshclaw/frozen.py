"""`dataclass` of the standard library, which makes frozen, slotted classes in a third of the time.

It compiles each method of each class: a tenth of a second for the classes that one command needs. Here they
share all methods but `__init__`. Any other class is left to the standard library.
`benchmarks/frozen_classes.py` measures it.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen=False, slots=False, order=False, kw_only=False, **options):
        """A class decorator with the standard library's arguments, and classes that behave as its own do.

        One thing differs: a subclass that is no dataclass is frozen as well, whatever it adds.
        """
        if options or not (frozen and slots):
            return dataclasses.dataclass(
                frozen=frozen, slots=slots, order=order, kw_only=kw_only, **options
            )

        def freeze(cls):
            # A class without one would be given its signature, which takes long to find out.
            cls.__doc__ = cls.__doc__ or cls.__name__
            plain = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)
            return _frozen(plain(cls), _ORDER if order else {})

        return freeze


def _frozen(cls: Any, methods: Mapping[str, Any]) -> Any:
    own = vars(cls)
    compared = [field.name for field in fields(cls) if field.compare]
    # A getter of one name gives its value: twice, so that it is a tuple. One of no name there is not.
    cls.__compared__ = attrgetter(*compared, *compared) if compared else lambda self: ()
    for name, method in {**_SHARED, **methods}.items():
        if name not in own:
            setattr(cls, name, method)
    if own.get("__hash__") is None:  # which it also is where a class has an `__eq__` of its own
        cls.__hash__ = _hash
    if "__init__" not in own:
        cls.__init__ = _init(fields(cls), post=hasattr(cls, "__post_init__"))
        cls.__init__.__qualname__ = f"{cls.__qualname__}.__init__"
    cls.__setattr__ = _setattr
    cls.__delattr__ = _delattr
    return cls


def _init(wanted: Sequence[Field[Any]], *, post: bool) -> Callable[..., None]:
    """`__init__` for these fields. Only their names become source text; what they hold is handed in."""
    handed: dict[str, Any] = {"_set": object.__setattr__, "_made": _MADE}
    plain: list[str] = []
    named: list[str] = []
    body: list[str] = []
    for field in wanted:
        name, default = field.name, ""
        value = name
        if field.default is not MISSING:
            handed[f"_default_{name}"] = field.default
            default = f"=_default_{name}"
        elif field.default_factory is not MISSING:
            handed[f"_make_{name}"] = field.default_factory
            default = "=_made"
            value = f"_make_{name}() if {name} is _made else {name}"
        (named if field.kw_only else plain).append(name + default)
        body.append(f" _set(self, {name!r}, {value})")
    if post:
        body.append(" self.__post_init__()")
    parameters = ", ".join(["self", *plain, *(["*", *named] if named else [])])
    exec("\n".join([f"def __init__({parameters}):", *body, " return"]), handed)  # noqa: S102
    made: Callable[..., None] = handed["__init__"]
    made.__annotations__ = {**{field.name: field.type for field in wanted}, "return": None}
    return made


class _Made:
    """Stands for a default that is made anew for each value, as in the standard library's signatures."""

    def __repr__(self) -> str:
        return "<factory>"


_MADE = _Made()


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _comparison(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        if type(self) is not type(other):
            return NotImplemented
        compared = type(self).__compared__
        return compare(compared(self), compared(other))

    return method


def _hash(self: Any) -> int:
    return hash(type(self).__compared__(self))


def _setattr(self: Any, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in fields(self)]


def _setstate(self: Any, state: Sequence[Any]) -> None:
    for field, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)


_SHARED = {
    "__eq__": _comparison(operator.eq),
    "__repr__": _repr,
    "__getstate__": _getstate,
    "__setstate__": _setstate,
}
_ORDER = {
    "__lt__": _comparison(operator.lt),
    "__le__": _comparison(operator.le),
    "__gt__": _comparison(operator.gt),
    "__ge__": _comparison(operator.ge),
}
