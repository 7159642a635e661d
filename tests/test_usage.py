from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshclaw.usage import UNKNOWN, ZERO, Usage

counts = st.integers(0, 10**9) | st.none()
usages = st.builds(
    Usage,
    input=counts,
    cache_read=counts,
    cache_write=st.dictionaries(st.sampled_from(["5m", "1h", "other"]), st.integers(0, 10**6)) | st.none(),
    output=counts,
    reasoning=counts,
)


def test_totals_are_derived_from_disjoint_buckets() -> None:
    usage = Usage(input=10, cache_read=100, cache_write={"5m": 5, "1h": 7}, output=20, reasoning=15)
    assert usage.input_total == 122
    assert usage.total == 142


def test_an_unknown_bucket_makes_the_totals_unknown_and_never_zero() -> None:
    assert Usage(input=None, output=3).total is None
    assert UNKNOWN.total is None
    assert (Usage(input=1, output=1) + UNKNOWN).total is None


@given(usages, usages, usages)
def test_adding_is_associative_commutative_and_keeps_zero(a: Usage, b: Usage, c: Usage) -> None:
    assert ((a + b) + c).as_dict() == (a + (b + c)).as_dict()
    assert (a + b).as_dict() == (b + a).as_dict()
    assert (a + ZERO).as_dict()["total"] == a.total


@given(usages, usages)
def test_a_sum_is_known_exactly_when_both_parts_are(a: Usage, b: Usage) -> None:
    assert (a + b).known == (a.known and b.known)
