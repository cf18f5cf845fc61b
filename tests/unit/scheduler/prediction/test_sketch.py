"""What a sketch remembers of a quantity."""

from collections import Counter
from collections.abc import Iterable
from random import Random

import pytest

from scheduler.prediction.sketch import HALF_LIFE, Sketch, bucket_of


def add(sketch: Sketch, values: Iterable[float], batch: int = 16) -> None:
    left = list(values)
    while left:
        now, left = left[:batch], left[batch:]
        sketch.add(Counter(map(bucket_of, now)), len(now), sum(now))


def test_quantiles_are_within_a_tenth_of_the_true_ones() -> None:
    random = Random(1)
    values = [random.lognormvariate(3, 1) for _ in range(400)]
    sketch = Sketch()
    # At once, so that none has faded.
    add(sketch, values, 400)
    ranked = sorted(values)
    for part in (0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
        assert sketch.quantile(part) == pytest.approx(ranked[int(part * 400)], rel=0.1)


def test_the_mean_is_that_of_the_values_and_not_of_their_buckets() -> None:
    sketch = Sketch()
    add(sketch, [1.0, 2.0, 6.0], 3)
    assert sketch.mean() == pytest.approx(3.0)


def test_a_mean_below_a_cap_takes_what_is_above_for_the_cap() -> None:
    sketch = Sketch()
    add(sketch, [10.0, 1000.0], 2)
    assert sketch.mean(100.0) == pytest.approx(55.0, rel=0.06)


def test_old_values_weigh_half_after_the_half_life() -> None:
    sketch = Sketch()
    add(sketch, [1.0] * 4000)
    add(sketch, [3.0] * HALF_LIFE)
    assert sketch.mean() == pytest.approx(2.0, rel=0.05)
    assert sketch.quantile(0.4) == pytest.approx(1.0, rel=0.1)


def test_what_is_forgotten_weighs_no_more_than_it_is_told() -> None:
    sketch = Sketch()
    add(sketch, [1.0] * 1000)
    sketch.forget(2.0)
    assert sketch.count == pytest.approx(2.0)
    add(sketch, [100.0] * 8)
    assert sketch.mean() > 75.0


def test_what_is_hardly_known_is_not_made_more_by_forgetting() -> None:
    sketch = Sketch()
    add(sketch, [1.0])
    sketch.forget(2.0)
    assert sketch.count == pytest.approx(1.0)
    empty = Sketch()
    empty.forget(2.0)
    assert (empty.count, empty.mean(), empty.quantile(0.5)) == (0.0, 0.0, 0.0)


def test_it_stays_exact_over_any_number_of_values() -> None:
    sketch = Sketch()
    add(sketch, [7.0] * 100_000, 64)
    assert sketch.mean() == pytest.approx(7.0)
    assert sketch.count == pytest.approx(HALF_LIFE / 0.693, rel=0.1)
