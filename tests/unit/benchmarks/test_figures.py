"""Figures of runs that can be counted by hand."""

import pytest

from benchmarks.scheduling import fairness, figures, tables
from benchmarks.scheduling.baselines import fifo
from benchmarks.scheduling.fleet import RunnerSpec
from benchmarks.scheduling.simulator import simulate
from benchmarks.scheduling.traces import Arrival
from scheduler.states import Level

ONE = (RunnerSpec("one"),)


def row(time_ms: float, execute_ms: float, tenant: str = "a", level: Level = Level.LOW) -> Arrival:
    return Arrival(time_ms, tenant, level, "model", execute_ms)


def test_a_percentile_is_a_value_that_occurred() -> None:
    assert figures.percentile(list(range(1, 101)), 0.99) == 99
    assert figures.percentile([5], 0.99) == 5
    assert figures.percentile([1, 2], 0.5) == 1


def test_jains_index() -> None:
    assert fairness.jain([3, 3, 3]) == pytest.approx(1)
    assert fairness.jain([1, 0, 0, 0]) == pytest.approx(0.25)
    assert fairness.jain([2, 1]) == pytest.approx(0.9)
    assert fairness.jain([0, 0]) == 1


def test_waits_by_level_and_tenant() -> None:
    run = simulate([row(0, 10), row(0, 10, "b", Level.HIGH), row(5, 10)], ONE, fifo)
    assert figures.by_level(run) == {Level.HIGH: (1, 10, 10), Level.LOW: (2, 7.5, 15)}
    assert figures.by_tenant(run) == {"a": (2, 7.5, 15), "b": (1, 10, 10)}


def test_what_still_waits_at_the_end_counts_with_what_it_has_waited() -> None:
    rows = [row(0, 100), row(0, 10), row(40, 10), row(60, 1)]
    run = simulate(rows, ONE, fifo, until_ms=50)
    assert run.ended_ms == 40
    found = figures.waits(run)
    assert (found.tasks, found.p99_ms) == (3, 40)
    assert found.mean_ms == pytest.approx(40 / 3)


def test_service_counts_while_everybody_waits() -> None:
    # b comes at 5. Starts: a at 0, b at 10, a at 20 for 20, b at 40, and the last of a, which is alone by then.
    rows = [row(0, 10), row(5, 10, "b"), row(5, 20), row(5, 10, "b"), row(5, 10)]
    found = fairness.service(simulate(rows, ONE, fifo), fairness.tenant_of)
    assert found.work_ms == {"a": 20, "b": 20}
    assert found.largest_difference_ms == 20, "a's start at 20, while b has nothing more"
    assert found.share("a") == 0.5
    assert fairness.service(simulate([], ONE, fifo), fairness.tenant_of).work_ms == {}


def test_differences_of_service_begin_anew_when_one_has_nothing_waiting() -> None:
    rows = [row(0, 10), row(0, 10, "b"), *[row(0, 10)] * 5, row(100, 10, "b"), row(100, 10), row(100, 10)]
    found = fairness.service(simulate(rows, ONE, fifo), fairness.tenant_of)
    assert found.largest_difference_ms == 10, "what a did alone in between does not count"
    assert found.work_ms == {"a": 10, "b": 20}


def test_tenants_of_different_levels_do_not_share() -> None:
    rows = [row(0, 10, "a", Level.HIGH)] * 9 + [row(0, 10, "b")] * 9
    run = simulate(rows, ONE, fifo)
    apart = fairness.service(run, fairness.tenant_of, lambda job: job.arrival.level)
    assert (apart.work_ms, apart.largest_difference_ms) == ({"a": 0, "b": 0}, 0)
    assert fairness.service(run, fairness.tenant_of).largest_difference_ms == 90


def test_deadlines_that_were_met() -> None:
    rows = [row(0, 10)._replace(deadline_ms=15), row(0, 10)._replace(deadline_ms=15), row(0, 1)]
    run = simulate(rows, ONE, fifo)
    assert figures.in_time(run) == 0.5
    assert figures.in_time(simulate(rows[2:], ONE, fifo)) == 1


def test_a_table_leaves_out_what_says_nothing() -> None:
    text = tables.without_empty_columns(("policy", "x", "y"), [("a", "", "1"), ("bcd", "", "22")])
    assert text.splitlines() == [
        "| policy |   y |",
        "| ------ | --: |",
        "| a      |   1 |",
        "| bcd    |  22 |",
    ]
