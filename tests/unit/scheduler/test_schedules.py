"""Schedules make their tasks: one for each due time."""

import asyncio
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from forebay.tasks.v1.envelope_pb2 import Envelope
from forebay.tasks.v1.schedule_service_pb2 import MISSED_POLICY_RUN_ONCE, MissedPolicy, Schedule
from forebay.tasks.v1.task_pb2 import TaskSpec
from scheduler.errors import InvalidInput, RecordsUnavailable
from scheduler.ids import partition_for, partition_of
from scheduler.ports.records import NewTask, Record
from scheduler.ports.schedules import StoredSchedule
from scheduler.states import Level, TaskState

from .world import World


@pytest.fixture
def world() -> World:
    return World()


def template() -> bytes:
    body = TaskSpec(model="m").SerializeToString()
    return Envelope(
        tenant="t",
        spec=body,
        sha256=sha256(body).digest(),
        model="m",
        priority=int(Level.NORMAL),  # type: ignore[arg-type]  # levels have the numbers of priorities
        pool="default",
        max_attempts=3,
    ).SerializeToString()


async def keep(
    world: World,
    every_s: float = 10.0,
    *,
    missed: MissedPolicy.ValueType = MISSED_POLICY_RUN_ONCE,
    within_s: float = 0.0,
    **changes: Any,
) -> StoredSchedule:
    """Keep a schedule that is due for the first time after one interval."""
    now_ms = world.clock.now_ms()
    interval = Duration()
    interval.FromTimedelta(timedelta(seconds=every_s))
    definition = Schedule(name="often", interval=interval, missed=missed)
    if within_s:
        definition.run_within.FromTimedelta(timedelta(seconds=within_s))
    stored = StoredSchedule(
        tenant="t",
        name="often",
        definition=definition.SerializeToString(),
        envelope=template(),
        create_time_ms=now_ms,
        due_ms=now_ms + round(every_s * 1000),
    )
    stored = stored._replace(**changes)
    assert await world.store.schedules.create(stored) is None
    return stored


async def made(world: World) -> list[Record]:
    ids = await world.store.records.list_ids("t", "", 1000)
    records = [record for record in await world.store.records.get(ids, False) if record is not None]
    return sorted(records, key=lambda record: record.create_time_ms)


async def now_stored(world: World) -> StoredSchedule:
    stored = await world.store.schedules.get("t", "often")
    assert stored is not None
    return stored


async def test_each_due_time_makes_a_task_that_runs(world: World) -> None:
    stored = await keep(world, within_s=30)
    async with world.scheduler() as scheduler:
        await world.pass_time(35)
        async with world.attached(scheduler, credits=9) as runner:
            held = await runner.assigned(3)
    records = await made(world)
    assert [record.id for record in records] == [task_id for task_id, _ in held]
    due = [stored.due_ms + n * 10_000 for n in range(3)]
    for record, due_ms in zip(records, due, strict=True):
        envelope = Envelope.FromString(record.envelope)
        assert due_ms <= record.create_time_ms <= due_ms + 600
        assert (envelope.id, envelope.schedule, envelope.create_time_ms) == (
            record.id,
            "often",
            record.create_time_ms,
        )
        assert envelope.deadline_ms == due_ms + 30_000
        assert partition_of(record.id) == partition_for("t", f"schedule/often/{due_ms}")
    after = await now_stored(world)
    assert (after.due_ms, after.last_ms, after.last_task) == (due[-1] + 10_000, due[-1], held[-1][0])
    assert (after.missed, after.last_fault) == (0, "")


async def test_two_schedulers_that_fire_at_once_make_one_task(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await keep(world)
    schedules, looked = world.store.schedules, asyncio.Barrier(2)
    due = schedules.due

    async def together(*given: Any) -> list[StoredSchedule]:
        found = await due(*given)
        async with asyncio.timeout(5):
            await looked.wait()
        return found

    # Both hold every duty, and each has read the schedule before the other moves it.
    monkeypatch.setattr(schedules, "due", together)
    monkeypatch.setattr(world.store.membership, "hold", lambda *given: asyncio.sleep(0, True))
    async with world.scheduler("s1"), world.scheduler("s2"):
        await world.pass_time(11)
    [record] = await made(world)
    after = await now_stored(world)
    assert (after.due_ms, after.last_task) == (stored.due_ms + 10_000, record.id)


async def test_a_scheduler_that_dies_after_creating_the_task_makes_no_second_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(world)
    change = world.store.schedules.change

    async def away(*given: Any) -> bool:
        raise RecordsUnavailable("away")

    monkeypatch.setattr(world.store.schedules, "change", away)
    async with world.scheduler("s1"):
        await world.pass_time(11)
    monkeypatch.setattr(world.store.schedules, "change", change)
    async with world.scheduler("s2") as scheduler, world.attached(scheduler, credits=3) as runner:
        await world.pass_time(7)
        [record] = await made(world)
        assert await runner.assigned(1) == [(record.id, 1)]
        assert (await now_stored(world)).last_task == record.id


async def test_missed_times_are_made_up_for_once_or_skipped(world: World) -> None:
    for policy, tasks in ((MissedPolicy.MISSED_POLICY_RUN_ONCE, 1), (MissedPolicy.MISSED_POLICY_SKIP, 0)):
        await keep(world, 100, missed=policy)
        before = len(await made(world))
        world.clock.advance(1_000 + 70)
        async with world.scheduler():
            await world.pass_time(2)
        after = await now_stored(world)
        assert (len(await made(world)) - before, after.missed) == (tasks, 10 - tasks)
        assert after.due_ms > world.clock.now_ms()
        await world.store.schedules.delete("t", "often")


async def test_a_paused_schedule_makes_nothing(world: World) -> None:
    await keep(world, due_ms=0)
    async with world.scheduler():
        await world.pass_time(30)
    assert await made(world) == []


async def test_a_key_that_belongs_to_another_task_is_told_as_a_fault_and_the_next_time_fires(
    world: World,
) -> None:
    stored = await keep(world)
    key = f"schedule/often/{stored.due_ms}"
    own = await world.wait(in_ms=3_600_000)
    taken = NewTask(own[:3] + "01kaj5x3c9f0e8q4v2m7t1b6zd", "t", "default", Level.NORMAL, template(), 1)
    await world.store.records.create([taken._replace(idempotency_key=key, fingerprint="other")])
    async with world.scheduler():
        await world.pass_time(11)
        after = await now_stored(world)
        assert taken.id in after.last_fault
        assert (after.last_task, after.due_ms) == ("", stored.due_ms + 10_000)
        await world.pass_time(10)
        after = await now_stored(world)
        assert (after.last_fault, bool(after.last_task)) == ("", True)


async def test_a_refusal_of_the_store_is_told_as_a_fault(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await keep(world)

    async def refuse(*given: Any) -> Any:
        raise InvalidInput.of("tasks", "too many")

    monkeypatch.setattr(world.store.records, "create", refuse)
    async with world.scheduler():
        await world.pass_time(11)
    after = await now_stored(world)
    assert (after.last_fault, after.due_ms) == ("tasks: too many", stored.due_ms + 10_000)


@pytest.mark.parametrize(
    "definition",
    [b"\xff", Schedule(name="often", cron="* * * * *", time_zone="Mars/Olympus").SerializeToString()],
)
async def test_a_schedule_whose_times_cannot_be_worked_out_is_paused_and_says_so(
    world: World, definition: bytes
) -> None:
    await keep(world, definition=definition)
    async with world.scheduler():
        await world.pass_time(11)
    after = await now_stored(world)
    assert after.paused
    assert after.last_fault.startswith("its next time cannot be worked out, so it was paused")


async def test_a_schedule_with_a_broken_template_goes_on_and_says_so(world: World) -> None:
    stored = await keep(world, envelope=b"\xff")
    async with world.scheduler():
        await world.pass_time(11)
    after = await now_stored(world)
    assert after.due_ms == stored.due_ms + 10_000
    assert after.last_fault


async def test_a_log_that_is_away_delays_the_task_but_not_the_schedule(world: World) -> None:
    stored = await keep(world)
    world.log.available = False
    async with world.scheduler() as scheduler, world.attached(scheduler, credits=1) as runner:
        await world.pass_time(11)
        assert (await now_stored(world)).due_ms == stored.due_ms + 10_000
        [record] = await made(world)
        assert record.state is TaskState.QUEUED
        world.log.available = True
        await world.pass_time(6)
        assert await runner.assigned(1) == [(record.id, 1)]
