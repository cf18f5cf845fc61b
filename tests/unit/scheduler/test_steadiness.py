"""How far rates move."""

from math import exp
from random import Random

import pytest

from scheduler.service.steadiness import LAG_S, LEAST_STARTS, USUAL, Steadiness


def told(rates: list[float], over_s: float = 10.0, steadiness: Steadiness | None = None) -> Steadiness:
    """Note rates, one every half second."""
    found = steadiness or Steadiness()
    for number, rate in enumerate(rates):
        found.note(number / 2, rate, over_s)
    return found


def test_before_anything_was_seen_a_usual_spread_is_told() -> None:
    assert Steadiness().spread == pytest.approx(exp(1.6 * USUAL))


def test_a_fleet_that_is_always_as_fast_gets_a_narrow_spread() -> None:
    assert 1 < told([50.0] * 400).spread < 1.02


def test_a_fleet_that_is_twice_as_fast_now_and_then_gets_a_wide_one() -> None:
    lag = int(2 * LAG_S)
    assert told(([50.0] * lag + [100.0] * lag) * 8).spread > 2


def test_eight_of_ten_rates_lie_within_the_spread() -> None:

    random = Random(5)
    rates = [50.0 * random.lognormvariate(0.0, 0.2) for _ in range(2000)]
    spread = told(rates).spread
    lag = int(2 * LAG_S)
    within = [1 / spread <= now / before <= spread for before, now in zip(rates, rates[lag:], strict=False)]
    assert sum(within) / len(within) == pytest.approx(0.8, abs=0.05)


def test_a_handful_of_starts_says_nothing() -> None:
    rates = [(LEAST_STARTS - 1) / 10, 0.1] * 200
    assert told(rates).spread == Steadiness().spread


def test_what_was_before_a_rest_is_not_compared_with_what_comes_after() -> None:
    found = told([50.0] * 15)
    found.rested()
    for number in range(15):
        found.note(20 + number / 2, 500.0, 10.0)
    assert found.spread == Steadiness().spread
