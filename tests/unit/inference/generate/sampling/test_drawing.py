"""What may be drawn, and how often, against the definitions of the filters written out in full."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.generate.sampling import Sampling
from inference.generate.sampling.drawing import draw

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32))
NEAR = 1e-5
"""Relative error at a border of a filter that single precision may make."""


def probabilities(logits: NDArray[np.float32], sampling: Sampling, slack: float = 0.0) -> NDArray[np.float64]:
    """Filter one after the other, each over what the last one left, by sorting everything."""
    scaled = logits.astype(np.float64) / sampling.temperature
    weights = np.exp(scaled - scaled.max())
    order = np.argsort(-logits, kind="stable")
    if sampling.top_k:
        weights[order[sampling.top_k :]] = 0
    if sampling.top_p < 1:
        ranked = weights[order]
        before = np.cumsum(ranked) - ranked
        out = before >= sampling.top_p * ranked.sum() * (1 + slack)
        out[0] = False
        weights[order[out]] = 0
    weights[weights < sampling.min_p * weights.max() * (1 - slack)] = 0
    return np.asarray(weights / weights.sum())


def random(seed: int) -> Callable[[], float]:
    return np.random.Generator(np.random.PCG64(seed)).random


def draws(logits: NDArray[np.float32], sampling: Sampling, count: int, seed: int = 0) -> NDArray[np.intp]:
    source, scratch = random(seed), np.empty_like(logits)
    return np.array([draw(logits, sampling, source, scratch) for _ in range(count)])


def reachable(sampling: Sampling, logits: NDArray[np.float32] = LOGITS) -> set[int]:
    return set(draws(logits, sampling, 400).tolist())


def test_top_k_keeps_the_k_most_likely() -> None:
    assert reachable(Sampling(1.0, top_k=2)) == {1, 3}
    assert reachable(Sampling(1.0, top_k=1)) == {1}
    assert reachable(Sampling(1.0, top_k=99)) == {0, 1, 2, 3}


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    assert reachable(Sampling(1.0, top_p=0.39)) == {1}
    assert reachable(Sampling(1.0, top_p=0.5)) == {1, 3}
    assert reachable(Sampling(1.0, top_p=0.99)) == {0, 1, 2, 3}
    assert reachable(Sampling(1.0, top_p=1e-9)) == {1}


def test_top_p_counts_within_what_top_k_left() -> None:
    assert reachable(Sampling(1.0, top_k=2, top_p=0.5)) == {1}
    assert reachable(Sampling(1.0, top_k=2, top_p=0.6)) == {1, 3}


def test_min_p_is_relative_to_the_most_likely() -> None:
    assert reachable(Sampling(1.0, min_p=0.6)) == {1, 3}
    assert reachable(Sampling(1.0, min_p=1.0)) == {1}


def test_top_p_counts_what_min_p_takes_away() -> None:
    assert reachable(Sampling(1.0, top_p=0.75, min_p=0.4)) == {1, 3, 2}
    assert reachable(Sampling(1.0, top_p=0.65, min_p=0.7)) == {1, 3}


def test_of_equally_likely_tokens_the_first_stay() -> None:
    equal = np.zeros(1000, np.float32)
    assert reachable(Sampling(1.0, top_k=3), equal) == {0, 1, 2}
    assert reachable(Sampling(1.0, top_p=0.0025), equal) == {0, 1, 2}


LOGIT = st.integers(-40, 40).map(lambda quarter: quarter / 4)  # coarse, so that many are equal


@settings(deadline=None)
@given(
    logits=st.one_of(
        st.lists(LOGIT, min_size=1, max_size=40),
        st.builds(  # of many blocks
            lambda size, sd, seed: np.round(np.random.default_rng(seed).normal(0, sd, size), 2).tolist(),
            st.integers(200, 3000),
            st.sampled_from([0.1, 1.0, 4.0]),
            st.integers(0, 1000),
        ),
    ),
    temperature=st.floats(0.05, 3),
    top_p=st.one_of(st.just(1.0), st.floats(0.001, 1)),
    top_k=st.one_of(st.just(0), st.integers(1, 60)),
    min_p=st.one_of(st.just(0.0), st.floats(0, 1)),
    seed=st.integers(0, 2**32),
)
def test_what_is_drawn_passes_every_filter(
    logits: list[float], temperature: float, top_p: float, top_k: int, min_p: float, seed: int
) -> None:
    values = np.array(logits, np.float32)
    sampling = Sampling(temperature, top_p=top_p, top_k=top_k, min_p=min_p)
    allowed = probabilities(values, sampling, slack=NEAR) > 0
    assert allowed[draws(values, sampling, 8, seed)].all()


FILTERS = (
    Sampling(1.0),
    Sampling(0.6),
    Sampling(1.7, top_k=30),
    Sampling(0.9, top_p=0.8),
    Sampling(1.2, min_p=0.1),
    Sampling(1.4, top_p=0.3),
    Sampling(1.0, top_k=50, top_p=0.7),
    Sampling(1.1, top_k=200, top_p=0.9, min_p=0.02),
    Sampling(1.1, top_p=0.9, min_p=0.05),
)


@pytest.mark.parametrize("sampling", FILTERS)
@pytest.mark.parametrize("vocabulary", [24, 700])
def test_tokens_are_drawn_as_often_as_they_are_probable(sampling: Sampling, vocabulary: int) -> None:
    logits = np.random.default_rng(11).normal(0, 2, vocabulary).astype(np.float32)
    expected = probabilities(logits, sampling)
    count = 8000
    seen = np.bincount(draws(logits, sampling, count), minlength=vocabulary)
    assert (seen[expected == 0] == 0).all()
    deviations = np.sqrt(count * expected * (1 - expected))
    assert (np.abs(seen - count * expected) <= 4.5 * deviations + 2).all()


@pytest.mark.parametrize("part", [0.0, 0.25, 0.5, 1 - 2**-53])
@pytest.mark.parametrize("size", [5, 256, 257, 1000])
def test_what_weighs_nothing_is_not_drawn_even_at_the_ends(part: float, size: int) -> None:
    logits = np.full(size, -np.inf, np.float32)
    middle = size // 2
    logits[middle] = 1.0
    assert draw(logits, Sampling(1.0), lambda: part, np.empty_like(logits)) == middle


@pytest.mark.parametrize("likely", [3, 200, 300, 700])
def test_the_highest_random_number_draws_the_last_token_that_can_be(likely: int) -> None:
    for seed in range(20):  # rounding goes either way
        logits = np.full(1000, -np.inf, np.float32)
        logits[:likely] = np.random.default_rng(seed).normal(0, 1, likely)
        drawn = draw(logits, Sampling(1.0), lambda: 1 - 2**-53, np.empty_like(logits))
        assert drawn == likely - 1


@settings(max_examples=30, deadline=None)
@given(st.integers(300, 20_000), st.floats(0.5, 3), st.integers(0, 99))
def test_the_scratch_may_be_the_logits_themselves(size: int, temperature: float, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, size).astype(np.float32)
    sampling = Sampling(temperature, top_p=0.9, top_k=seed)
    apart = draw(logits, sampling, random(seed), np.empty_like(logits))
    assert draw(logits, sampling, random(seed), logits) == apart
