"""Sharing between levels: pure arithmetic, so every promise is checked exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.policies.level_modes import level_share, levels_for
from scheduler.policies.levels import DEFAULT_WEIGHTS, OWED, Levels, WeightedLevels, parse_weights
from scheduler.policies.policy import LevelMode, Policy
from scheduler.policies.strict import StrictLevels
from scheduler.states import Level


def starts(levels: Levels, waiting: set[Level], count: int) -> list[Level]:
    order: list[Level] = []
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
    starts(levels, {Level.NORMAL}, 1_000)
    levels.arrive(Level.LOW, {Level.NORMAL})
    levels.charge(Level.NORMAL, cost=100)
    assert starts(levels, {Level.NORMAL, Level.LOW}, 23).count(Level.LOW) >= 22


def test_before_much_is_known_the_usual_cost_is_the_mean_of_what_was_charged() -> None:
    levels = WeightedLevels()
    levels.charge(Level.LOW, cost=400)
    for level in (Level.HIGH, Level.NORMAL):
        levels.arrive(level, {Level.LOW})
    order: list[Level] = []
    for _ in range(4):
        picked = levels.pick({Level.HIGH, Level.NORMAL, Level.LOW})
        assert picked is not None
        levels.charge(picked, cost=400)
        order.append(picked)
    assert order[:3] == [Level.HIGH] * 3


@pytest.mark.parametrize("mode", LevelMode)
def test_shares_add_up_to_one(mode: LevelMode) -> None:
    assert sum(level_share(Policy(level_mode=mode), level) for level in Level) == pytest.approx(1)


def test_the_share_of_a_level_is_its_weight_s_or_all_for_the_highest_of_strict_ones() -> None:
    assert level_share(Policy(), Level.CRITICAL) == pytest.approx(64 / 85)
    assert level_share(Policy(level_mode=LevelMode.STRICT), Level.CRITICAL) == 1
    assert level_share(Policy(level_mode=LevelMode.STRICT), Level.HIGH) == 0


def test_starts_are_counted_by_what_they_cost() -> None:
    levels = WeightedLevels(dict.fromkeys(Level, 1))
    spent = dict.fromkeys((Level.HIGH, Level.LOW), 0.0)
    costs = {Level.HIGH: 30.0, Level.LOW: 10.0}
    for _ in range(400):
        level = levels.pick(list(spent))
        assert level is not None
        levels.charge(level, costs[level])
        spent[level] += costs[level]
    assert spent[Level.HIGH] == pytest.approx(spent[Level.LOW], abs=40)


def test_many_starts_in_a_row_count_as_they_would_one_by_one() -> None:
    at_once, singly = WeightedLevels(), WeightedLevels()
    at_once.charge(Level.LOW, 50.0, 5)
    for _ in range(5):
        singly.charge(Level.LOW, 10.0)
    for levels in (at_once, singly):
        levels.arrive(Level.HIGH, {Level.LOW})
    both = {Level.LOW, Level.HIGH}
    assert starts(at_once, both, 300) == starts(singly, both, 300)


def test_what_was_charged_too_much_is_given_back() -> None:
    levels = WeightedLevels(dict.fromkeys(Level, 1))
    both = {Level.HIGH, Level.LOW}
    levels.charge(Level.LOW, 5.0)
    levels.correct(Level.LOW, -4.0)
    assert starts(levels, both, 3) == [Level.HIGH, Level.HIGH, Level.LOW]


def test_what_was_charged_too_little_is_charged_later() -> None:
    levels = WeightedLevels(dict.fromkeys(Level, 1))
    levels.charge(Level.HIGH, 1.0)
    levels.correct(Level.HIGH, 4.0)
    assert starts(levels, {Level.HIGH, Level.LOW}, 6) == [Level.LOW] * 5 + [Level.HIGH]


def test_corrections_never_let_a_level_shut_out_the_others_for_long() -> None:
    levels = WeightedLevels(dict.fromkeys(Level, 1))
    levels.charge(Level.LOW, 1_000.0, 1_000)
    levels.arrive(Level.CRITICAL, {Level.LOW})
    levels.correct(Level.LOW, -1_000.0)
    order = starts(levels, {Level.LOW, Level.CRITICAL}, 100)
    assert order.index(Level.CRITICAL) <= OWED + 1


def test_who_arrives_beside_a_level_that_was_charged_too_much_starts_where_it_really_is() -> None:
    levels = WeightedLevels(dict.fromkeys(Level, 1))
    levels.charge(Level.LOW, 8.0, 8)
    levels.correct(Level.LOW, -6.0)
    levels.arrive(Level.CRITICAL, {Level.LOW})
    assert levels.pick({Level.LOW, Level.CRITICAL}) is Level.CRITICAL


def test_other_weights_hold_from_now_on_and_what_a_level_is_ahead_stays() -> None:
    levels = WeightedLevels(dict.fromkeys(Level, 1))
    levels.charge(Level.HIGH, 10.0)
    levels.follow({**dict.fromkeys(Level, 1), Level.HIGH: 10})
    both = {Level.HIGH, Level.LOW}
    order = starts(levels, both, 221)
    # Ten units of work ahead are one of LOW's turns now; after that, ten starts for each of LOW's.
    assert order[0] in both
    assert order.count(Level.LOW) in (20, 21)


def test_other_weights_are_refused_like_the_first_ones_and_change_nothing() -> None:
    levels = WeightedLevels()
    with pytest.raises(ValueError, match="level low needs a weight above 0"):
        levels.follow({**DEFAULT_WEIGHTS, Level.LOW: 0})
    assert starts(levels, set(Level), 85).count(Level.CRITICAL) == 64


def test_of_strict_levels_only_the_highest_that_waits_starts() -> None:
    levels = StrictLevels()
    assert levels.pick(set()) is None
    assert starts(levels, set(Level), 100) == [Level.CRITICAL] * 100
    assert starts(levels, {Level.LOW, Level.NORMAL}, 9) == [Level.NORMAL] * 9


def test_counters_outlive_a_change_of_weights_and_a_change_of_mode_begins_anew() -> None:
    weighted = levels_for(Policy())
    assert levels_for(Policy(weights=dict.fromkeys(Level, 2)), weighted) is weighted
    strict = levels_for(Policy(level_mode=LevelMode.STRICT), weighted)
    assert isinstance(strict, StrictLevels)
    assert levels_for(Policy(level_mode=LevelMode.STRICT, weights=dict.fromkeys(Level, 2)), strict) is strict
    assert isinstance(levels_for(Policy(), strict), WeightedLevels)


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
