"""Sharing a number out among those who want parts of it."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler.policies.sharing_out import share_out


def test_everybody_gets_what_they_want_when_there_is_enough() -> None:
    assert share_out(9, {"a": 5, "b": 3}) == {"a": 5, "b": 3}


def test_what_one_does_not_want_goes_to_the_others() -> None:
    assert share_out(10, {"a": 9, "b": 1, "c": 9}) == {"a": 5, "b": 1, "c": 4}


def test_those_in_front_get_what_cannot_be_divided() -> None:
    assert share_out(1, {"a": 9, "b": 5}) == {"a": 1, "b": 0}


@given(st.integers(0, 50), st.dictionaries(st.integers(), st.integers(0, 30), max_size=6))
def test_nothing_is_wasted_and_nobody_has_more_while_another_wants_more(
    whole: int, wanted: dict[int, int]
) -> None:
    parts = share_out(whole, wanted)
    assert sum(parts.values()) == min(whole, sum(wanted.values()))
    for who, part in parts.items():
        assert 0 <= part <= wanted[who]
        if part < wanted[who]:
            assert all(other <= part + 1 for other in parts.values())
