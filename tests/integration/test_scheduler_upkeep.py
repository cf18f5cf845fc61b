"""The scheduler as it is put together for real, over Valkey and the embedded broker: timers, families, schedules, and
what recovery needs on the log.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from hashlib import sha256

import pytest
from redis.asyncio import Redis

from forebay.tasks.v1.envelope_pb2 import Bundle, Endings, Envelope
from forebay.tasks.v1.schedule_service_pb2 import Schedule
from forebay.tasks.v1.task_pb2 import TaskSpec
from scheduler.adapters.pulsar.reader import PulsarReader
from scheduler.adapters.redis import RedisAdmission, RedisEvents, RedisFollowUps, RedisQueries, RedisSchedules
from scheduler.ids import new_ids
from scheduler.lanes import queue_lanes
from scheduler.ports.log import Kept
from scheduler.ports.records import Cancelled, NewTask
from scheduler.ports.schedules import StoredSchedule
from scheduler.service.app import build
from scheduler.service.settings import SchedulerSettings
from scheduler.states import Level, TaskState
from services.connections import (
    BrokerSettings,
    QueueSettings,
    RedisSettings,
    RetentionSettings,
    TelemetrySettings,
)
from tests.fixtures.pulsar import PulsarLite

POOL = "upkeep"


@pytest.fixture
async def scheduler(valkey: Redis, valkey_url: str, pulsar_lite: PulsarLite) -> AsyncIterator[str]:
    async with build(
        SchedulerSettings(metrics_listen="", grace_s=0.0, republish_after_ms=500),
        redis=RedisSettings(url=valkey_url),
        broker=BrokerSettings(url=pulsar_lite.url, subscription="shared"),
        queues=QueueSettings(pools=(POOL,), lanes=1),
        retention=RetentionSettings(),
        telemetry=TelemetrySettings(),
    ) as address:
        yield address


@pytest.fixture
async def reader(pulsar_lite: PulsarLite) -> AsyncIterator[PulsarReader]:
    reader = PulsarReader(pulsar_lite.url, "public/default", readers=False)
    try:
        yield reader
    finally:
        await reader.close()


def envelope(task_id: str = "", **more: object) -> Envelope:
    body = TaskSpec(model="m").SerializeToString()
    return Envelope(
        id=task_id,
        tenant="t",
        spec=body,
        sha256=sha256(body).digest(),
        model="m",
        priority=int(Level.NORMAL),  # type: ignore[arg-type]  # levels have the numbers of priorities
        pool=POOL,
        max_attempts=3,
        **more,  # type: ignore[arg-type]  # fields by name
    )


def new_task(sealed: Envelope, state: TaskState, not_before_ms: int = 0, *parents: str) -> NewTask:
    return NewTask(
        sealed.id,
        "t",
        POOL,
        Level.NORMAL,
        sealed.SerializeToString(),
        3,
        state=state,
        not_before_ms=not_before_ms,
        parents=parents,
    )


async def entered(valkey: Redis, task_id: str, state: TaskState) -> int:
    """Wait until a task is in a state; returns when it came there, by the store's clock."""
    async with asyncio.timeout(10):
        async for _ in RedisEvents(valkey).changes():
            [record] = await RedisQueries(valkey).get([task_id], False)
            if record is not None and record.state is state:
                return record.history[-1].time_ms
    raise AssertionError("the feed ended")


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what neither the log nor the record store tells of."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.05)


async def payloads(kept: AsyncGenerator[Kept, None]) -> list[bytes]:
    async with aclosing(kept):
        return [one.payload async for one in kept]


async def on_lane(reader: PulsarReader) -> set[tuple[str, int]]:
    lane, _ = queue_lanes(POOL, Level.NORMAL, 1)
    return numbered(await payloads(reader.lane(lane)))


def numbered(bundles: list[bytes]) -> set[tuple[str, int]]:
    return {(p.envelope.id, p.publication) for one in bundles for p in Bundle.FromString(one).publications}


@pytest.mark.usefixtures("scheduler")
async def test_a_family_waits_for_its_time_and_ends_together_and_the_log_knows_of_all(
    valkey: Redis, reader: PulsarReader
) -> None:
    now_ms = time.time_ns() // 1_000_000
    parent, late = (envelope(new_ids(n, 1, now_ms)[0]) for n in (3, 4))
    child = envelope(new_ids(5, 1, now_ms)[0], parents=[parent.id], on_parent_failure=1)
    # Their gateway dies before it has parked and linked them.
    await RedisAdmission(valkey).create(
        [
            new_task(parent, TaskState.SCHEDULED, now_ms + 3_600_000),
            new_task(late, TaskState.SCHEDULED, now_ms + 1_500),
            new_task(child, TaskState.BLOCKED, 0, parent.id),
        ]
    )
    assert now_ms + 1_500 <= await entered(valkey, late.id, TaskState.QUEUED) <= now_ms + 2_500

    async def linked() -> bool:
        return await RedisFollowUps(valkey).children([parent.id]) == [[child.id]]

    async def parked() -> bool:
        return numbered(await payloads(reader.parked(POOL))) >= {(parent.id, 0), (child.id, 0)}

    async def published() -> bool:
        return (late.id, 1) in await on_lane(reader)

    async def journalled() -> bool:
        kept = await payloads(reader.journal())
        ids = {i for one in kept for group in Endings.FromString(one).ended for i in group.ids}
        return ids >= {parent.id, child.id}

    async def forgotten() -> bool:
        return not await RedisFollowUps(valkey).follow_ups(range(64), 1)

    for condition in (linked, parked, published):
        await until(condition)
    assert await RedisQueries(valkey).cancel([parent.id], "t", b"", b"") == [Cancelled.CANCELLED]
    await entered(valkey, child.id, TaskState.CANCELLED)
    for condition in (journalled, forgotten):
        await until(condition)


@pytest.mark.usefixtures("scheduler")
async def test_a_schedule_fires_at_its_times(valkey: Redis, reader: PulsarReader) -> None:
    now_ms = time.time_ns() // 1_000_000
    definition = Schedule(name="often")
    definition.interval.FromMilliseconds(1_000)
    stored = StoredSchedule(
        "t",
        "often",
        definition.SerializeToString(),
        envelope().SerializeToString(),
        now_ms,
        now_ms + 1_000,
    )
    assert await RedisSchedules(valkey).create(stored) is None

    async def fired() -> bool:
        ids = await RedisQueries(valkey).list_ids("t", "", 9)
        return len(ids) >= 2 and await on_lane(reader) >= {(task_id, 1) for task_id in ids[-2:]}

    await until(fired)
    present = await RedisSchedules(valkey).get("t", "often")
    assert present is not None
    assert present.due_ms > now_ms + 2_000
    assert (present.last_fault, present.missed) == ("", 0)
