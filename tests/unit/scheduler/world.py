"""A scheduler over memory adapters and a clock that only the test moves, and a runner at its other end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry

from forebay.dispatch.v1.dispatch_service_pb2 import AttachRequest, AttachResponse, Hello, Settled
from forebay.tasks.v1.envelope_pb2 import Bundle, CacheQuestion, Envelope
from forebay.tasks.v1.task_pb2 import TaskSpec
from observability.metrics import SchedulerMetrics, new_registry
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from scheduler.adapters.memory.log import MemoryLog
from scheduler.ids import new_ids
from scheduler.lanes import Lane, queue_lanes
from scheduler.policies.parents import OnParentFailure
from scheduler.policies.policy import DEFAULT_POLICY
from scheduler.ports.records import Ending, NewTask, Written
from scheduler.service.caching import Answers
from scheduler.service.scheduler import Ports, Scheduler
from scheduler.service.settings import SchedulerSettings
from scheduler.states import Level, TaskState

LANES = 2
SETTINGS = SchedulerSettings(
    lease_ms=10_000, sweep_s=1.0, recheck_s=1.0, republish_after_ms=5_000, grace_s=0.0
)


@dataclass
class Runner:
    """A runner at the other end of one Attach call."""

    name: str
    requests: "asyncio.Queue[AttachRequest | None]" = field(default_factory=asyncio.Queue)
    answers: "asyncio.Queue[AttachResponse]" = field(default_factory=asyncio.Queue)

    async def write(self, message: AttachResponse) -> None:
        await self.answers.put(message)

    async def sent(self) -> AsyncIterator[AttachRequest]:
        while (request := await self.requests.get()) is not None:
            yield request

    def grant(self, credits: int) -> None:
        self.requests.put_nowait(AttachRequest(credits=credits))

    def settle(self, *settled: Settled) -> None:
        self.requests.put_nowait(AttachRequest(credits=len(settled), settled=settled))

    async def assigned(self, count: int) -> list[tuple[str, int]]:
        """Wait for that many assignments: (id, attempt)."""
        got: list[tuple[str, int]] = []
        async with asyncio.timeout(5):
            while len(got) < count:
                answer = await self.answers.get()
                got += [(a.envelope.id, a.attempt) for a in answer.assignments]
        assert len(got) == count
        return got

    async def cancelled(self) -> list[str]:
        async with asyncio.timeout(5):
            while not (answer := await self.answers.get()).cancelled:
                pass
        return list(answer.cancelled)


class World:
    """A record store, a log, a clock, and schedulers over them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.log = MemoryLog()
        self.publisher = self.log.publisher()
        self.group: asyncio.TaskGroup | None = None
        self.pages: dict[str, CollectorRegistry] = {}
        """What each scheduler counts, by its name."""

    @asynccontextmanager
    async def scheduler(self, name: str = "s1", answers: Answers | None = None) -> AsyncIterator[Scheduler]:
        page = self.pages[name] = new_registry()
        lanes = [lane for level in Level for lane in queue_lanes("default", level, LANES)]
        consumer = self.log.consumer(lanes)
        records = self.store.records
        ports = Ports(
            consumer=consumer,
            publisher=self.log.publisher(),
            admissions=records,
            leases=records,
            answers=self.store.answers,
            queries=records,
            sweeps=self.store.sweeps,
            follow_ups=self.store.follow_ups,
            dead_letters=self.store.dead_letters,
            schedules=self.store.schedules,
            pauses=self.store.pauses,
            policies=self.store.policies,
            shelves=self.store.shelves,
            walk=self.store.walk,
            events=self.store.events,
            membership=self.store.membership,
            time=self.store.time,
            clock=self.clock,
        )
        scheduler = Scheduler(
            name,
            ports,
            SETTINGS,
            ["default"],
            DEFAULT_POLICY,
            LANES,
            b"lost",
            SchedulerMetrics(page),
            Random(1),
            answers,
        )
        try:
            async with scheduler.running("127.0.0.1:1", lambda serving: None):
                yield scheduler
        finally:
            await consumer.close()

    @asynccontextmanager
    async def attached(
        self, scheduler: Scheduler, credits: int = 0, name: str = "r1", reserve: int = 0, **what: Any
    ) -> AsyncIterator[Runner]:
        runner = Runner(name)
        hello = Hello(runner=name, model="m", pool="default", reserve=reserve, **what)
        runner.requests.put_nowait(AttachRequest(hello=hello, credits=credits))
        async with asyncio.TaskGroup() as group:
            call = group.create_task(scheduler.servicer.Attach(runner.sent(), runner))  # type: ignore[arg-type]
            greeting = await runner.answers.get()
            assert greeting.lease_ms == SETTINGS.lease_ms
            try:
                yield runner
            finally:
                runner.requests.put_nowait(None)
                await asyncio.wait([call])

    async def submit(
        self,
        count: int,
        level: Level = Level.NORMAL,
        *,
        max_attempts: int = 3,
        publish: bool = True,
        asks: CacheQuestion | None = None,
        deadline_in_ms: int = 0,
        traceparent: str = "",
    ) -> list[str]:
        """Record tasks and put them on their lane in one bundle, as the gateway does."""
        now_ms = self.clock.now_ms()
        deadline_ms = now_ms + deadline_in_ms if deadline_in_ms else 0
        ids = new_ids(7, count, self.clock.now_ms())
        envelopes = [
            Envelope(
                id=i,
                tenant="t",
                model="m",
                priority=int(level),  # type: ignore[arg-type]  # levels have the numbers of priorities
                pool="default",
                max_attempts=max_attempts,
                create_time_ms=now_ms,
                deadline_ms=deadline_ms,
                cached_as=asks,
                traceparent=traceparent,
            )
            for i in ids
        ]
        tasks = [
            NewTask(e.id, "t", "default", level, e.SerializeToString(), max_attempts, deadline_ms)
            for e in envelopes
        ]
        _, tickets = await self.store.records.create(tasks)
        if publish:
            await self.publish(level, envelopes)
            await self.store.records.mark_published(tickets)
        return ids

    async def wait(
        self,
        *,
        parents: Sequence[str] = (),
        in_ms: int = 0,
        deadline_in_ms: int = 0,
        choice: OnParentFailure = OnParentFailure.FAIL,
        spec: TaskSpec | None = None,
        partition: int = 7,
        tenant: str = "t",
        complete: bool = True,
    ) -> str:
        """Record one task that waits for parents or its time. Without `complete` its gateway dies before it has parked
        and linked it.
        """
        now_ms = self.clock.now_ms()
        body = (spec or TaskSpec(model="m")).SerializeToString()
        envelope = Envelope(
            id=new_ids(partition, 1, now_ms)[0],
            tenant=tenant,
            spec=body,
            sha256=sha256(body).digest(),
            model="m",
            priority=int(Level.NORMAL),  # type: ignore[arg-type]  # levels have the numbers of priorities
            pool="default",
            create_time_ms=now_ms,
            deadline_ms=now_ms + deadline_in_ms if deadline_in_ms else 0,
            max_attempts=3,
            not_before_ms=now_ms + in_ms if in_ms else 0,
            parents=parents,
            on_parent_failure=int(choice),  # type: ignore[arg-type]  # choices have the numbers of the contract's
            takes_outputs=spec is not None and bool(spec.inputs_from),
        )
        state = TaskState.BLOCKED if parents else TaskState.SCHEDULED if in_ms else TaskState.QUEUED
        task = NewTask(
            envelope.id,
            tenant,
            "default",
            Level.NORMAL,
            envelope.SerializeToString(),
            3,
            envelope.deadline_ms,
            state=state,
            not_before_ms=envelope.not_before_ms,
            parents=tuple(parents),
        )
        _, tickets = await self.store.records.create([task])
        if not complete:
            return task.id
        if state is TaskState.QUEUED:
            await self.publish(Level.NORMAL, [envelope])
        await self.store.follow_ups.link([(parent, task.id) for parent in parents], tenant)
        await self.store.records.mark_published(tickets)
        return task.id

    async def publish(self, level: Level, envelopes: list[Envelope]) -> None:
        bundle = Bundle()
        for envelope in envelopes:
            bundle.publications.add(envelope=envelope, publication=1)
        await self.publisher.publish(Lane("default", level, 0), bundle.SerializeToString(), {})

    async def finish(self, held: list[tuple[str, int]], result: bytes = b"r") -> list[Written]:
        return await self.store.records.finish(
            [Ending(i, attempt, TaskState.SUCCEEDED, result=result) for i, attempt in held]
        )

    async def state(self, task_id: str) -> TaskState:
        [state] = await self.states([task_id])
        return state

    async def entered(self, state: TaskState, *ids: str) -> None:
        """Let everything that has something to do work, at this very moment, until the tasks are in this state."""
        async with asyncio.timeout(5):
            while set(await self.states(list(ids))) != {state}:  # noqa: ASYNC110  # also waits for what tells nobody
                await asyncio.sleep(0)

    async def states(self, ids: list[str]) -> list[TaskState]:
        return [r.state for r in await self.store.records.get(ids, False) if r is not None]

    async def acknowledged(self, level: Level = Level.NORMAL) -> None:
        """Wait until nothing of the level is left on the log."""
        lanes = queue_lanes("default", level, LANES)
        async with asyncio.timeout(5):
            while any(self.log.unacknowledged(lane) for lane in lanes):  # noqa: ASYNC110  # the log in memory has no event
                await asyncio.sleep(0)

    async def pass_time(self, seconds: float, step: float = 0.5) -> None:
        """Move the clock on in steps, letting everything that wakes do its work."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            for _ in range(50):
                await asyncio.sleep(0)


def ended(held: list[tuple[str, int]]) -> list[Settled]:
    return [Settled(id=i, attempt=a, fate=Settled.FATE_TERMINAL) for i, a in held]
