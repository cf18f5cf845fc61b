"""The tokens of a step: what each row gets, and that no row has a say in another's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.engine import GenerateRequest
from inference.generate.sampling import GREEDY_BELOW, Chosen, SamplerState, Sampling, choose

Logits = NDArray[np.float32]

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32))
NO_PROMPT = np.empty(0, np.int64)
WIDE = 5003
"""A vocabulary of many blocks, the last of them short."""
EVERY_WAY = (
    Sampling(),
    Sampling(logprobs=3),
    Sampling(0.8, top_p=0.95),
    Sampling(1.3, top_k=40, logprobs=0),
    Sampling(0.7, min_p=0.05, top_p=0.9, top_k=300),
    Sampling(1.0),
    Sampling(repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.2),
    Sampling(
        0.9,
        top_p=0.8,
        repetition_penalty=1.1,
        bias_tokens=np.array([7, 4000]),
        bias_values=np.array([3, 5], np.float32),
    ),
)


def state(
    sampling: Sampling | None = None, seed: int = 0, prompt: NDArray[np.int64] = NO_PROMPT
) -> SamplerState:
    return SamplerState(sampling or Sampling(), prompt, seed)


def one(logits: Logits, row: SamplerState, mask: NDArray[np.int32] | None = None) -> Chosen:
    return choose(logits[None, :], [row], [mask])


def mask_of(tokens: list[int], vocabulary: int) -> NDArray[np.int32]:
    words = np.zeros((vocabulary + 31) // 32, np.uint32)
    for token in tokens:
        words[token // 32] |= np.uint32(1 << token % 32)
    return words.view(np.int32)


def wide_rows(count: int, seed: int = 3) -> Logits:
    return np.random.default_rng(seed).normal(0, 3, (count, WIDE)).astype(np.float32)


def test_greedy_rows_take_the_highest_logit_and_the_lowest_id_of_equals() -> None:
    logits = np.stack([LOGITS, np.zeros(4, np.float32), np.array([0, 2, 1, 2], np.float32)])
    chosen = choose(logits, [state() for _ in logits])
    assert chosen.tokens.tolist() == [1, 0, 1]
    assert chosen.tokens.dtype == np.int64
    assert not chosen.failed
    assert not chosen.logprobs


def test_no_rows_choose_nothing() -> None:
    assert choose(np.empty((0, 4), np.float32), []).tokens.tolist() == []


def test_a_temperature_too_low_to_divide_by_is_greedy() -> None:
    assert one(LOGITS, state(Sampling(GREEDY_BELOW / 2))).tokens.tolist() == [1]
    huge = np.array([-3e38, 3e38, 0, 3e38], np.float32)
    assert one(huge, state(Sampling(GREEDY_BELOW), seed=2)).tokens[0] in (1, 3)


def test_a_low_temperature_is_nearly_greedy() -> None:
    row = state(Sampling(0.01), seed=1)
    assert {int(one(LOGITS, row).tokens[0]) for _ in range(50)} == {1}


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.0, top_p=0.9), Sampling(repetition_penalty=1.2)])
@pytest.mark.parametrize("bad", [[0, np.nan, 1, 2], [0, np.inf, 1, 2], [-np.inf] * 4])
def test_a_row_whose_logits_are_not_numbers_fails_alone(sampling: Sampling, bad: list[float]) -> None:
    rows = [state(sampling, seed, np.array([1])) for seed in range(3)]
    chosen = choose(np.stack([LOGITS, np.array(bad, np.float32), LOGITS]), rows)
    assert list(chosen.failed) == [1]
    assert "not finite" in str(chosen.failed[1])
    assert chosen.tokens[1] == -1
    assert (chosen.tokens[[0, 2]] >= 0).all()


def test_a_failed_row_goes_on_as_if_it_had_not_been_asked() -> None:
    row, untouched = (state(Sampling(1.0, presence_penalty=1.0), seed=5) for _ in range(2))
    one(np.full(4, np.nan, np.float32), row)
    one(LOGITS, row, mask_of([], 4))
    after, expected = ([int(one(LOGITS, each).tokens[0]) for _ in range(20)] for each in (row, untouched))
    assert after == expected


def test_minus_infinity_means_that_a_token_cannot_be() -> None:
    logits = np.array([-np.inf, 0, -np.inf, 0], np.float32)
    row = state(Sampling(2.0), seed=1)
    assert {int(one(logits, row).tokens[0]) for _ in range(60)} == {1, 3}
    assert one(logits, state()).tokens.tolist() == [1]


@pytest.mark.parametrize("sampling", EVERY_WAY)
def test_only_what_the_mask_allows_is_chosen(sampling: Sampling) -> None:
    for row, logits in enumerate(wide_rows(6)):
        allowed = np.random.default_rng(row).choice(WIDE, 5 + 900 * row, replace=False).tolist()
        chosen = one(logits, state(sampling, row), mask_of(allowed, WIDE))
        assert int(chosen.tokens[0]) in allowed


def test_a_greedy_row_takes_the_best_of_what_the_mask_allows() -> None:
    assert one(LOGITS, state(), mask_of([0, 1], 4)).tokens.tolist() == [1]
    assert one(LOGITS, state(), mask_of([0, 2], 4)).tokens.tolist() == [2]
    assert one(np.zeros(40, np.float32), state(), mask_of([33, 39], 40)).tokens.tolist() == [33]


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.0), Sampling(presence_penalty=1.0)])
def test_a_mask_that_allows_nothing_fails_its_row_only(sampling: Sampling) -> None:
    rows = [state(sampling, seed) for seed in range(3)]
    chosen = choose(np.stack([LOGITS] * 3), rows, [None, mask_of([], 4), mask_of([2], 4)])
    assert list(chosen.failed) == [1]
    assert "no token is left" in str(chosen.failed[1])
    assert chosen.tokens[1:].tolist() == [-1, 2]


def test_a_mask_that_allows_only_what_cannot_be_fails() -> None:
    logits = np.array([-np.inf, 1, 2, 3], np.float32)
    assert "no token is left" in str(one(logits, state(), mask_of([0], 4)).failed[0])


def test_tokens_past_the_last_word_of_a_mask_are_not_allowed() -> None:
    logits = np.zeros(100, np.float32)
    logits[70] = 9
    all_of_two_words = np.full(2, -1, np.int32)
    assert one(logits, state(), all_of_two_words).tokens.tolist() == [0]
    row = state(Sampling(2.0), seed=0)
    assert max(int(one(logits, row, all_of_two_words).tokens[0]) for _ in range(300)) in range(48, 64)


def test_bits_past_the_vocabulary_are_ignored() -> None:
    all_of_three_words = np.full(3, -1, np.int32)
    row = state(Sampling(100.0), seed=0)
    drawn = {int(one(np.zeros(65, np.float32), row, all_of_three_words).tokens[0]) for _ in range(500)}
    assert max(drawn) <= 64
    assert one(np.zeros(65, np.float32), state(), mask_of([70], 96)).failed.keys() == {0}


def test_overflow_after_a_penalty_is_an_error_of_the_row() -> None:
    row = state(Sampling(repetition_penalty=0.1), prompt=np.array([1]))
    assert "after bias and penalties" in str(one(np.array([0, 3e38, 0], np.float32), row).failed[0])


def test_the_same_seed_gives_the_same_choices() -> None:
    first, second, other = (state(Sampling(1.0, top_p=0.9), seed) for seed in (7, 7, 8))
    runs = [[int(one(LOGITS, each).tokens[0]) for _ in range(40)] for each in (first, second, other)]
    assert runs[0] == runs[1] != runs[2]


def test_the_answers_to_one_request_differ_and_repeat() -> None:
    sampling = Sampling(1.0)
    runs = [
        [int(one(LOGITS, row).tokens[0]) for _ in range(40)]
        for row in (SamplerState(sampling, NO_PROMPT, 7, index) for index in (0, 1, 2, 1))
    ]
    assert runs[0] != runs[1] != runs[2] != runs[0]
    assert runs[1] == runs[3]


def test_rows_without_a_seed_differ() -> None:
    rows = [SamplerState(Sampling(1.0), NO_PROMPT) for _ in range(2)]
    runs = [[int(one(LOGITS, row).tokens[0]) for _ in range(100)] for row in rows]
    assert runs[0] != runs[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(EVERY_WAY) - 1), min_size=1, max_size=7), st.data())
def test_neighbours_change_nothing_of_a_row_bit_for_bit(ways: list[int], data: st.DataObject) -> None:
    masked = data.draw(st.lists(st.booleans(), min_size=len(ways), max_size=len(ways)))
    broken = data.draw(st.integers(0, len(ways)))  # one of the rows, or none
    together, alone = (
        [state(EVERY_WAY[way], seed=row, prompt=np.arange(way, WIDE, 50)) for row, way in enumerate(ways)]
        for _ in range(2)
    )
    masks = [mask_of(list(range(row, WIDE, 3)), WIDE) if on else None for row, on in enumerate(masked)]
    for step in range(3):
        logits = wide_rows(len(ways), seed=step)
        if broken < len(ways):
            logits[broken, step] = np.nan
        chosen = choose(logits, together, masks)
        for row, single in enumerate(alone):
            # Elsewhere in memory, and not on a boundary that vector instructions like.
            moved = np.empty(WIDE + 1 + row, np.float32)[1 + row :]
            moved[:] = logits[row]
            expected = one(moved, single, masks[row])
            assert chosen.tokens[row] == expected.tokens[0]
            assert chosen.logprobs.get(row) == expected.logprobs.get(0)
            assert (row in chosen.failed) == (0 in expected.failed)


@pytest.mark.parametrize("sampling", EVERY_WAY)
def test_the_logits_are_left_as_they_are(sampling: Sampling) -> None:
    logits = wide_rows(2)
    before = logits.copy()
    rows = [state(sampling, prompt=np.arange(50)) for _ in logits]
    choose(logits, rows, [None, mask_of([1, 2, 3], WIDE)])
    assert (logits == before).all()


def test_rows_of_a_larger_array_need_no_copy_of_their_own() -> None:
    steps = np.random.default_rng(0).normal(size=(3, 2, WIDE)).astype(np.float32)
    last = steps[:, -1, :]
    rows, others = ([state(EVERY_WAY[way], way) for way in (0, 2, 4)] for _ in range(2))
    assert choose(last, rows).tokens.tolist() == choose(last.copy(), others).tokens.tolist()


def test_a_request_says_how_to_choose() -> None:
    request = GenerateRequest(
        prompt="a",
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        min_p=0.1,
        repetition_penalty=1.1,
        presence_penalty=0.2,
        frequency_penalty=0.3,
        logit_bias={5: 1.5, 2: -100},
        logprobs=4,
    )
    sampling = Sampling.of(request)
    for name in ("temperature", "top_p", "top_k", "min_p", "logprobs"):
        assert getattr(sampling, name) == getattr(request, name)
    for name in ("repetition_penalty", "presence_penalty", "frequency_penalty"):
        assert getattr(sampling, name) == getattr(request, name)
    assert dict(zip(sampling.bias_tokens.tolist(), sampling.bias_values.tolist(), strict=True)) == {
        5: 1.5,
        2: -100,
    }
    assert Sampling.of(GenerateRequest(prompt="a")).bias_tokens.tolist() == []
