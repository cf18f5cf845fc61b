"""How many tasks a runner holds ahead."""

from inference.runner.ahead import TARGET_S, Ahead
from inference.runner.credit import CreditPool


class Stream:
    def __init__(self) -> None:
        self.share = 0

    def set_share(self, tasks: int) -> None:
        self.share = tasks


def holding(least: int = 8, most: int = 1024) -> tuple[Ahead, Stream, CreditPool]:
    credit, stream = CreditPool(most), Stream()
    credit.join(stream)
    return Ahead(credit, least, most), stream, credit


def test_the_fewest_are_held_before_anything_is_known() -> None:
    _, stream, _ = holding(least=8)
    assert stream.share == 8


def test_as_many_are_held_as_fill_the_time_ahead() -> None:
    ahead, stream, _ = holding()
    ahead.ended(10, 10 * TARGET_S / 40)
    assert stream.share == 40


def test_never_fewer_and_never_more_than_the_bounds_are_held() -> None:
    ahead, stream, _ = holding()
    ahead.ended(1, 100 * TARGET_S)
    assert stream.share == 8
    for _ in range(60):
        ahead.ended(100, 1e-6)
    assert stream.share == 1024


def test_small_changes_and_reports_without_work_are_told_to_nobody() -> None:
    ahead, stream, _ = holding()
    ahead.ended(1, TARGET_S / 100)
    before = stream.share
    ahead.ended(1, TARGET_S / 110)
    ahead.ended(0, 1.0)
    ahead.ended(5, 0.0)
    assert stream.share == before


def test_a_pool_that_was_closed_gives_nothing_out_again() -> None:
    ahead, stream, credit = holding()
    credit.close()
    ahead.ended(1, TARGET_S / 500)
    assert stream.share == 0
