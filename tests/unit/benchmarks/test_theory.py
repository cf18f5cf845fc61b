"""Theory and simulator say the same where there is a formula."""

import pytest

from benchmarks.scheduling import figures, scenarios
from benchmarks.scheduling.arrivals import Kind, Source, about, generate
from benchmarks.scheduling.baselines import fifo, strict_priority
from benchmarks.scheduling.fleet import RunnerSpec
from benchmarks.scheduling.simulator import simulate
from benchmarks.scheduling.theory import highest_wait_ms, mean_waits_ms
from scheduler.states import Level

ONE = (RunnerSpec("one"),)
SECOND_MS2 = 100**2 * (1 + 0.1**2 / 3)


def test_one_level_is_the_formula_of_pollaczek_and_khinchine() -> None:
    [wait_ms] = mean_waits_ms([5], 100, 100**2)
    assert wait_ms == pytest.approx(0.5 * 100 / (2 * (1 - 0.5)))


def test_without_others_the_highest_level_mostly_waits_for_nothing() -> None:
    assert highest_wait_ms(0.9, 0.09, 0.09, 90, 110) == 0
    # Somebody is executed at every tenth arrival, and hardly ever two wait: the rest of one length.
    assert highest_wait_ms(0.95, 0.1, 0.1, 99.9, 100) == pytest.approx(50, abs=10)


def test_fifo_waits_as_theory_says() -> None:
    rows = generate([Source("a", Level.NORMAL, 7, (Kind(about(100)),))], 4000, 1)
    run = simulate(rows, ONE, fifo)
    [mean_ms] = mean_waits_ms([len(rows) / 4000], 100, SECOND_MS2)
    assert figures.waits(run).mean_ms == pytest.approx(mean_ms, rel=0.05)


def test_levels_wait_as_theory_says() -> None:
    load, seconds = 0.7, 8000
    per_s = [10 * load * part for part in scenarios.PARTS.values()]
    kinds = (Kind(about(100)),)
    sources = [Source("a", level, rate, kinds) for level, rate in zip(Level, per_s, strict=True)]
    run = simulate(generate(sources, seconds, 2), ONE, strict_priority)
    found = figures.by_level(run)
    expected = mean_waits_ms(per_s, 100, SECOND_MS2)
    assert [found[level].mean_ms for level in Level] == pytest.approx(expected, rel=0.06)
    p99_ms = highest_wait_ms(0.99, load * scenarios.PARTS[Level.CRITICAL], load, 90, 110)
    assert found[Level.CRITICAL].p99_ms == pytest.approx(p99_ms, rel=0.05)
