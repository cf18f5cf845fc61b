import pytest

from inference.tensor.pace import Pace


def pace(target_s: float = 0.1) -> Pace:
    return Pace(target_s, max_rows=256, capacity=1024)


def test_a_fast_model_fills_its_runs() -> None:
    learned = pace()
    learned.ran(2, 0.00002, full=True)
    assert (learned.rows, learned.requests) == (256, 1024)


def test_rows_of_a_slow_model_are_so_few_that_a_run_meets_the_target() -> None:
    learned = pace()
    learned.ran(2, 0.032, full=True)
    assert (learned.rows, learned.requests) == (6, 24)


def test_a_model_slower_than_the_target_still_runs() -> None:
    learned = pace()
    learned.ran(1, 3.0)
    assert (learned.rows, learned.requests) == (1, 4)


def test_runs_with_a_cost_of_their_own_grow_until_they_meet_the_target() -> None:
    learned = pace()
    learned.ran(1, 0.011, full=True)
    for _ in range(10):
        learned.ran(learned.rows, 0.01 + 0.001 * learned.rows)
    assert learned.rows == pytest.approx(90, abs=2)


def test_runs_that_could_not_be_filled_teach_nothing() -> None:
    learned = pace()
    learned.ran(1, 0.01)
    assert learned.rows == 256
    learned.ran(0, 0.01)
    assert learned.rows == 256


def test_without_a_target_nothing_is_limited() -> None:
    learned = pace(target_s=0)
    learned.ran(256, 60.0)
    assert (learned.rows, learned.requests) == (256, 1024)


def test_a_fast_model_of_small_runs_is_held_as_many_requests_as_any() -> None:
    learned = Pace(0.1, max_rows=1, capacity=1024)
    assert learned.requests == 1024
    learned.ran(1, 0.0001)
    assert (learned.rows, learned.requests) == (1, 1024)
    learned.ran(1, 0.01)
    assert (learned.rows, learned.requests) == (1, 40)
