import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.generate.sampling.ranking import highest

VALUE = st.one_of(st.integers(-3, 3), st.just(-np.inf), st.floats(-50, 50, width=32))


@settings(deadline=None)
@given(st.lists(VALUE, min_size=1, max_size=300), st.data())
def test_the_highest_values_are_those_a_stable_sort_puts_first(
    values: list[float], data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(values)))
    array = np.array(values, np.float32)
    assert highest(array, count).tolist() == sorted(np.argsort(-array, kind="stable")[:count].tolist())


@settings(deadline=None)
@given(st.integers(1, 20_000), st.integers(1, 400), st.integers(0, 99), st.booleans())
def test_the_highest_of_many_values_too(size: int, count: int, seed: int, sorted_first: bool) -> None:
    array = np.random.default_rng(seed).normal(size=size).astype(np.float32).round(2)
    if sorted_first:  # all of the highest in one block
        array.sort()
    count = min(count, size)
    assert highest(array, count).tolist() == sorted(np.argsort(-array, kind="stable")[:count].tolist())
