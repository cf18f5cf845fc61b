import numpy as np
import pytest

from inference.generate.sampling import Sampler, Sampling, candidates

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32))


def chosen(sampling: Sampling) -> list[int]:
    tokens: list[int] = candidates(LOGITS, sampling)[0].tolist()
    return tokens


def test_greedy_takes_the_most_likely_and_the_first_of_equals() -> None:
    assert Sampler(Sampling(), None).choose(LOGITS) == 1
    assert Sampler(Sampling(), None).choose(np.zeros(5, np.float32)) == 0


def test_top_k_keeps_the_k_most_likely() -> None:
    assert chosen(Sampling(1.0, top_k=2)) == [1, 3]
    assert chosen(Sampling(1.0, top_k=99, top_p=0.99)) == [1, 3, 2, 0]


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    assert chosen(Sampling(1.0, top_p=0.39)) == [1]
    assert chosen(Sampling(1.0, top_p=0.5)) == [1, 3]
    assert chosen(Sampling(1.0, top_p=1e-9)) == [1]


def test_top_p_counts_within_what_top_k_left() -> None:
    assert chosen(Sampling(1.0, top_k=2, top_p=0.5)) == [1]


def test_min_p_is_relative_to_the_most_likely() -> None:
    assert chosen(Sampling(1.0, min_p=0.6)) == [1, 3]
    assert chosen(Sampling(1.0, min_p=1.0)) == [1]


def test_a_low_temperature_is_nearly_greedy() -> None:
    sampler = Sampler(Sampling(0.01), seed=1)
    assert {sampler.choose(LOGITS) for _ in range(50)} == {1}


def test_top_p_over_a_large_flat_vocabulary_is_the_same_as_sorting_it_all() -> None:
    logits = np.random.default_rng(3).normal(0, 1, 20_000).astype(np.float32)
    tokens, _ = candidates(logits, Sampling(1.0, top_p=0.9))
    order = np.argsort(-logits, kind="stable")
    weights = np.exp(logits[order] - logits.max()).astype(np.float64)
    count = int(np.searchsorted(np.cumsum(weights), 0.9 * weights.sum())) + 1
    assert sorted(tokens.tolist()) == sorted(order[:count].tolist())


def test_the_same_seed_gives_the_same_choices() -> None:
    sampling = Sampling(1.0, top_p=0.9)
    first, second, other = (Sampler(sampling, seed) for seed in (7, 7, 8))
    runs = [[sampler.choose(LOGITS) for _ in range(40)] for sampler in (first, second, other)]
    assert runs[0] == runs[1] != runs[2]


def test_choices_follow_the_probabilities() -> None:
    sampler = Sampler(Sampling(1.0), seed=0)
    counts = np.bincount([sampler.choose(LOGITS) for _ in range(4000)], minlength=4) / 4000
    assert np.abs(counts - np.exp(LOGITS)).max() < 0.03


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_numbers_are_an_error(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        Sampler(Sampling(), None).choose(np.array([0, bad, 1], np.float32))
