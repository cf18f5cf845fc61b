from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import exp
from random import Random

import pytest

from cache.freshness import Refreshes, fresh_until_ms, refresh_early
from cache.ports import Key

TTL_MS = 600_000
WINDOW_MS = TTL_MS // 20


def key(number: int, namespace: bytes = b"n" * 16) -> Key:
    return Key(namespace, number.to_bytes(32, "big"))


def largest_share(times: Sequence[float], window_ms: float) -> float:
    """The largest part of the times that any window of that length holds."""
    ordered = sorted(times)
    most = max(bisect_right(ordered, at + window_ms) - bisect_left(ordered, at) for at in ordered)
    return most / len(ordered)


def test_times_to_live_are_only_shortened_and_by_no_more_than_the_jitter() -> None:
    chance = Random(1)
    ends = [fresh_until_ms(1_000, TTL_MS, chance) - 1_000 for _ in range(10_000)]
    assert 0.75 * TTL_MS <= min(ends) < 0.76 * TTL_MS
    assert 0.99 * TTL_MS < max(ends) <= TTL_MS
    assert fresh_until_ms(5, 100, chance, jitter=0.0) == 105


@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_keys_made_at_once_with_one_ttl_do_not_end_together(seed: int) -> None:
    chance = Random(seed)
    ends = [fresh_until_ms(0, TTL_MS, chance) for _ in range(1_000)]
    # Any window of 5 % of the time to live sees a fifth end in the mean; the fullest of them no more than a quarter.
    assert largest_share(ends, WINDOW_MS) <= 0.25
    assert largest_share([TTL_MS] * 1_000, WINDOW_MS) == 1.0


@pytest.mark.parametrize("seed", range(2))
def test_the_refreshes_of_a_thousand_keys_in_use_are_spread_further_with_each_round(seed: int) -> None:
    chance = Random(seed)
    shares = []
    made = [0.0] * 1_000
    for _ in range(4):
        refreshed = []
        for made_ms in made:
            until_ms = fresh_until_ms(int(made_ms), TTL_MS, chance)
            # Used every two seconds or so, a computation of a second: before the last twenty nothing is drawn.
            now_ms = until_ms - 20_000 + chance.expovariate(1 / 2_000)
            while not refresh_early(int(now_ms), until_ms, 1_000.0, chance):
                now_ms += chance.expovariate(1 / 2_000)
            refreshed.append(now_ms)
        shares.append(largest_share(refreshed, WINDOW_MS))
        made = refreshed
    assert shares[0] <= 0.25
    assert shares[3] < 0.75 * shares[0]


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("left_ms", [0, 100, 1_000, 4_000])
def test_early_refreshes_happen_as_often_as_the_formula_says(beta: float, left_ms: int) -> None:
    chance, draws, cost_ms = Random(7), 20_000, 1_000.0
    drawn = sum(refresh_early(0, left_ms, cost_ms, chance, beta) for _ in range(draws)) / draws
    expected = exp(-left_ms / (cost_ms * beta))
    assert abs(drawn - expected) <= 4 * (expected * (1 - expected) / draws) ** 0.5 + 1e-9


def test_an_entry_that_cost_nothing_is_refreshed_only_at_its_end() -> None:
    chance = Random(1)
    assert not any(refresh_early(0, 1, 0.0, chance) for _ in range(1_000))
    assert refresh_early(1, 1, 0.0, chance)


def test_refreshes_are_capped_for_each_key_each_namespace_and_in_all() -> None:
    refreshes = Refreshes(most=3, most_per_namespace=2)
    assert refreshes.begin(key(1))
    assert not refreshes.begin(key(1))
    assert refreshes.begin(key(2))
    assert not refreshes.begin(key(3))
    assert refreshes.begin(key(1, b"m" * 16))
    assert not refreshes.begin(key(2, b"m" * 16))
    assert refreshes.refused == 2
    refreshes.end(key(1))
    assert refreshes.begin(key(3))
    for each in (key(2), key(3), key(1, b"m" * 16)):
        refreshes.end(each)
    # All places are there again.
    assert [refreshes.begin(key(number, b"m" * 16)) for number in range(3)] == [True, True, False]
    assert [refreshes.begin(key(number)) for number in range(2)] == [True, False]
