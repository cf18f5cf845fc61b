"""Where a task is and why it is still there."""

from collections.abc import Sequence

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.tasks.v1 import task_pb2
from scheduler.errors import InvalidInput, TaskNotFound
from scheduler.policies.policy import LevelMode, Policy, TaskOrder
from scheduler.ports.pauses import Pause
from scheduler.ports.records import HistoryEntry, Record, Wanted
from scheduler.states import Level, TaskState
from services.gateway import phases, spoken
from tests.unit.services.gateway.explained import MINE, OPERATOR, TENANT, Explained, serving


def after_s(moment: Timestamp, world: Explained) -> float:
    return (moment.ToMilliseconds() - world.clock.now_ms()) / 1000


async def test_a_task_behind_others_is_told_how_many_start_before_it_and_when_it_starts() -> None:
    world = Explained()
    await world.submit(30)
    [asked] = await world.submit()
    await world.announce(serving(held={(Level.NORMAL, MINE): 1}))
    answer = await world.of(asked)
    assert await world.kinds(asked) == ["BEHIND", "NO_CREDIT"]
    assert answer.reasons[0].detail == (
        "30 tasks start before it (30 NORMAL), 3.0 s of work of one runner, of which 1 runner does 1 s a second."
    )
    assert answer.reasons[1].detail == (
        "The 1 runner of 'm' takes no more: it holds 1 task, 1 NORMAL of tenant mine; more runners of it would help."
    )
    [ahead] = answer.ahead
    assert (ahead.priority, ahead.tenant, ahead.tasks) == (task_pb2.PRIORITY_NORMAL, MINE, 30)
    assert ahead.work.ToMilliseconds() == 3000
    assert after_s(answer.start.time, world) == pytest.approx(3.07, abs=0.01)
    assert answer.start.earliest.ToMilliseconds() < answer.start.time.ToMilliseconds()
    assert answer.start.time.ToMilliseconds() < answer.start.latest.ToMilliseconds()
    assert after_s(answer.end.time, world) == pytest.approx(3.17, abs=0.01)
    assert answer.summary.startswith("30 tasks start before it (30 NORMAL), 3.0 s of work of one runner")
    assert " It is expected to start in about 3.1 s (between 1.9 s and 4.4 s)." in answer.summary


async def test_higher_levels_and_other_tenants_stand_apart_for_operators() -> None:
    world = Explained()
    await world.submit(8, tenant="rich", level=Level.CRITICAL)
    await world.submit(50, tenant="other")
    await world.submit(3)
    [asked] = await world.submit()
    await world.announce(serving())
    answer = await world.of(asked, OPERATOR)
    assert [(one.priority, one.tenant) for one in answer.ahead] == [(1, "rich"), (3, "other"), (3, MINE)]
    assert [one.tasks for one in answer.ahead] == [8, 4, 3]


async def test_in_strict_mode_all_of_a_higher_level_starts_before() -> None:
    world = Explained(Policy(level_mode=LevelMode.STRICT))
    await world.submit(100, level=Level.HIGH)
    [asked] = await world.submit()
    await world.announce(serving())
    answer = await world.of(asked)
    assert [(one.priority, one.tasks) for one in answer.ahead] == [(task_pb2.PRIORITY_HIGH, 100)]
    assert after_s(answer.start.time, world) == pytest.approx(10.07, abs=0.02)


async def test_without_a_scheduler_nothing_starts_and_nothing_is_expected() -> None:
    world = Explained()
    [asked] = await world.submit()
    answer = await world.of(asked)
    assert await world.kinds(asked) == ["NO_SCHEDULER"]
    assert answer.summary == "No scheduler is there, so nothing starts."
    assert not answer.HasField("start") and not answer.HasField("end")


async def test_a_pool_that_no_scheduler_works_on_is_named_with_those_that_are() -> None:
    world = Explained()
    [asked] = await world.submit()
    pool = serving()
    pool.pool = "gpu"
    await world.announce(pool)
    answer = await world.of(asked)
    assert await world.kinds(asked) == ["NO_SCHEDULER"]
    assert answer.reasons[0].detail == (
        "No scheduler works on pool 'default'; the scheduler that is there works on 'gpu'."
    )


async def test_without_a_runner_of_the_model_those_that_there_are_are_named() -> None:
    world = Explained()
    [asked] = await world.submit(model="x")
    pool = serving(model="y")
    pool.models.add(model="z", runners=1)
    await world.announce(pool)
    answer = await world.of(asked)
    assert await world.kinds(asked) == ["NO_RUNNER"]
    assert answer.reasons[0].detail == (
        "No runner has model 'x' in pool 'default'; 2 runners serve: y, z; a runner with this model would start it."
    )
    assert not answer.HasField("start")


async def test_without_any_runner_that_is_said() -> None:
    world = Explained()
    [asked] = await world.submit()
    await world.announce()
    answer = await world.of(asked)
    assert answer.summary == "No runner has model 'm' in pool 'default', and there is no other runner."


async def test_a_pause_is_named_with_its_reason_and_its_age() -> None:
    world = Explained()
    [asked] = await world.submit(labels={"job": "a"})
    await world.announce(serving(free=4))
    await world.store.pauses.pause(Pause(model="m"), "maintenance")
    await world.store.pauses.pause(Pause(label_key="job", label_value="b"), "not mine")
    world.clock.advance(90)
    answer = await world.of(asked)
    assert await world.kinds(asked) == ["PAUSED"]
    assert answer.reasons[0].detail.startswith("A pause of model m holds it back since ")
    assert answer.reasons[0].detail.endswith(", for 90 s: maintenance; forebay resume takes it back.")
    assert not answer.HasField("start")


async def test_runners_that_failed_too_often_are_no_runners_for_a_moment() -> None:
    world = Explained()
    [asked] = await world.submit()
    await world.announce(serving(runners=2, broken=2))
    answer = await world.of(asked)
    assert await world.kinds(asked) == ["CIRCUIT_OPEN", "NO_CREDIT"]
    assert answer.reasons[0].detail == (
        "All 2 runners of 'm' failed too often and get no work for a moment; each is tried again with one task within "
        "a minute."
    )
    assert not answer.HasField("start")


async def test_credit_that_is_used_up_is_told_by_level_and_tenant() -> None:
    world = Explained()
    [asked] = await world.submit()
    held = {(Level.LOW, "a"): 5, (Level.LOW, "b"): 6, (Level.HIGH, MINE): 2}
    await world.announce(serving(runners=2, held=held))
    answer = await world.of(asked, OPERATOR)
    assert answer.reasons[0].detail == (
        "The 2 runners of 'm' take no more: they hold 13 tasks, 6 LOW of tenant b, 5 LOW of tenant a, 2 HIGH of tenant "
        "mine; more runners of it would help."
    )
    answer = await world.of(asked, TENANT)
    assert "11 LOW of other tenants, 2 HIGH of tenant mine" in answer.reasons[0].detail


async def test_with_free_credit_and_nothing_before_it_a_task_starts_at_once() -> None:
    world = Explained()
    [asked] = await world.submit()
    await world.announce(serving(free=4))
    answer = await world.of(asked)
    assert await world.kinds(asked) == ["UNPUBLISHED"]
    assert answer.summary == (
        "It came into its queue a moment ago and is on its way to a scheduler. It is expected to start at once."
    )
    world.clock.advance(60)
    assert "no scheduler has had it for 60 s" in (await world.of(asked)).summary


async def test_a_start_is_expected_only_where_somebody_knows_what_such_tasks_cost() -> None:
    world = Explained()
    await world.submit(10)
    [asked] = await world.submit()
    pool = serving()
    del pool.costs[:]
    await world.announce(pool)
    answer = await world.of(asked)
    assert answer.ahead[0].tasks == 10
    assert not answer.HasField("start") and not answer.HasField("end")


async def test_a_task_is_warned_of_a_deadline_that_comes_before_its_end() -> None:
    world = Explained(Policy(express_slack_s=0.0))
    await world.submit(100)
    [asked] = await world.submit(deadline_ms=world.clock.now_ms() + 2_000)
    await world.announce(serving())
    assert (await world.of(asked)).summary.endswith(" comes before it is expected to end.")


async def test_a_task_that_will_be_on_the_express_lane_is_expected_sooner() -> None:
    world = Explained(Policy(order=TaskOrder.DEADLINE))
    await world.submit(1000)
    [asked] = await world.submit(deadline_ms=world.clock.now_ms() + 20_000)
    await world.announce(serving())
    start_s = after_s((await world.of(asked)).start.time, world)
    assert 9.5 < start_s < 10.5


async def test_a_promoted_task_is_before_those_that_came_earlier() -> None:
    world = Explained(Policy(order=TaskOrder.DEADLINE))
    await world.submit(1000)
    [asked] = await world.submit(deadline_ms=world.clock.now_ms() + 5_000)
    await world.announce(serving())
    [promoted], _ = await world.store.sweeps.promote([7], 6_000, {}, 10)
    assert promoted.id == asked
    answer = await world.of(asked)
    assert after_s(answer.start.time, world) < 0.5
    assert answer.phases[-1].reason == "PROMOTED"


async def test_a_task_whose_time_has_not_come_says_when_it_does() -> None:
    world = Explained()
    due_ms = world.clock.now_ms() + 90_000
    [asked] = await world.submit(not_before_ms=due_ms)
    answer = await world.of(asked)
    assert await world.kinds(asked) == ["NOT_BEFORE"]
    assert answer.reasons[0].until.ToMilliseconds() == due_ms
    assert answer.summary.startswith("Its time comes in 90 s, at ")
    world.clock.advance(120)
    assert "overdue" in (await world.of(asked)).reasons[0].detail


async def test_a_task_that_waits_for_others_names_those_that_have_not_ended() -> None:
    world = Explained()
    ids = await world.submit(8)
    await world.lease(*ids[:2])
    await world.finish(ids[0])
    [asked] = await world.submit(parents=tuple(ids))
    answer = await world.of(asked)
    assert await world.kinds(asked) == ["PARENTS"]
    assert answer.summary == (
        f"7 of the 8 tasks that it depends on have not ended: {ids[1]} (RUNNING), "
        f"{', '.join(f'{one} (QUEUED)' for one in ids[2:6])} and 2 more."
    )


async def test_a_task_that_rests_says_after_what_and_until_when_at_the_latest() -> None:
    world = Explained()
    [asked] = await world.submit()
    await world.lease(asked)
    failed_ms = world.clock.now_ms()
    await world.finish(asked, TaskState.FAILED, retry_in_ms=400)
    answer = await world.of(asked)
    assert await world.kinds(asked) == ["BACKOFF"]
    assert answer.reasons[0].until.ToMilliseconds() == failed_ms + 500
    assert answer.summary == "Attempt 1 failed with MODEL_FAILED (it broke)."
    assert "before attempt 2 of 3" in answer.reasons[0].detail


async def test_a_running_task_names_its_runner_and_when_it_is_expected_to_end() -> None:
    world = Explained()
    [asked] = await world.submit()
    await world.announce(serving(work_ms=10_000.0))
    await world.lease(asked)
    world.clock.advance(4)
    answer = await world.of(asked)
    assert await world.kinds(asked) == ["RUNNING"]
    assert answer.reasons[0].detail == (
        "Runner r1 has had it for 4.0 s, in attempt 1; such tasks are there for about 10 s."
    )
    assert after_s(answer.end.time, world) == pytest.approx(6.0, abs=0.1)
    assert not answer.HasField("start") and not answer.ahead
    world.clock.advance(30)
    assert after_s((await world.of(asked)).end.time, world) > 0.1


async def test_a_running_task_of_which_nobody_knows_the_cost_has_no_expected_end() -> None:
    world = Explained()
    [asked] = await world.submit()
    await world.lease(asked)
    world.clock.advance(4)
    answer = await world.of(asked)
    assert answer.summary == "Runner r1 has had it for 4.0 s, in attempt 1."
    assert not answer.HasField("end")


async def test_a_task_that_has_ended_tells_how_it_spent_its_life() -> None:
    world = Explained()
    [asked] = await world.submit()
    world.clock.advance(10)
    await world.lease(asked)
    world.clock.advance(2)
    await world.finish(asked)
    world.clock.advance(1000)
    answer = await world.of(asked)
    assert answer.summary == (
        "It succeeded 12 s after its creation, in 1 attempt: 10 s in its queue, 2.0 s with a runner."
    )
    assert not answer.reasons and not answer.ahead
    lengths = [(phase.state, phase.duration.ToMilliseconds()) for phase in answer.phases]
    assert lengths == [
        (task_pb2.TASK_STATE_QUEUED, 10_001),
        (task_pb2.TASK_STATE_RUNNING, 2_000),
        (task_pb2.TASK_STATE_SUCCEEDED, 0),
    ]


async def test_a_task_that_could_not_have_ended_in_time_says_so() -> None:
    world = Explained()
    [asked] = await world.submit(deadline_ms=world.clock.now_ms() + 5_000)
    await world.store.records.lease([Wanted(asked, 1, need_ms=10_000)], "r1", 60_000)
    assert "too late to end before its deadline" in (await world.of(asked)).summary


async def test_another_tenants_task_is_not_found() -> None:
    world = Explained()
    [asked] = await world.submit(tenant="other")
    with pytest.raises(TaskNotFound):
        await world.of(asked)
    with pytest.raises(InvalidInput):
        await world.of("nonsense")


@given(
    lines=st.lists(
        st.tuples(st.sampled_from(list(Level)), st.sampled_from(["zeta", "qux", MINE]), st.integers(1, 5)),
        min_size=1,
        max_size=8,
    ),
    held=st.dictionaries(
        st.tuples(st.sampled_from(list(Level)), st.sampled_from(["zeta", "qux", MINE])), st.integers(1, 9)
    ),
    free=st.integers(0, 3),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
async def test_whoever_does_not_operate_the_platform_never_meets_another_tenants_name_or_ids(
    lines: Sequence[tuple[Level, str, int]], held: dict[tuple[Level, str], int], free: int
) -> None:
    world = Explained()
    others: list[str] = []
    for level, tenant, count in lines:
        ids = await world.submit(count, tenant=tenant, level=level)
        others += ids if tenant != MINE else []
    [asked] = await world.submit()
    await world.announce(serving(free=free, held=held))
    text = str(await world.of(asked, TENANT))
    assert "zeta" not in text and "qux" not in text
    assert not any(one in text for one in others)
    shown = await world.of(asked, OPERATOR)
    hidden = await world.of(asked, TENANT)
    assert sum(one.tasks for one in shown.ahead) == sum(one.tasks for one in hidden.ahead)


@given(
    steps=st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(list(TaskState)[:5])), min_size=1),
    end=st.sampled_from([None, *list(TaskState)[5:]]),
    since=st.integers(0, 10**6),
)
def test_the_phases_of_a_task_add_up_to_its_whole_life(
    steps: list[tuple[int, TaskState]], end: TaskState | None, since: int
) -> None:
    now, history = 1_000, []
    for passed, state in steps:
        history.append(HistoryEntry(now, state, ""))
        now += passed
    if end is not None:
        history.append(HistoryEntry(now, end, ""))
    record = Record(
        *("id", MINE, history[-1].state, 1, 1, b"", 1_000, 0, 0, now if end else 0, "", b"", b""),
        history=tuple(history),
    )
    found = phases.spells(record, now + since)
    assert sum(spell.duration_ms for spell in found) == now - 1_000 + (0 if end else since)
    assert [spell.state for spell in found] == [entry.state for entry in history]
    if end is not None:
        assert phases.told(record, found).endswith(".")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "a moment"),
        (0.0504, "50 ms"),
        (1.26, "1.3 s"),
        (12.4, "12 s"),
        (119.0, "119 s"),
        (200.0, "3 min 20 s"),
        (1500.0, "25 min"),
        (7500.0, "2 h 05 min"),
        (400_000.0, "5 days"),
    ],
)
def test_lengths_of_time_read_well(seconds: float, text: str) -> None:
    assert spoken.duration(seconds) == text
