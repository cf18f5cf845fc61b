"""What a model takes for input and output."""

from random import Random

import pytest

from scheduler.prediction.pace import OF_GENERATION, OF_TENSORS, Pace


def taught(pace: Pace, tasks: int, *, per_input: float, per_output: float, seed: int = 1) -> Pace:
    random = Random(seed)
    for _ in range(tasks):
        inputs, outputs = random.randrange(100, 5000), random.randrange(1, 500)
        work_ms = (per_input * inputs + per_output * outputs) * random.lognormvariate(0, 0.1)
        pace.learn(inputs, outputs, work_ms, 3 * work_ms)
    return pace


def test_input_and_output_are_told_apart() -> None:
    pace = taught(Pace(OF_GENERATION), 800, per_input=0.05, per_output=6.0)
    assert pace.work.per_input == pytest.approx(0.05, rel=0.15)
    assert pace.work.per_output == pytest.approx(6.0, rel=0.15)
    assert pace.execute.per_output == pytest.approx(18.0, rel=0.15)


def test_where_all_tasks_are_alike_their_usual_ratio_decides() -> None:
    pace = Pace(OF_GENERATION)
    for _ in range(64):
        pace.learn(1000, 100, 220.0, 220.0)
    assert pace.work.ms(1000, 100) == pytest.approx(220.0, rel=0.01)
    assert pace.work.per_input / pace.work.per_output == pytest.approx(0.01, rel=0.1)


def test_rates_are_never_negative() -> None:
    pace = Pace(OF_GENERATION)
    for inputs, outputs, work_ms in ((100, 100, 500.0), (4000, 100, 400.0), (8000, 90, 300.0)) * 20:
        pace.learn(inputs, outputs, work_ms, work_ms)
    assert pace.work.per_input >= 0.0
    assert pace.work.per_output > 0.0


def test_what_brings_nothing_and_needs_nothing_teaches_nothing() -> None:
    pace = Pace(OF_TENSORS)
    pace.learn(0, 0, 1.0, 1.0)
    assert pace.work == OF_TENSORS


def test_a_model_that_becomes_slower_is_noticed_at_once() -> None:
    pace = taught(Pace(OF_GENERATION), 2000, per_input=0.02, per_output=5.0)
    before = pace.epoch
    taught(pace, 48, per_input=0.08, per_output=20.0, seed=2)
    assert pace.epoch > before
    assert pace.work.ms(1000, 100) == pytest.approx(2080.0, rel=0.2)


def test_heavy_tails_are_no_drift() -> None:
    pace, random = Pace(OF_TENSORS), Random(1)
    for _ in range(20_000):
        work_ms = random.lognormvariate(2, 1.2)
        pace.learn(100, 1, work_ms, work_ms)
    assert pace.drift.alarms <= 2
