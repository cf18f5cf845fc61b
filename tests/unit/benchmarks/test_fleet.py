"""Simulated runners that pause rows, and messages that take their time: cases computed by hand."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scheduling.fleet import RunnerSpec
from benchmarks.scheduling.jobs import End, Job
from benchmarks.scheduling.scheduled import scheduled
from benchmarks.scheduling.simulator import conserved, simulate
from benchmarks.scheduling.traces import Arrival
from scheduler.policies.policy import DEFAULT_POLICY, LevelMode, Policy
from scheduler.states import Level

PAUSES = RunnerSpec("one", ahead=1, reserve=1, step_ms=10)


def row(time_ms: float, execute_ms: float, level: Level = Level.LOW, deadline_ms: float = 0) -> Arrival:
    return Arrival(time_ms, "a", level, "model", execute_ms, deadline_ms=deadline_ms)


def run(rows: Sequence[Arrival], spec: RunnerSpec = PAUSES, hop_ms: float = 0.0) -> Sequence[Job]:
    return simulate(rows, (spec,), scheduled(DEFAULT_POLICY), hop_ms=hop_ms).jobs


def test_a_low_row_gives_way_after_its_step_and_goes_on_where_it_was() -> None:
    low, critical = run([row(0, 100), row(33, 20, Level.CRITICAL)])
    assert (critical.start_ms, critical.end_ms) == (40, 60)
    assert (low.start_ms, low.end_ms, low.pauses) == (0, 120, 1)
    assert low.spent_ms == pytest.approx(100)


def test_a_critical_row_gives_way_to_nobody() -> None:
    first, second = run([row(0, 100, Level.CRITICAL), row(33, 20, Level.CRITICAL)])
    assert (first.end_ms, second.start_ms, first.pauses) == (100, 100, 0)


def test_of_two_low_rows_the_longer_one_gives_way() -> None:
    spec = RunnerSpec("two", slots=2, ahead=2, reserve=2, step_ms=10)
    short, long, critical = run([row(0, 50), row(0, 200), row(5, 30, Level.CRITICAL)], spec)
    assert (short.end_ms, critical.start_ms, long.end_ms) == (50, 10, 230)


def test_a_paused_row_goes_on_before_new_ones() -> None:
    low, critical, late = run([row(0, 100), row(1, 20, Level.CRITICAL), row(2, 5, Level.LOW)])
    assert (critical.start_ms, low.end_ms, late.start_ms) == (10, 120, 120)


def test_who_waits_for_the_second_critical_task_is_paused_again_after_one_step() -> None:
    low, first, second = run([row(0, 100), row(1, 20, Level.CRITICAL), row(2, 20, Level.CRITICAL)])
    assert (first.start_ms, second.start_ms, low.pauses, low.end_ms) == (10, 40, 2, 140)


def test_a_paused_row_whose_deadline_passes_is_stopped() -> None:
    low, critical = run([row(0, 100, deadline_ms=110), row(5, 200, Level.CRITICAL)])
    assert (low.end, low.spent_ms, critical.end) == (End.STOPPED, 10, End.DONE)


def test_without_pausing_a_critical_task_waits_for_the_end() -> None:
    low, critical = run([row(0, 100), row(33, 20, Level.CRITICAL)], RunnerSpec("one", ahead=1, reserve=1))
    assert (critical.start_ms, low.pauses) == (100, 0)


def test_messages_take_their_time_in_both_directions() -> None:
    rows = [row(0, 10), row(1, 10)]
    assert [job.start_ms for job in run(rows, RunnerSpec("one"), hop_ms=2)] == [2, 16]
    assert [job.start_ms for job in run(rows, RunnerSpec("one", ahead=1), hop_ms=2)] == [2, 12]


ROWS = st.lists(
    st.builds(
        row,
        time_ms=st.integers(0, 400).map(float),
        execute_ms=st.integers(1, 90).map(float),
        level=st.sampled_from(Level),
        deadline_ms=st.sampled_from((0.0, 0.0, 300.0)),
    ),
    max_size=40,
).map(lambda rows: sorted(rows, key=lambda one: one.time_ms))


@given(
    rows=ROWS,
    slots=st.integers(1, 3),
    step_ms=st.sampled_from((0.0, 7.0, 25.0)),
    hop_ms=st.sampled_from((0.0, 3.0)),
    mode=st.sampled_from(LevelMode),
)
@settings(max_examples=150, deadline=None)
def test_whatever_is_paused_each_task_ends_once_and_gets_what_it_needs(
    rows: list[Arrival], slots: int, step_ms: float, hop_ms: float, mode: LevelMode
) -> None:
    policy = Policy(level_mode=mode)
    spec = RunnerSpec("one", slots=slots, ahead=slots, reserve=slots, step_ms=step_ms)
    found = simulate(rows, (spec,), scheduled(policy), policy, hop_ms=hop_ms)
    assert conserved(found)
    assert 0 <= found.utilisation <= 1
    assert sum(job.spent_ms for job in found.jobs) == pytest.approx(found.runners[0].busy_ms)
    for job in found.jobs:
        assert not job.pauses or (step_ms and job.arrival.level is not Level.CRITICAL)
        if job.end is End.DONE:
            assert job.spent_ms == pytest.approx(job.arrival.execute_ms)
            assert job.end_ms - job.start_ms >= job.arrival.execute_ms - 1e-6
