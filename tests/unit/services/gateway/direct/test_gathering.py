"""When a message goes, by what is known of the calls and of the loop lately."""

import pytest

from services.gateway.direct.gathering import ENOUGH, FEW, LONGEST_S, Gathering


class Loop:
    """Sends a message every five milliseconds, and is busy for a part of the time."""

    def __init__(self) -> None:
        self.gathering = Gathering(100.0, 7.0)
        self._now_s, self._worked_s = 100.0, 7.0

    def go_on(self, under_way: int, busy: float, messages: int = 50) -> Gathering:
        for _ in range(messages):
            self._now_s += 0.005
            self._worked_s += 0.005 * busy
            self.gathering.sent(under_way, self._now_s, self._worked_s)
        return self.gathering


def after(under_way: int, busy: float) -> Gathering:
    return Loop().go_on(under_way, busy)


def test_before_anything_is_known_nothing_waits() -> None:
    assert Gathering(0.0, 0.0).pause_s(1) == 0.0


def test_a_call_that_is_alone_or_almost_never_waits_however_busy_the_loop_is() -> None:
    assert [after(under_way, 1.0).pause_s(1) for under_way in range(1, FEW + 1)] == [0.0] * FEW


def test_while_the_loop_has_time_nothing_waits_however_many_calls_there_are() -> None:
    assert after(64, 0.2).pause_s(1) == 0.0


def test_the_busier_the_loop_the_longer_a_message_waits_and_never_for_longer_than_the_bound() -> None:
    pauses_s = [after(64, busy).pause_s(1) for busy in (0.3, 0.4, 0.5, 0.9, 1.0)]
    assert pauses_s == pytest.approx([LONGEST_S * part for part in (0.2, 0.6, 1.0, 1.0, 1.0)], rel=0.1)


def test_a_message_with_enough_calls_waits_for_no_more() -> None:
    gathering = after(256, 1.0)
    assert gathering.pause_s(ENOUGH - 1) == LONGEST_S
    assert gathering.pause_s(ENOUGH) == 0.0


def test_when_fewer_calls_are_under_way_than_lately_it_stops_waiting_after_a_few_messages() -> None:
    loop = Loop()
    loop.go_on(64, 1.0)
    messages = 0
    while loop.gathering.pause_s(1):
        loop.go_on(1, 1.0, messages=1)
        messages += 1
    assert 10 <= messages <= 20


def test_when_the_loop_has_rested_for_a_moment_nothing_waits() -> None:
    gathering = Gathering(0.0, 0.0)
    gathering.sent(64, 1.0, 1.0)
    assert gathering.pause_s(1) == LONGEST_S
    gathering.sent(64, 2.0, 1.0)
    assert gathering.pause_s(1) == 0.0


def test_two_messages_at_one_time_do_no_harm() -> None:
    gathering = Gathering(0.0, 0.0)
    gathering.sent(64, 1.0, 1.0)
    gathering.sent(64, 1.0, 1.0)
    assert gathering.pause_s(1) == LONGEST_S
