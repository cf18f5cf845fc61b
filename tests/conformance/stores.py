"""The record stores that the suites run against, behind one face."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from scheduler.adapters.redis import (
    RedisAdmission,
    RedisEvents,
    RedisLeases,
    RedisMembership,
    RedisOutcomes,
    RedisQueries,
    RedisSweeps,
)
from scheduler.adapters.retention import Retention
from scheduler.ids import new_ids
from scheduler.ports.events import EventFeed
from scheduler.ports.membership import Membership
from scheduler.ports.records import (
    AdmissionStore,
    Hold,
    Lease,
    LeaseStore,
    NewTask,
    OutcomeStore,
    PublishTicket,
    QueryStore,
    Record,
    SweepStore,
)
from scheduler.states import Level

RETENTION = Retention(retention_s=1, key_s=3600)
LEASE_MS = 60_000
PARTITION = 7


@dataclass
class Store:
    """All ports of one store, and a way to let its clock go on."""

    admission: AdmissionStore
    leases: LeaseStore
    outcomes: OutcomeStore
    sweeps: SweepStore
    queries: QueryStore
    events: EventFeed
    membership: Membership
    pass_ms: Callable[[int], Coroutine[Any, Any, None]]
    """Returns once the store's clock has gone on by so many milliseconds."""

    async def add(self, *tasks: NewTask) -> list[PublishTicket]:
        """Create tasks and return their tickets."""
        return (await self.admission.create(tasks))[1]

    async def start(self, task: NewTask, lease_ms: int = LEASE_MS) -> Hold:
        """Create a task and lease it."""
        await self.add(task)
        return await self.lease(task.id, lease_ms=lease_ms)

    async def lease(self, task_id: str, publication: int = 1, lease_ms: int = LEASE_MS) -> Hold:
        """Lease a task that must be free."""
        [reply] = await self.leases.lease([(task_id, publication)], "runner-1", lease_ms)
        assert reply.verdict is Lease.GRANTED
        return Hold(task_id, reply.attempt)

    async def read(self, task_id: str) -> Record:
        """Read a record that must be there."""
        [record] = await self.queries.get([task_id], include_result=True)
        assert record is not None
        return record

    async def counts(self) -> tuple[int, int]:
        """Return how many tasks wait and run in all queues."""
        counts = await self.queries.queue_counts()
        return sum(count.queued for count in counts), sum(count.running for count in counts)


def memory_store() -> Store:
    """A store in memory on a clock that stands still."""
    clock = FakeClock()
    store = MemoryStore(clock, RETENTION)

    async def pass_ms(ms: int) -> None:
        clock.advance(ms / 1000)

    every = store.records
    return Store(every, every, every, every, every, store.events, store.membership, pass_ms)


def redis_store(client: Redis) -> Store:
    """A store on a real server."""

    async def now_ms() -> int:
        seconds, micros = await client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def pass_ms(ms: int) -> None:
        end = await now_ms() + ms
        while (left := end - await now_ms()) >= 0:  # noqa: ASYNC110  # a server's clock has no event
            await asyncio.sleep((left + 1) / 1000)

    return Store(
        RedisAdmission(client, RETENTION),
        RedisLeases(client, RETENTION),
        RedisOutcomes(client, RETENTION),
        RedisSweeps(client, RETENTION),
        RedisQueries(client, RETENTION),
        RedisEvents(client),
        RedisMembership(client),
        pass_ms,
    )


def new_tasks(
    count: int,
    *,
    partition: int = PARTITION,
    now_ms: int = 1_700_000_000_000,
    tenant: str = "acme",
    level: Level = Level.NORMAL,
    max_attempts: int = 3,
    deadline_ms: int = 0,
    key: str = "",
    fingerprint: str = "",
) -> list[NewTask]:
    """Make tasks that no store has seen."""
    return [
        NewTask(
            id=task_id,
            tenant=tenant,
            pool="default",
            level=level,
            envelope=b"envelope of " + task_id.encode(),
            max_attempts=max_attempts,
            deadline_ms=deadline_ms,
            idempotency_key=key,
            fingerprint=fingerprint,
        )
        for task_id in new_ids(partition, count, now_ms)
    ]


def new_task(**fields: Any) -> NewTask:
    """Make one task; takes what `new_tasks` takes."""
    return new_tasks(1, **fields)[0]
