"""Errors that keep falling on one side."""

from random import Random

from scheduler.prediction.drift import OneSided


def until_alarm(draw: object, most: int) -> int:
    drift = OneSided()
    for number in range(1, most + 1):
        if drift.note(draw()):  # type: ignore[operator]
            return number
    return 0


def test_twenty_errors_in_a_row_are_no_chance() -> None:
    assert 15 <= until_alarm(lambda: 1, 100) <= 25
    assert 15 <= until_alarm(lambda: -1, 100) <= 25


def test_errors_on_both_sides_are_chance() -> None:
    random = Random(1)
    assert until_alarm(lambda: random.choice((1, -1)), 20_000) == 0


def test_hits_say_nothing() -> None:
    assert until_alarm(lambda: 0, 1000) == 0


def test_it_begins_anew_after_an_alarm() -> None:
    drift = OneSided()
    while not drift.note(1):
        pass
    assert not any(drift.note(1) for _ in range(10))
