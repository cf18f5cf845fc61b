"""Logprobs, against the log-softmax of the raw logits."""

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.generate.sampling import SamplerState, Sampling, choose

LOGITS = np.random.default_rng(5).normal(0, 3, (1, 4001)).astype(np.float32)


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - float(logits.max())
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(logprobs=5),
        Sampling(1.5, logprobs=5),
        Sampling(0.8, top_k=40, top_p=0.9, logprobs=5),
        Sampling(repetition_penalty=2.0, logprobs=5),
        Sampling(bias_tokens=np.array([17]), bias_values=np.array([100], np.float32), logprobs=5),
    ],
)
def test_logprobs_are_those_of_the_raw_logits(sampling: Sampling) -> None:
    expected = log_softmax(LOGITS[0])
    chosen = choose(LOGITS, [SamplerState(sampling, LOGITS[0].argsort()[-9:], seed=4)])
    logprob = chosen.logprobs[0]
    assert logprob.token == chosen.tokens[0]
    assert logprob.logprob == pytest.approx(expected[logprob.token], abs=1e-5)
    best = np.argsort(-expected, kind="stable")[:5]
    assert [token for token, _ in logprob.top] == best.tolist()
    assert [value for _, value in logprob.top] == pytest.approx(expected[best].tolist(), abs=1e-5)


def test_a_token_that_a_mask_forced_shows_how_improbable_it_was() -> None:
    mask = np.zeros(126, np.int32)
    mask[2] = 1 << 3
    chosen = choose(LOGITS, [SamplerState(Sampling(logprobs=1), np.empty(0, np.int64))], [mask])
    assert chosen.tokens[0] == 67
    assert chosen.logprobs[0].logprob == pytest.approx(log_softmax(LOGITS[0])[67], abs=1e-5)
    assert chosen.logprobs[0].top[0][0] == LOGITS[0].argmax()


def test_only_rows_that_ask_and_do_not_fail_have_logprobs() -> None:
    samplings = [Sampling(), Sampling(logprobs=0), Sampling(logprobs=2), Sampling(1.0, logprobs=2)]
    logits = np.repeat(LOGITS, 4, axis=0)
    logits[2, 0] = np.nan
    chosen = choose(logits, [SamplerState(sampling, np.empty(0, np.int64), 1) for sampling in samplings])
    assert chosen.logprobs.keys() == {1, 3}
    assert chosen.logprobs[1].top == ()
    assert len(chosen.logprobs[3].top) == 2


def test_the_top_is_no_longer_than_what_can_be() -> None:
    logits = np.array([[0, -np.inf, 1]], np.float32)
    chosen = choose(logits, [SamplerState(Sampling(logprobs=20), np.empty(0, np.int64))])
    assert [token for token, _ in chosen.logprobs[0].top] == [2, 0]
    assert sum(np.exp(value) for _, value in chosen.logprobs[0].top) == pytest.approx(1)


def test_equal_ones_come_by_id() -> None:
    logits = np.random.default_rng(0).integers(0, 4, (1, 500)).astype(np.float32)
    chosen = choose(logits, [SamplerState(Sampling(logprobs=300), np.empty(0, np.int64))])
    top = [token for token, _ in chosen.logprobs[0].top]
    assert top == np.argsort(-logits[0], kind="stable")[:300].tolist()
