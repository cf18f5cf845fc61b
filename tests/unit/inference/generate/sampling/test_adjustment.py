"""Bias and penalties, against their definitions token by token."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.generate.sampling import SamplerState, Sampling, choose
from inference.generate.sampling.adjustment import adjusted
from inference.generate.sampling.occurrences import Occurrences

VOCABULARY = 12
TOKENS = st.lists(st.integers(0, VOCABULARY - 1), max_size=30)


def defined(
    logits: NDArray[np.float32], sampling: Sampling, prompt: list[int], output: list[int]
) -> NDArray[np.float64]:
    """Bias, repetition over prompt and output, then OpenAI's formula over the output: one token after the other."""
    bias = dict(zip(sampling.bias_tokens.tolist(), sampling.bias_values.tolist(), strict=True))
    result = []
    for token, value in enumerate(logits.tolist()):
        value += bias.get(token, 0.0)
        if token in prompt or token in output:
            penalty = sampling.repetition_penalty
            value = value / penalty if value > 0 else value * penalty
        count = output.count(token)
        result.append(value - count * sampling.frequency_penalty - (count > 0) * sampling.presence_penalty)
    return np.array(result)


@settings(deadline=None)
@given(
    prompt=TOKENS,
    output=TOKENS,
    logits=st.lists(st.floats(-20, 20, width=32), min_size=VOCABULARY, max_size=VOCABULARY),
    repetition=st.one_of(st.just(1.0), st.floats(0.5, 2)),
    presence=st.one_of(st.just(0.0), st.floats(-2, 2)),
    frequency=st.one_of(st.just(0.0), st.floats(-2, 2)),
    bias=st.dictionaries(st.integers(0, VOCABULARY - 1), st.floats(-100, 100, width=32), max_size=5),
)
def test_logits_change_by_the_definitions(
    prompt: list[int],
    output: list[int],
    logits: list[float],
    repetition: float,
    presence: float,
    frequency: float,
    bias: dict[int, float],
) -> None:
    sampling = Sampling(
        repetition_penalty=repetition,
        presence_penalty=presence,
        frequency_penalty=frequency,
        bias_tokens=np.array(list(bias), np.int64),
        bias_values=np.array(list(bias.values()), np.float32),
    )
    state = SamplerState(sampling, np.array(prompt, np.int64))
    for token in output:
        state.count(token)
    values = np.array(logits, np.float32)
    result = adjusted(values, sampling, state.occurrences, np.empty_like(values))
    np.testing.assert_allclose(result, defined(values, sampling, prompt, output), rtol=1e-5, atol=1e-4)
    assert values.tolist() == [np.float32(value) for value in logits]


def test_presence_and_frequency_leave_tokens_of_the_prompt_alone() -> None:
    logits = np.array([3, 2, 1], np.float32)
    state = SamplerState(Sampling(presence_penalty=2.0, frequency_penalty=2.0), np.array([0]))
    assert choose(logits[None, :], [state]).tokens.tolist() == [0]
    assert choose(logits[None, :], [state]).tokens.tolist() == [1]


def test_repetition_counts_tokens_of_the_prompt() -> None:
    state = SamplerState(Sampling(repetition_penalty=2.0), np.array([0, 0]))
    assert choose(np.array([[3, 2, 1]], np.float32), [state]).tokens.tolist() == [1]


def test_chosen_tokens_are_counted() -> None:
    logits = np.array([[3, 2.9, 2.8]], np.float32)
    state = SamplerState(Sampling(frequency_penalty=1.0), np.empty(0, np.int64))
    assert [int(choose(logits, [state]).tokens[0]) for _ in range(6)] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_bias_can_forbid_and_force(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(0, 2, (1, 50)).astype(np.float32)
    best = int(logits.argmax())
    for token, value in ((best, -100.0), (33, 100.0)):
        sampling = Sampling(
            temperature, bias_tokens=np.array([token]), bias_values=np.array([value], np.float32)
        )
        state = SamplerState(sampling, np.empty(0, np.int64), seed=1)
        tokens = {int(choose(logits, [state]).tokens[0]) for _ in range(30)}
        assert (tokens == {33}) if value > 0 else (best not in tokens)


def test_nothing_is_copied_when_nothing_changes() -> None:
    logits = np.array([3, 2, 1], np.float32)
    state = SamplerState(Sampling(presence_penalty=2.0), np.array([0]))
    assert adjusted(logits, state.sampling, state.occurrences, np.empty_like(logits)) is logits
    assert SamplerState(Sampling(), np.array([0])).occurrences is None


def test_occurrences_grow_as_long_as_new_tokens_come() -> None:
    generated = np.random.default_rng(0).integers(0, 5000, 6000)
    prompt = np.array([9, 4, 4, 100_000])
    occurrences = Occurrences(prompt)
    for token in generated.tolist():
        occurrences.count(token)
    tokens, counts = np.unique(np.concatenate([generated, prompt]), return_counts=True)
    counts -= np.array([int((prompt == token).sum()) for token in tokens])
    assert occurrences.tokens.tolist() == tokens.tolist()
    assert occurrences.generated.tolist() == counts.tolist()
