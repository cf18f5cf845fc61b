"""How fast queues and models move."""

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
    assert rates.work_per_second(*NORMAL) == rates.model_work_per_second("default", "m") == 700.0


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
