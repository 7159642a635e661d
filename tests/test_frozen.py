"""Frozen, slotted classes made by the package's `dataclass` behave as the standard library's own do."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import operator
import pickle
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, InitVar, field
from functools import partial
from typing import Any, get_type_hints

import pytest
from sample_classes import CALLS, classes

from meshclaw import frozen

made_by_ours: Any = frozen.dataclass
made_by_theirs: Any = dataclasses.dataclass


OURS = classes(made_by_ours)
THEIRS = classes(made_by_theirs)


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or how it fails; without the function's place, which the two write differently."""
    try:
        return call()
    except Exception as error:
        return type(error).__name__, str(error).rpartition("<locals>.")[2]


@pytest.mark.parametrize(("name", "given", "named"), CALLS)
def test_values_are_made_and_shown_alike(name: str, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    def shown(known: Mapping[str, Any]) -> Any:
        return outcome(lambda: repr(known[name](*given, **named)))

    assert shown(OURS) == shown(THEIRS)


@pytest.mark.parametrize("name", OURS)
def test_the_classes_look_alike(name: str) -> None:
    ours, theirs = OURS[name], THEIRS[name]
    assert str(inspect.signature(ours)) == str(inspect.signature(theirs))
    for what in ("__slots__", "__match_args__", "__qualname__", "__module__", "__annotations__"):
        assert getattr(ours, what) == getattr(theirs, what), what
    of_fields = [
        [(one.name, one.type, one.repr, one.compare, one.kw_only) for one in dataclasses.fields(cls)]
        for cls in (ours, theirs)
    ]
    assert of_fields[0] == of_fields[1]
    assert ours.__init__.__annotations__ == theirs.__init__.__annotations__
    for what in ("__qualname__", "__module__", "__name__"):
        assert getattr(ours.__init__, what) == getattr(theirs.__init__, what), what
    for what in ("__init__", "__eq__", "__hash__", "__repr__", "__lt__"):
        assert (what in vars(ours)) == (what in vars(theirs)), what


def pairs(known: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Values to compare with each other, of one class and of two."""
    nan = float("nan")
    several, place, deeper, own = known["Several"], known["Place"], known["Deeper"], known["Own"]
    values = [
        known["Empty"](),
        known["One"]("a"),
        known["One"]("b"),
        known["One"](nan),
        several("a"),
        several("a", hash="another"),
        several("a", hidden="another"),
        place(1, 2),
        place(1, 2, "text"),
        place(1, 3),
        place(2),
        deeper(1, 2),
        deeper(1, 2, "", 1),
        known["Unordered"](1, 2, "", 1),
        known["Unordered"](1, 2, "", 2),
        known["Checked"](0.5),
        own("a"),
        own("A"),
        known["Hashed"]("a"),
        "a",
        None,
    ]
    return [(a, b) for a in values for b in values]


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_values_compare_alike(name: str) -> None:
    compare = getattr(operator, name)
    ours = [outcome(partial(compare, a, b)) for a, b in pairs(OURS)]
    theirs = [outcome(partial(compare, a, b)) for a, b in pairs(THEIRS)]
    assert ours == theirs
    assert {True, False} <= set(ours)


@pytest.mark.parametrize(
    "name", ["Empty", "One", "Several", "Place", "Deeper", "Own", "Hashed", "Unhashable", "Tree"]
)
def test_values_are_hashed_alike(name: str) -> None:
    given: Any = () if name == "Empty" else (1,)
    ours, theirs = OURS[name](*given), THEIRS[name](*given)
    assert outcome(lambda: hash(ours)) == outcome(lambda: hash(theirs))


def test_values_are_told_apart_in_sets() -> None:
    one, place = OURS["One"], OURS["Place"]
    assert {one("a"), one("a"), one("b")} == {one("b"), one("a")}
    assert len({place(1, 2, "a"), place(1, 2, "b")}) == 1


class Counted:
    """Counts how often it is compared and hashed."""

    def __init__(self) -> None:
        self.times = 0

    def __eq__(self, other: object) -> bool:
        self.times += 1
        return True

    def __hash__(self) -> int:
        self.times += 1
        return 1


@pytest.mark.parametrize("name", ["One", "Place"])
def test_what_is_within_is_looked_at_once(name: str) -> None:
    def nested(inner: object) -> Any:
        for _ in range(10):
            inner = OURS[name](inner)
        return inner

    counted = Counted()
    assert nested(counted) == nested(Counted())
    assert counted.times == 1
    hash(nested(counted))
    assert counted.times == 2


def test_nothing_can_be_set_or_deleted() -> None:
    value = OURS["Several"]("a")
    for name in ("name", "count", "twice", "other"):
        with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(value, name, 1)
        with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
            delattr(value, name)
    assert value == OURS["Several"]("a")


def test_every_value_has_a_default_of_its_own() -> None:
    first, second = OURS["Several"]("a"), OURS["Several"]("a")
    assert first.texts is not second.texts
    assert OURS["Several"]("a", texts=first.texts).texts is first.texts


@pytest.mark.parametrize(
    ("name", "given"),
    [("Several", {"name": "a", "texts": {"x": "y"}}), ("Named", {"first": 1}), ("Deeper", {"line": 1})],
)
def test_the_standard_library_s_functions_work_on_them(name: str, given: dict[str, Any]) -> None:
    ours: Any = OURS[name](**given)
    theirs: Any = THEIRS[name](**given)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert dataclasses.astuple(ours) == dataclasses.astuple(theirs)
    changed: dict[str, Any] = {next(iter(given)): "changed"}
    assert repr(dataclasses.replace(ours, **changed)) == repr(dataclasses.replace(theirs, **changed))
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        dataclasses.replace(ours, nothing=1)
    assert copy.copy(ours) == ours
    assert copy.deepcopy(ours) == ours


@frozen.dataclass(frozen=True, slots=True)
class Kept:
    """At the module's level, where pickle finds it."""

    name: str
    inner: Kept | None = None


def test_values_survive_pickling() -> None:
    kept = Kept("a", Kept("b"))
    assert pickle.loads(pickle.dumps(kept)) == kept


def test_a_value_that_holds_itself_can_be_shown() -> None:
    ours, theirs = OURS["Tree"]([]), THEIRS["Tree"]([])
    ours.leaves.append(ours)
    theirs.leaves.append(theirs)
    assert repr(ours) == repr(theirs)
    assert "..." in repr(ours)


def test_a_subclass_shows_its_own_name_and_stays_frozen() -> None:
    class Sub(Kept):
        """No dataclass of its own."""

    value: Any = Sub("a")
    assert repr(value) == f"{Sub.__qualname__}(name='a', inner=None)"
    assert value != Kept("a")
    with pytest.raises(FrozenInstanceError):
        value.other = 1


def test_what_is_not_frozen_is_the_standard_library_s() -> None:
    @frozen.dataclass(slots=True)
    class Mutable:
        count: int = 0

    value = Mutable()
    value.count = 2
    assert value == Mutable(2)
    assert Mutable.__dataclass_params__.eq  # type: ignore[attr-defined]


def test_how_values_differ_is_shown_field_by_field() -> None:
    """pytest looks at where `__eq__` is from."""
    assert Kept.__eq__.__code__.co_filename == THEIRS["One"].__eq__.__code__.co_filename


def test_the_annotations_of_init_can_be_read() -> None:
    assert get_type_hints(Kept.__init__) == {"name": str, "inner": Kept | None, "return": type(None)}


def unsettled() -> type:
    class Unsettled:
        name: str = field(init=False)

    return Unsettled


def aside() -> type:
    class Aside:
        name: str = field(hash=False)

    return Aside


def initial() -> type:
    class Initial:
        name: InitVar[str]

    return Initial


def setting() -> type:
    class Setting:
        name: str

        def __setattr__(self, name: str, value: object) -> None:
            """Its own way."""

    return Setting


def ordering() -> type:
    class Ordering:
        name: str

        def __lt__(self, other: object) -> bool:
            return False

    return Ordering


@pytest.mark.parametrize("made", [unsettled, aside, initial, setting, ordering])
def test_what_is_not_done_is_refused(made: Callable[[], type]) -> None:
    with pytest.raises(TypeError, match=rf"^{made.__name__.title()}[ .:]"):
        made_by_ours(frozen=True, slots=True, order=True)(made())


def test_mistakes_in_a_class_are_found_as_they_are_made() -> None:
    with pytest.raises(SyntaxError, match="non-default argument follows default argument"):

        @made_by_ours(frozen=True, slots=True)
        class Misplaced:
            first: int = 0
            second: str

    with pytest.raises(ValueError, match="mutable default"):

        @made_by_ours(frozen=True, slots=True)
        class Shared:
            items: list[int] = []
