"""What the sweeper does when something is due, and what it costs when nothing is."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from forebay.tasks.v1.envelope_pb2 import Bundle
from scheduler.bundles import BUNDLE_PROPERTIES
from scheduler.errors import RecordsUnavailable
from scheduler.ids import new_ids
from scheduler.lanes import Lane
from scheduler.ports.records import Hold, NewTask, Written
from scheduler.ports.sweeps import Death
from scheduler.service import repair
from scheduler.service.promotion import INTERVAL_S as PROMOTION_S
from scheduler.states import Level, TaskState

from .world import SETTINGS, World


@pytest.fixture
def world() -> World:
    return World()


class Calls:
    """Counts the calls of a port."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.made: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.made[name] += 1
        return getattr(self._port, name)


async def test_an_idle_scheduler_asks_once_a_sweep_for_all_partitions(world: World) -> None:
    sweeps, follow_ups, schedules, membership = (
        Calls(world.store.sweeps),
        Calls(world.store.follow_ups),
        Calls(world.store.schedules),
        Calls(world.store.membership),
    )
    world.store.sweeps, world.store.follow_ups, world.store.schedules = sweeps, follow_ups, schedules  # type: ignore[assignment]  # calls are passed on
    world.store.membership = membership  # type: ignore[assignment]
    async with world.scheduler():
        await world.pass_time(1)
        for calls in (sweeps, follow_ups, schedules, membership):
            calls.made.clear()
        await world.pass_time(10)
    assert sweeps.made == {"due": 10 / SETTINGS.sweep_s, "promote": 10 / PROMOTION_S}
    assert not follow_ups.made
    assert not schedules.made
    assert membership.made["hold"] <= 4 * 5


async def test_a_task_starts_at_its_time_to_the_millisecond(world: World) -> None:
    task = await world.wait(in_ms=2_003)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1) as runner:
        await world.pass_time(2.002, step=0.001)
        assert await world.state(task) is TaskState.SCHEDULED
        await world.pass_time(0.005, step=0.001)
        assert await runner.assigned(1) == [(task, 1)]


async def test_a_thousand_tasks_due_at_once_are_all_published(world: World) -> None:
    ids = [await world.wait(in_ms=1_500, partition=n % 3) for n in range(1_000)]
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1_000) as runner:
        await world.pass_time(2, step=0.1)
        assert {task_id for task_id, _ in await runner.assigned(1_000)} == set(ids)


async def test_a_task_is_expired_at_its_deadline_wherever_it_is(world: World) -> None:
    blocked = await world.wait(parents=[await world.wait(in_ms=60_000)], deadline_in_ms=1_200)
    scheduled = await world.wait(in_ms=50_000, deadline_in_ms=1_300)
    running = await world.wait(deadline_in_ms=1_400)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1) as runner:
        await runner.assigned(1)
        queued = await world.wait(deadline_in_ms=1_300)
        await world.pass_time(1.1, step=0.1)
        assert TaskState.EXPIRED not in await world.states([blocked, scheduled, running, queued])
        await world.pass_time(0.5, step=0.1)
        assert await runner.cancelled() == [running]
        assert set(await world.states([blocked, scheduled, running, queued])) == {TaskState.EXPIRED}


async def test_what_a_dead_agents_runner_held_is_on_the_log_with_the_next_sweep_and_in_isolation(
    world: World,
) -> None:
    ids = await world.submit(2)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=2) as runner:
        held = await runner.assigned(2)
        deaths = [Death(task_id, attempt, charged=False, isolation="half") for task_id, attempt in held]
        assert await world.store.sweeps.runner_died(deaths, "RUNNER_CRASHED", b"e") == 2
        runner.grant(2)
        await world.pass_time(1, step=0.1)
        again = await runner.answers.get()
        assert {(a.envelope.id, a.attempt, a.isolation) for a in again.assignments} == {
            (task_id, 2, "half") for task_id in ids
        }


async def test_what_a_dead_gateway_left_half_done_is_completed(world: World) -> None:
    parent = (await world.submit(1))[0]
    child = await world.wait(parents=[parent], partition=9, complete=False)
    later = await world.wait(in_ms=60_000, partition=9, complete=False)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1) as runner:
        held = await runner.assigned(1)
        await world.pass_time(7)
        parked = [
            p for payload in world.log.parked["default"] for p in Bundle.FromString(payload).publications
        ]
        assert {(p.envelope.id, p.publication) for p in parked} == {(child, 0), (later, 0)}
        await world.finish(held)
        await world.entered(TaskState.QUEUED, child)
        count = len(world.log.parked["default"])
        await world.pass_time(7)
        assert len(world.log.parked["default"]) == count


async def test_publications_that_were_lost_together_are_told_in_one_line(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for partition in range(20):
        await world.wait(in_ms=60_000, partition=partition, complete=False)
    async with world.scheduler():
        await world.pass_time(7)
    told = [record for record in caplog.records if "made again" in record.getMessage()]
    assert [record.__dict__["tasks"] for record in told] == [20]


async def test_a_child_whose_parent_ended_before_they_were_linked_goes_on(world: World) -> None:
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1) as runner:
        parent = (await world.submit(1))[0]
        await world.finish(await runner.assigned(1))
        await world.pass_time(2)
        child = await world.wait(parents=[parent], complete=False)
        orphan = await world.wait(parents=["07-01kaj5x3c9f0e8q4v2m7t1b6zd"], complete=False)
        foreign = await world.wait(parents=[parent], tenant="other", complete=False)
        await world.pass_time(7)
        runner.grant(1)
        assert await runner.assigned(1) == [(child, 1)]
        assert await world.states([orphan, foreign]) == [TaskState.FAILED] * 2


async def test_a_log_that_is_away_keeps_neither_deadlines_nor_leases_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = (await world.submit(1, max_attempts=2))[0]
    late = await world.wait(in_ms=60_000, deadline_in_ms=11_000)
    async with world.scheduler() as scheduler:
        async with world.attached(scheduler, credits=1) as runner:
            await runner.assigned(1)
        # It does not answer for as long as the test lasts.
        monkeypatch.setattr(
            "scheduler.adapters.memory.log.MemoryPublisher.publish", lambda *given: world.clock.sleep(3600)
        )
        await world.pass_time(12)
        assert await world.states([lost, late]) == [TaskState.QUEUED, TaskState.EXPIRED]


async def test_the_sweeper_goes_on_after_the_record_store_was_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await world.wait(in_ms=1_000)
    due = world.store.sweeps.due

    async def away(*given: Any) -> Any:
        if world.clock.monotonic() < 3:
            raise RecordsUnavailable("away")
        return await due(*given)

    monkeypatch.setattr(world.store.sweeps, "due", away)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1) as runner:
        await world.pass_time(5)
        assert await runner.assigned(1) == [(task, 1)]


async def test_two_schedulers_share_the_partitions_and_a_survivor_takes_over_all(world: World) -> None:
    async with world.scheduler("s1"):
        async with world.scheduler("s2") as dying:
            await world.pass_time(1)
            assert dying is not None
        tasks = [await world.wait(in_ms=1_000, partition=partition) for partition in range(64)]
        # Duties of the dead one stand for two sweeps and a margin.
        await world.pass_time(2 * SETTINGS.sweep_s + 2, step=0.1)
        assert set(await world.states(tasks)) == {TaskState.QUEUED}


async def test_a_record_with_a_broken_envelope_stops_nobody(world: World) -> None:
    broken = [
        NewTask(task_id, "t", "default", Level.NORMAL, envelope, 3)
        for task_id, envelope in zip(new_ids(7, 2, world.clock.now_ms()), (b"", b"\xff"), strict=True)
    ]
    await world.store.records.create(broken)
    ids = await world.submit(1, publish=False)
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=9) as runner:
        await world.pass_time(7)
        assert [task_id for task_id, _ in await runner.assigned(1)] == ids


async def test_tasks_whose_message_was_damaged_on_the_log_are_put_on_it_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "PAGE", 2)
    ids = await world.submit(3)
    scheduled = await world.wait(in_ms=60_000)
    lane = Lane("default", Level.NORMAL, 0)
    [message] = world.log.partition(lane).waiting
    world.log.partition(lane).waiting[0] = replace(
        message, payload=b"\xff" + message.payload[1:], properties=BUNDLE_PROPERTIES
    )
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=9) as runner:
        assert {task_id for task_id, _ in await runner.assigned(3)} == set(ids)
        assert await world.state(scheduled) is TaskState.SCHEDULED


async def test_after_the_store_was_away_runners_renew_before_leases_are_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.submit(1, max_attempts=1)
    sweeps = world.store.sweeps
    due = sweeps.due

    async def away(*_: Any) -> Any:
        raise RecordsUnavailable("away")

    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1) as runner:
        held = await runner.assigned(1)
        monkeypatch.setattr(sweeps, "due", away)
        await world.pass_time(SETTINGS.lease_ms / 1000 + 5)
        monkeypatch.setattr(sweeps, "due", due)
        await world.pass_time(2)
        holds = [Hold(*one) for one in held]
        assert await world.store.records.renew(holds, SETTINGS.lease_ms) == [True]
        await world.pass_time(SETTINGS.lease_ms / 1000 - 1)
        assert await world.finish(held) == [Written.WRITTEN]
