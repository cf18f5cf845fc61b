"""The simulator: cases computed by hand, and what holds of every run."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scheduling import scenarios
from benchmarks.scheduling.baselines import (
    BASELINES,
    clairvoyant_deadline,
    clairvoyant_shortest,
    fifo,
    strict_priority,
)
from benchmarks.scheduling.fleet import RunnerSpec
from benchmarks.scheduling.jobs import End
from benchmarks.scheduling.scheduled import scheduled
from benchmarks.scheduling.simulator import Make, Run, conserved, simulate
from benchmarks.scheduling.tables import HEAD, row_of
from benchmarks.scheduling.traces import Arrival
from scheduler.policies.policy import LevelMode, Policy, Routing, TaskOrder
from scheduler.states import Level

ONE = (RunnerSpec("one"),)
OURS: dict[str, Policy] = {
    "balanced": Policy(),
    "strict": Policy(level_mode=LevelMode.STRICT, order=TaskOrder.FIFO),
    "shortest": Policy(order=TaskOrder.SHORTEST, routing={"": Routing.POWER_OF_TWO}),
    "deadline": Policy(order=TaskOrder.DEADLINE, express_slack_s=1, routing={"": Routing.ROUND_ROBIN}),
}
CONTENDERS: dict[str, Make] = {**BASELINES, **{name: scheduled(policy) for name, policy in OURS.items()}}


def row(time_ms: float, execute_ms: float, level: Level = Level.NORMAL, deadline_ms: float = 0) -> Arrival:
    return Arrival(time_ms, "a", level, "model", execute_ms, deadline_ms=deadline_ms)


def starts(rows: Sequence[Arrival], make: Make, fleet: Sequence[RunnerSpec] = ONE) -> list[float]:
    return [job.start_ms for job in simulate(rows, fleet, make).jobs]


def test_first_in_first_out_on_one_runner() -> None:
    assert starts([row(0, 10), row(2, 5), row(3, 1), row(40, 1)], fifo) == [0, 10, 15, 40]


def test_two_runners_take_turns_as_they_become_free() -> None:
    fleet = (RunnerSpec("a"), RunnerSpec("b"))
    assert starts([row(0, 10), row(0, 4), row(1, 5), row(1, 5)], fifo, fleet) == [0, 0, 4, 9]


def test_a_runner_of_half_the_speed_takes_twice_as_long() -> None:
    run = simulate([row(0, 10)], (RunnerSpec("slow", speed=0.5),), fifo)
    assert run.jobs[0].end_ms == 20


def test_slots_of_one_runner_execute_side_by_side() -> None:
    run = simulate([row(0, 10), row(0, 10), row(0, 10)], (RunnerSpec("wide", slots=2),), fifo)
    assert [job.start_ms for job in run.jobs] == [0, 0, 10]
    assert run.utilisation == pytest.approx(30 / 40)


@pytest.mark.parametrize("make", [strict_priority, scheduled(OURS["strict"])])
def test_strict_priority_lets_a_higher_level_pass(make: Make) -> None:
    rows = [row(0, 10), row(1, 10, Level.LOW), row(2, 10, Level.CRITICAL), row(3, 10, Level.HIGH)]
    assert starts(rows, make) == [0, 30, 10, 20]


def test_the_clairvoyant_shortest_goes_first() -> None:
    assert starts([row(0, 10), row(1, 9), row(2, 3), row(3, 6)], clairvoyant_shortest) == [0, 19, 10, 13]


def test_the_clairvoyant_deadline_skips_what_cannot_be_met() -> None:
    rows = [
        row(0, 10, deadline_ms=10),
        row(1, 5, deadline_ms=30),
        row(2, 5, deadline_ms=20),
        row(3, 5, deadline_ms=14),
    ]
    run = simulate(rows, ONE, clairvoyant_deadline)
    assert [job.end for job in run.jobs] == [End.DONE, End.DONE, End.DONE, End.CANNOT_FINISH]
    assert [job.start_ms for job in run.jobs][:3] == [0, 15, 10]


def test_earliest_deadline_first_and_what_is_late_is_stopped_or_never_begun() -> None:
    rows = [
        row(0, 10),
        row(1, 5, deadline_ms=100),
        row(2, 20, deadline_ms=22),
        row(3, 5, deadline_ms=21),
    ]
    run = simulate(rows, ONE, scheduled(Policy(order=TaskOrder.DEADLINE)))
    assert [job.end for job in run.jobs] == [End.DONE, End.DONE, End.STOPPED, End.DONE]
    assert [job.start_ms for job in run.jobs] == [0, 22, 15, 10]
    assert run.ended_ms == 27


def test_weights_share_by_work() -> None:
    rows = [row(0, 10, Level.CRITICAL)] * 400 + [row(0, 20, Level.LOW)] * 400
    policy = Policy(weights={Level.CRITICAL: 3, Level.HIGH: 1, Level.NORMAL: 1, Level.LOW: 1})
    run = simulate(rows, ONE, scheduled(policy))
    half = [job.spent_ms for job in run.jobs if job.arrival.level is Level.LOW and job.start_ms < 4000]
    assert sum(half) == pytest.approx(1000, rel=0.05)


def test_a_task_behind_the_window_is_promoted_before_its_slack_has_run_out() -> None:
    rows = [row(0, 10, deadline_ms=10_000_000)] * 3000 + [row(1, 10, deadline_ms=12_000)]
    late, promoted = (
        simulate(rows, ONE, scheduled(Policy(order=TaskOrder.DEADLINE, express_slack_s=slack_s))).jobs[-1]
        for slack_s in (0.0, 5.0)
    )
    assert late.end in (End.EXPIRED, End.CANNOT_FINISH)
    assert promoted.end is End.DONE and 7_000 <= promoted.start_ms <= 7_020


def test_tasks_ahead_in_a_runner_keep_their_place_but_for_levels() -> None:
    fleet = (RunnerSpec("deep", ahead=10),)
    rows = [row(0, 10, Level.LOW)] * 8 + [row(1, 10, Level.CRITICAL)]
    assert starts(rows, scheduled(Policy()), fleet)[-1] == 10


ROWS = st.lists(
    st.builds(
        Arrival,
        time_ms=st.integers(0, 500).map(float),
        tenant=st.sampled_from("ab"),
        level=st.sampled_from(Level),
        model=st.sampled_from(("model", "other")),
        execute_ms=st.integers(1, 60).map(float),
        kind=st.sampled_from(("", "x")),
        input_size=st.integers(0, 9),
        output_limit=st.just(0),
        output_tokens=st.just(0),
        deadline_ms=st.sampled_from((0.0, 300.0, 700.0)),
    ),
    max_size=60,
).map(lambda rows: sorted(rows, key=lambda one: one.time_ms))
FLEET = (
    RunnerSpec("a", slots=2, ahead=1),
    RunnerSpec("b", speed=0.5),
    RunnerSpec("c", model="other", reserve=1),
)


@given(rows=ROWS, name=st.sampled_from(sorted(CONTENDERS)))
@settings(max_examples=60, deadline=None)
def test_every_task_ends_once_and_runners_do_no_more_than_they_can(rows: list[Arrival], name: str) -> None:
    run = simulate(rows, FLEET, CONTENDERS[name])
    assert conserved(run) and len(run.jobs) == len(rows)
    assert 0 <= run.utilisation <= 1
    for spec in FLEET:
        mine = [job for job in run.jobs if job.runner == spec.id]
        assert all(job.arrival.model == spec.model for job in mine)
        moments = sorted([(job.end_ms, -1) for job in mine] + [(job.start_ms, 1) for job in mine])
        inside = 0
        for _, change in moments:
            inside += change
            assert inside <= spec.slots
    for job in run.jobs:
        if job.end is End.DONE:
            assert job.start_ms >= job.arrival.time_ms
            assert not job.arrival.deadline_ms or job.end_ms <= job.arrival.deadline_ms


def test_nobody_idles_while_something_waits() -> None:
    rows = scenarios.lengths(1, 0.02).arrivals
    for make in CONTENDERS.values():
        run = simulate(rows, ONE, make)
        _assert_busy_while_waiting(run)


def _assert_busy_while_waiting(run: Run) -> None:
    by_start = sorted(run.jobs, key=lambda job: job.start_ms)
    for before, after in pairwise(by_start):
        # A start is either at the end before it, or at its own arrival at an idle runner.
        assert after.start_ms in (before.end_ms, after.arrival.time_ms)


def test_the_same_seed_gives_the_same_table() -> None:
    tables = []
    for _ in range(2):
        scenario = scenarios.bursts(5, 0.01)
        tables.append(
            [
                row_of(name, simulate(scenario.arrivals, scenario.fleet, make))
                for name, make in CONTENDERS.items()
            ]
        )
    assert tables[0] == tables[1]
    assert all(len(one) == len(HEAD) for one in tables[0])
    assert scenarios.bursts(6, 0.01).arrivals != scenarios.bursts(5, 0.01).arrivals
