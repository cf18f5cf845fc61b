"""Whatever tasks did cost, what is foretold is a number that can be worked with."""

from math import isfinite

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.policies.expected import Spent, Traits
from scheduler.prediction import LearnedCost
from scheduler.prediction.sketch import LARGEST

SIZES = st.one_of(st.integers(0, 5000), st.integers(0, 2**63 - 1))
TRAITS = st.builds(
    Traits,
    model=st.sampled_from(["a", "b"]),
    tenant=st.sampled_from(["", "x", "y"]),
    level=st.integers(1, 4),
    input_size=SIZES,
    output_limit=st.one_of(st.just(0), SIZES),
    kind=st.sampled_from(["", "k", "l"]),
)
TIMES = st.floats(allow_nan=True, allow_infinity=True)
SPENT = st.builds(Spent, work_ms=TIMES, execute_ms=TIMES, output_tokens=SIZES)


quick = settings(max_examples=60, deadline=None)


@quick
@given(st.lists(st.tuples(TRAITS, SPENT), max_size=60), st.lists(TRAITS, min_size=1, max_size=8))
def test_what_is_expected_is_positive_finite_and_bounded(
    seen: list[tuple[Traits, Spent]], asked: list[Traits]
) -> None:
    costs = LearnedCost()
    for traits, spent in seen:
        costs.expect(traits)
        costs.learn(traits, spent)
    for traits in asked:
        expected = costs.expect(traits)
        assert all(map(isfinite, expected))
        assert 0 < expected.work_ms <= LARGEST
        assert 0 < expected.execute_ms <= LARGEST
        assert 0 <= expected.least_ms <= expected.execute_ms
    for row in costs.usual(20):
        assert 0 < row.expected.work_ms <= LARGEST
        assert isfinite(row.spread)
        assert row.spread >= 1


@quick
@given(
    st.floats(0.1, 100.0),
    st.integers(1, 4096),
    st.lists(st.integers(1, 100_000), min_size=64, max_size=200),
)
def test_no_more_tokens_are_expected_than_a_task_may_generate(
    ms_per_token: float, limit: int, lengths: list[int]
) -> None:
    costs = LearnedCost()
    for tokens in lengths:
        costs.learn(
            Traits("m", "t", 3, 0, 200_000), Spent(tokens * ms_per_token, tokens * ms_per_token, tokens)
        )
    expected = costs.expect(Traits("m", "t", 3, 0, limit))
    assert expected.work_ms <= 1.01 * limit * ms_per_token
