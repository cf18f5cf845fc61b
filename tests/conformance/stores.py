"""The record stores that the suites run against, behind one face."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from scheduler.adapters.redis import (
    RedisAdmission,
    RedisAnswers,
    RedisDeadLetters,
    RedisEvents,
    RedisFollowUps,
    RedisKeys,
    RedisLeases,
    RedisLines,
    RedisMembership,
    RedisOutcomes,
    RedisPauses,
    RedisPolicies,
    RedisQueries,
    RedisSchedules,
    RedisShelves,
    RedisSweeps,
    RedisWalk,
    RedisWantedModels,
)
from scheduler.adapters.retention import Retention
from scheduler.ids import PARTITIONS, new_ids
from scheduler.ports.answers import AnswerStore
from scheduler.ports.dead_letters import DeadLetterStore
from scheduler.ports.events import EventFeed
from scheduler.ports.follow_ups import FollowUpStore
from scheduler.ports.keys import KeyStore
from scheduler.ports.lines import LineStore
from scheduler.ports.membership import Membership
from scheduler.ports.pauses import PauseStore, ShelfStore
from scheduler.ports.policies import PolicyStore
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
    Wanted,
)
from scheduler.ports.schedules import ScheduleStore
from scheduler.ports.sweeps import Due, SweepStore
from scheduler.ports.walk import WalkStore
from scheduler.ports.wanted_models import WantedModels
from scheduler.states import Level, TaskState

RETENTION = Retention(retention_s=1, key_s=3600, dead_letter_s=3, tenants={"patient": 3})
LEASE_MS = 60_000
PARTITION = 7
OTHER_PARTITION = 40
FAR_MS = 9_000_000_000_000
"""A time that no test lives to see."""


@dataclass
class Store:
    """All ports of one store, and a way to let its clock go on."""

    admission: AdmissionStore
    leases: LeaseStore
    outcomes: OutcomeStore
    answers: AnswerStore
    sweeps: SweepStore
    queries: QueryStore
    follow_ups: FollowUpStore
    dead_letters: DeadLetterStore
    schedules: ScheduleStore
    pauses: PauseStore
    shelves: ShelfStore
    walk: WalkStore
    lines: LineStore
    policies: PolicyStore
    wanted_models: WantedModels
    keys: KeyStore
    events: EventFeed
    membership: Membership
    pass_ms: Callable[[int], Coroutine[Any, Any, None]]
    """Returns once the store's clock has gone on by so many milliseconds."""
    now_ms: Callable[[], Coroutine[Any, Any, int]]
    """Reads the store's clock."""

    async def add(self, *tasks: NewTask) -> list[PublishTicket]:
        """Create tasks and return their tickets."""
        return (await self.admission.create(tasks))[1]

    async def start(self, task: NewTask, lease_ms: int = LEASE_MS) -> Hold:
        """Create a task and lease it."""
        await self.add(task)
        return await self.lease(task.id, lease_ms=lease_ms)

    async def lease(self, task_id: str, publication: int = 1, lease_ms: int = LEASE_MS) -> Hold:
        """Lease a task that must be free."""
        [reply] = await self.leases.lease([Wanted(task_id, publication)], "runner-1", lease_ms)
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

    async def waiting(self) -> int:
        """Return how many tasks are SCHEDULED, BLOCKED or RETRYING in all queues."""
        return sum(count.waiting for count in await self.queries.queue_counts())

    async def steps(self, task_id: str) -> list[tuple[str, str]]:
        """Return a task's history as names of states and reasons."""
        return [(step.state.name, step.reason) for step in (await self.read(task_id)).history]

    async def ended(self) -> list[tuple[str, str]]:
        """Return the endings that nobody has followed up: names of states, and ids."""
        return [
            (state.name, task_id)
            for entry in await self.follow_ups.follow_ups(range(PARTITIONS), 1_000)
            for state, ids in entry.endings
            for task_id in ids
        ]

    async def due(self, republish_after_ms: int = 0) -> Due:
        """Look at all partitions."""
        return await self.sweeps.due(range(PARTITIONS), republish_after_ms)


def memory_store(retention: Retention = RETENTION) -> Store:
    """A store in memory on a clock that stands still."""
    clock = FakeClock()
    store = MemoryStore(clock, retention)

    async def pass_ms(ms: int) -> None:
        clock.advance(ms / 1000)

    async def now_ms() -> int:
        return clock.now_ms()

    every = store.records
    return Store(
        every,
        every,
        every,
        store.answers,
        store.sweeps,
        every,
        store.follow_ups,
        store.dead_letters,
        store.schedules,
        store.pauses,
        store.shelves,
        store.walk,
        store.lines,
        store.policies,
        store.wanted_models,
        store.keys,
        store.events,
        store.membership,
        pass_ms,
        now_ms,
    )


def redis_store(client: Redis, retention: Retention = RETENTION) -> Store:
    """A store on a real server."""

    async def now_ms() -> int:
        seconds, micros = await client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def pass_ms(ms: int) -> None:
        end = await now_ms() + ms
        while (left := end - await now_ms()) >= 0:  # noqa: ASYNC110  # a server's clock has no event
            await asyncio.sleep((left + 1) / 1000)

    return Store(
        RedisAdmission(client, retention),
        RedisLeases(client, retention),
        RedisOutcomes(client, retention),
        RedisAnswers(client, retention),
        RedisSweeps(client, retention),
        RedisQueries(client, retention),
        RedisFollowUps(client, retention),
        RedisDeadLetters(client, retention),
        RedisSchedules(client),
        RedisPauses(client),
        RedisShelves(client),
        RedisWalk(client),
        RedisLines(client),
        RedisPolicies(client),
        RedisWantedModels(client),
        RedisKeys(client),
        RedisEvents(client),
        RedisMembership(client),
        pass_ms,
        now_ms,
    )


def new_tasks(
    count: int,
    *,
    partition: int = PARTITION,
    now_ms: int = 1_700_000_000_000,
    tenant: str = "acme",
    pool: str = "default",
    level: Level = Level.NORMAL,
    model: str = "add",
    max_attempts: int = 3,
    deadline_ms: int = 0,
    key: str = "",
    fingerprint: str = "",
    state: TaskState = TaskState.QUEUED,
    not_before_ms: int = 0,
    parents: Sequence[str] = (),
    publication: int = 1,
) -> list[NewTask]:
    """Make tasks that no store has seen."""
    return [
        NewTask(
            id=task_id,
            tenant=tenant,
            pool=pool,
            level=level,
            envelope=b"envelope of " + task_id.encode(),
            max_attempts=max_attempts,
            deadline_ms=deadline_ms,
            idempotency_key=key,
            fingerprint=fingerprint,
            state=state,
            not_before_ms=not_before_ms,
            parents=tuple(parents),
            publication=publication,
            model=model,
        )
        for task_id in new_ids(partition, count, now_ms)
    ]


def new_task(**fields: Any) -> NewTask:
    """Make one task; takes what `new_tasks` takes."""
    return new_tasks(1, **fields)[0]
