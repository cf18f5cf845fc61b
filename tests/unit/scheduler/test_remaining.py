"""How long an execution goes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.policies.remaining import stay


def test_what_has_just_begun_takes_as_long_as_expected() -> None:
    found = stay(10.0, 1.5, 0.0)
    assert found.middle_s == pytest.approx(10.0)
    assert found.earliest_s < 10.0 / 1.5 and found.latest_s > 10.0 * 1.5


def test_what_runs_for_longer_than_expected_is_expected_to_go_on() -> None:
    found = stay(10.0, 1.5, 30.0)
    assert 30.0 < found.earliest_s < found.middle_s < found.latest_s


def test_what_is_none_of_its_kind_goes_on_for_as_long_again() -> None:
    assert stay(0.001, 1.0, 60.0).middle_s == 120.0


@given(expected_s=st.floats(0, 1e6), spread=st.floats(1.0, 100.0), passed_s=st.floats(0, 1e6))
def test_it_never_ended_in_the_past_and_the_middle_lies_between(
    expected_s: float, spread: float, passed_s: float
) -> None:
    found = stay(expected_s, spread, passed_s)
    assert passed_s <= found.earliest_s <= found.middle_s <= found.latest_s


@given(passed=st.tuples(st.floats(0, 1e5), st.floats(0, 1e5)))
def test_the_longer_it_runs_the_later_it_ends(passed: tuple[float, float]) -> None:
    sooner, later = sorted(passed)
    assert stay(10.0, 2.0, sooner).middle_s <= stay(10.0, 2.0, later).middle_s * (1 + 1e-6)
