"""How fast queues and models move."""

import pytest

from scheduler.adapters.clock import FakeClock
from scheduler.service.rates import MOST_KEYS, WINDOW_S, Rates
from scheduler.states import Level

NORMAL = ("default", Level.NORMAL)


def test_rates_are_means_over_the_last_ten_seconds() -> None:
    clock = FakeClock()
    rates = Rates(clock)
    for second in range(30):
        rates.arrived(*NORMAL, 50)
        rates.started(*NORMAL, "m", 40)
        rates.ended(*NORMAL, 30)
        rates.worked(*NORMAL, "m", 700.0)
        if second < 29:
            clock.advance(1.0)
    assert rates.arrived_per_second(*NORMAL) == 50.0
    assert rates.started_per_second(*NORMAL) == rates.model_starts_per_second("default", "m") == 40.0
    assert rates.per_second(*NORMAL) == 30.0
    assert rates.work_per_second(*NORMAL) == 700.0


def test_a_second_that_is_not_over_makes_no_model_look_slower() -> None:
    clock = FakeClock()
    rates = Rates(clock)
    for _ in range(41):
        clock.advance(0.25)
        rates.worked(*NORMAL, "m", 225.0)
    # A quarter of the eleventh second is over.
    assert rates.model_work_per_second("default", "m", 2) == pytest.approx(900.0, rel=0.25)
    assert rates.model_work_per_second("default", "m") == pytest.approx(900.0, rel=0.03)


def arrive(rates: Rates, clock: FakeClock, *counts: int) -> None:
    """Let tasks come in, second by second, up to the beginning of the next."""
    for count in counts:
        if count:
            rates.arrived(*NORMAL, count)
        clock.advance(1.0)


def test_a_burst_is_not_taken_for_what_goes_on_coming_in() -> None:
    clock = FakeClock()
    rates = Rates(clock)
    arrive(rates, clock, 0, 0, 2000)
    assert rates.arrived_per_second(*NORMAL) == 200.0
    assert rates.steadily_per_second(*NORMAL) == 0.0
    assert rates.burst(*NORMAL) == 2000.0
    arrive(rates, clock, 250, 240, 260)
    assert rates.steadily_per_second(*NORMAL) == 250.0
    assert rates.burst(*NORMAL) == 10.0
    clock.advance(0.5)
    rates.arrived(*NORMAL, 500)
    assert rates.burst(*NORMAL) == 500 + 130 - 250


def test_what_comes_rarely_is_counted_as_it_comes() -> None:
    clock = FakeClock()
    rates = Rates(clock)
    arrive(rates, clock, 1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert rates.steadily_per_second(*NORMAL) == pytest.approx(0.3)


def test_how_long_tasks_have_been_coming_in_is_counted_from_the_last_long_pause() -> None:
    clock = FakeClock()
    rates = Rates(clock)
    assert rates.coming_for_s(*NORMAL) == 0
    arrive(rates, clock, 5, *[0] * 20)
    assert rates.coming_for_s(*NORMAL) == 0
    arrive(rates, clock, 5, 0, 5, *[0] * 5, 5)
    assert rates.coming_for_s(*NORMAL) == 9


def test_what_stopped_is_forgotten_after_ten_seconds() -> None:
    clock = FakeClock()
    rates = Rates(clock)
    rates.started(*NORMAL, "m", 40)
    clock.advance(WINDOW_S + 1)
    assert rates.started_per_second(*NORMAL) == 0.0
    assert rates.model_starts_per_second("default", "m") == 0.0


def test_queues_and_models_are_counted_apart() -> None:
    rates = Rates(FakeClock())
    rates.started("default", Level.HIGH, "a", 10)
    rates.started("gpu", Level.HIGH, "a", 20)
    assert rates.started_per_second("default", Level.HIGH) == 1.0
    assert rates.started_per_second("default", Level.LOW) == 0.0
    assert rates.model_starts_per_second("gpu", "a") == 2.0
    assert rates.model_starts_per_second("gpu", "b") == 0.0


def test_made_up_models_are_not_counted_without_end() -> None:
    rates = Rates(FakeClock())
    for number in range(2 * MOST_KEYS):
        rates.started(*NORMAL, f"m{number}", 10)
    assert rates.started_per_second(*NORMAL) == 2.0 * MOST_KEYS
    assert rates.model_starts_per_second("default", "m0") == 1.0
    assert rates.model_starts_per_second("default", f"m{2 * MOST_KEYS - 1}") == 0.0
