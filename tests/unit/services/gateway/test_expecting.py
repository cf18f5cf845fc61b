"""What the forecast of a task is made of."""

import pytest

from scheduler.policies.policy import Policy
from scheduler.ports.lines import Line
from scheduler.ports.pauses import Pause, StandingPause
from scheduler.ports.records import HistoryEntry, Record
from scheduler.states import Level, TaskState
from services.gateway.expecting import Task, backlogs, place_ms, run, turn, urgent_ms
from services.gateway.fleet_speed import work_rate
from services.gateway.fleet_view import ALL, Cost, Flow, ModelKnown, PoolKnown

N = Level.NORMAL


def record(*history: HistoryEntry) -> Record:
    steps = history or (HistoryEntry(1_000, TaskState.QUEUED, ""),)
    return Record(
        *("id", "mine", TaskState.QUEUED, 0, 1, b"", 1_000, 1_000, 0, 0, "", b"", b""), history=steps
    )


def task(deadline_ms: int = 0, level: Level = N, promoted: bool = False) -> Task:
    steps = [HistoryEntry(1_000, TaskState.QUEUED, "")]
    if promoted:
        steps.append(HistoryEntry(2_000, TaskState.QUEUED, "PROMOTED"))
    return Task(record(*steps), "default", level, "m", {}, deadline_ms)


def line(tenant: str, queued: int, level: Level = N, model: str = "m", pool: str = "default") -> Line:
    return Line(pool, level, tenant, model, queued, 0, 0)


def pool(model: ModelKnown | None = None, **flows: Flow) -> PoolKnown:
    known = PoolKnown(costs={("m", "", ALL): Cost(100.0, 100.0, 1.2)})
    known.models["m"] = model or ModelKnown(runners=1, slots=1)
    known.flows.update({Level[name]: flow for name, flow in flows.items()})
    return known


def start_s(asked: Task, lines: list[Line], known: PoolKnown, place: int = 0) -> float:
    found, _ = turn(asked, lines, place, known, (), Policy(), now_ms=5_000)
    assert found is not None
    return found.start_s


def test_only_lines_of_the_pool_and_the_model_are_before_a_task() -> None:
    lines = [line("mine", 9), line("b", 4), line("b", 4, model="x"), line("b", 4, pool="gpu"), line("c", 0)]
    found = backlogs(task(), lines, 5, pool(), ())
    assert [(one.tenant, one.tasks, one.before_tasks) for one in found] == [("mine", 9, 5), ("b", 4, 0)]
    assert found[0].work_ms == 900.0


def test_what_a_pause_holds_back_as_a_whole_is_before_nobody() -> None:
    standing = [
        StandingPause(Pause(level=int(Level.HIGH)), "", 0),
        StandingPause(Pause(label_key="job", label_value="x"), "", 0),
    ]
    lines = [line("a", 3, Level.HIGH), line("a", 2, Level.LOW)]
    assert [one.level for one in backlogs(task(), lines, 0, pool(), standing)] == [Level.LOW]


def test_runners_are_taken_to_be_as_fast_as_they_can_until_enough_was_seen() -> None:
    assert work_rate(ModelKnown(runners=3, broken=1)) == 2000
    assert work_rate(ModelKnown(runners=2, work_rate=400, start_rate=0.0)) == 2000
    assert work_rate(ModelKnown(runners=2, work_rate=400, start_rate=1e6)) == pytest.approx(400, rel=0.01)
    assert 400 < work_rate(ModelKnown(runners=2, work_rate=400, start_rate=1.0)) < 2000
    assert work_rate(ModelKnown(runners=1, work_rate=5000, start_rate=9.0)) <= 1000
    assert work_rate(ModelKnown()) == 0


def test_a_runner_full_of_others_keeps_a_task_waiting_beyond_its_lease() -> None:
    held = ModelKnown(runners=1, slots=1, uses={(N, "a"): 11, (Level.LOW, "a"): 500})
    _, expected_s = run(task(), pool(held), Policy(), 0.0)
    # Ten are before it inside the runner; LOW ones are not.
    assert expected_s == pytest.approx(1.1)
    _, alone_s = run(task(), pool(), Policy(), 0.0)
    assert alone_s == pytest.approx(0.1)


def test_a_task_that_must_hurry_goes_before_others_inside_its_runner() -> None:
    full = pool(ModelKnown(runners=1, slots=1, uses={(N, "a"): 1001}))
    urgent = task(deadline_ms=12_000)
    _, expected_s = run(urgent._replace(record=record()._replace(start_time_ms=1_000)), full, Policy(), 0.0)
    assert expected_s == pytest.approx(1.1)
    found, _ = turn(urgent, [line("mine", 1)], 0, full, (), Policy(), now_ms=1_000)
    calm, _ = turn(task(), [line("mine", 1)], 0, full, (), Policy(), now_ms=1_000)
    assert found is not None and calm is not None
    assert found.end_s == pytest.approx(1.1, abs=0.01)
    assert found.earliest_end_s <= found.end_s <= found.latest_end_s
    assert calm.end_s > 100


def test_a_burst_at_a_higher_level_counts_once() -> None:
    burst = Flow(in_window=100, arrived=10.0, steady=0.0, coming_s=3.0)
    lines = [line("mine", 1), line("a", 100, Level.HIGH)]
    # A hundred came at once and all of them wait: they are backlog, not what goes on coming.
    assert start_s(task(), lines, pool(HIGH=burst)) == start_s(task(), lines, pool(HIGH=Flow(100)))


def test_while_a_burst_comes_in_as_much_again_is_expected() -> None:
    lines = [line("mine", 100), line("a", 100, Level.HIGH)]
    burst = Flow(in_window=100, arrived=10.0, coming_s=1.0, burst=50.0)
    bursting_s = start_s(task(), lines, pool(HIGH=burst), place=99)
    more = [line("mine", 100), line("a", 150, Level.HIGH)]
    assert bursting_s == pytest.approx(start_s(task(), more, pool(HIGH=Flow(150)), place=99))
    assert bursting_s > start_s(task(), lines, pool(HIGH=Flow(100)), place=99)


def test_what_is_served_as_it_comes_leaves_less_to_lower_levels() -> None:
    lines = [line("mine", 100), line("a", 1, Level.HIGH)]
    steady = Flow(in_window=1, arrived=5.0, started=5.0, steady=5.0, coming_s=600.0)
    slower_s = start_s(task(), lines, pool(HIGH=steady), place=99)
    quicker_s = start_s(task(), lines, pool(), place=99)
    assert slower_s == pytest.approx(2 * quicker_s, rel=0.05)


def test_what_has_been_coming_in_for_a_moment_is_taken_to_stop_after_another() -> None:
    lines = [line("mine", 100), line("a", 1, Level.HIGH)]
    briefly = Flow(in_window=1, arrived=5.0, started=5.0, steady=5.0, coming_s=2.0)
    quicker_s = start_s(task(), lines, pool(), place=99)
    assert start_s(task(), lines, pool(HIGH=briefly), place=99) == pytest.approx(quicker_s + 1.0, abs=0.01)


def test_a_fleet_that_was_unsteady_makes_an_interval_wide() -> None:
    lines, widths = [line("mine", 100)], []
    for spread in (0.0, 1.05, 2.0):
        model = ModelKnown(runners=1, slots=1, rate_spread=spread)
        found, _ = turn(task(), lines, 99, pool(model), (), Policy(), now_ms=5_000)
        assert found is not None
        widths.append(found.latest_start_s - found.earliest_start_s)
    usual, narrow, wide = widths
    assert narrow < usual < wide


def test_what_enters_a_full_window_is_not_what_comes_in() -> None:
    full = Flow(in_window=512, arrived=9.0, started=9.0, steady=9.0, coming_s=60.0)
    lines = [line("mine", 100), line("a", 5000, Level.HIGH)]
    assert start_s(task(), lines, pool(HIGH=full), place=99) == start_s(task(), lines, pool(), place=99)


def test_on_its_lane_a_task_stands_where_it_came() -> None:
    assert place_ms(task(deadline_ms=3_000)) == 1_000
    assert place_ms(Task(record()._replace(queue_time_ms=0), "default", N, "m", {})) == 1_000


def test_on_the_express_lane_nothing_of_its_tenant_stands_before_a_task() -> None:
    assert urgent_ms(task(1_500)) == 0
    assert urgent_ms(task()) == 1_000


def test_a_task_is_promoted_as_long_as_it_is_queued_for_that_reason() -> None:
    assert task(promoted=True).promoted
    assert not task().promoted


def test_without_a_runner_nothing_is_expected_and_what_is_before_is_told() -> None:
    found, before = turn(task(), [line("mine", 9)], 8, PoolKnown(), (), Policy(), now_ms=5_000)
    assert found is None
    assert [one.tasks for one in before] == [8]
