"""Weighted sharing between levels: pure arithmetic, so every promise is checked exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.policies.levels import DEFAULT_WEIGHTS, WeightedLevels, parse_weights
from scheduler.states import Level


def starts(levels: WeightedLevels, waiting: set[Level], count: int) -> list[Level]:
    order = []
    for _ in range(count):
        level = levels.pick(waiting)
        assert level is not None
        levels.charge(level)
        order.append(level)
    return order


def test_nothing_waiting_gives_no_level() -> None:
    assert WeightedLevels().pick(set()) is None


def test_saturated_levels_get_their_weights_exactly() -> None:
    order = starts(WeightedLevels(), set(Level), 85 * 20)
    assert {level: order.count(level) for level in Level} == {
        level: weight * 20 for level, weight in DEFAULT_WEIGHTS.items()
    }


def test_the_first_start_of_a_burst_is_critical_and_low_still_progresses() -> None:
    order = starts(WeightedLevels(), set(Level), 85)
    assert order[0] is Level.CRITICAL
    assert Level.LOW in order


def test_a_level_that_was_idle_starts_next_after_a_long_flood() -> None:
    levels = WeightedLevels()
    starts(levels, {Level.LOW}, 5_000)
    levels.arrive(Level.CRITICAL)
    assert levels.pick({Level.LOW, Level.CRITICAL}) is Level.CRITICAL


def test_being_idle_collects_no_credit() -> None:
    levels = WeightedLevels()
    starts(levels, {Level.HIGH}, 1_000)
    levels.arrive(Level.LOW)
    order = starts(levels, {Level.HIGH, Level.LOW}, 34)
    assert order.count(Level.LOW) == 2


def test_a_costly_start_delays_only_its_own_level() -> None:
    levels = WeightedLevels()
    levels.charge(Level.NORMAL, cost=100)
    assert starts(levels, {Level.NORMAL, Level.LOW}, 24) == [Level.LOW] * 24


def test_shares_add_up_to_one() -> None:
    levels = WeightedLevels()
    assert sum(levels.share(level) for level in Level) == pytest.approx(1)
    assert levels.share(Level.CRITICAL) == pytest.approx(64 / 85)


@given(st.lists(st.sets(st.sampled_from(list(Level)), min_size=1), min_size=1, max_size=300))
def test_a_level_that_waits_all_the_time_is_never_passed_over_for_long(others: list[set[Level]]) -> None:
    levels = WeightedLevels()
    since = 0
    previous: set[Level] = set()
    for waiting in others:
        for level in waiting - previous - {Level.LOW}:
            levels.arrive(level)
        previous = waiting
        chosen = levels.pick(waiting | {Level.LOW})
        assert chosen is not None
        levels.charge(chosen)
        since = 0 if chosen is Level.LOW else since + 1
        # 84 starts of the others make up one start of LOW; one more for each of the ties.
        assert since <= 84 + 3


@pytest.mark.parametrize("pair", ["critical", "urgent=3", "low=many", "=1"])
def test_a_pair_that_is_no_weight_is_named(pair: str) -> None:
    with pytest.raises(ValueError, match="is not level=weight"):
        parse_weights([pair])


def test_a_weight_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="level low needs a weight above 0"):
        WeightedLevels(parse_weights(["low=0"]))


def test_weights_that_are_not_given_keep_their_defaults() -> None:
    assert parse_weights(["low=2"]) == {**DEFAULT_WEIGHTS, Level.LOW: 2}
