"""From the window to a runner: choose, lease, assign. A request comes here from scheduler/service/intake.py and goes
on, over the stream that the runner's `attachment.py` holds, in inference/runner/workload.py.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from forebay.dispatch.v1.dispatch_service_pb2 import AttachResponse
from observability import names
from observability.metrics import SchedulerMetrics
from scheduler.errors import RecordsUnavailable, ServerUnavailable
from scheduler.lanes import Lane
from scheduler.policies.policy import DEFAULT_POLICY, Policy
from scheduler.ports.clock import Clock
from scheduler.ports.records import Hold, Lease, LeaseReply, LeaseStore, Wanted
from scheduler.routing.routers import Routers
from scheduler.service.assigned import assigned
from scheduler.service.caching.sorting import Sorting
from scheduler.service.caching.tasks import CachedTasks
from scheduler.service.entry import PoolWindow, Waiting
from scheduler.service.intake import Intake
from scheduler.service.rates import Rates
from scheduler.service.republisher import Republisher
from scheduler.service.resting import Resting
from scheduler.service.runner_stream import RunnerStream
from scheduler.service.runners import Roster
from scheduler.service.settlement import Settlement
from scheduler.service.sharing_out import share_out
from scheduler.states import Level

log = logging.getLogger(__name__)

GRANTED: Final = Lease.GRANTED
BACKOFF_S: Final = 0.2
"""Pause after the record store failed to answer, in seconds."""


class Dispatcher:
    """Assigns the tasks of one pool's window whenever there is both work and credit."""

    def __init__(
        self,
        pool: str,
        window: PoolWindow,
        intake: Intake,
        roster: Roster,
        routers: Routers,
        rates: Rates,
        leases: LeaseStore,
        settlement: Settlement,
        resting: Resting,
        republisher: Republisher,
        wake: asyncio.Event,
        clock: Clock,
        metrics: SchedulerMetrics,
        cached: CachedTasks | None,
        *,
        batch: int,
        lease_ms: int,
    ) -> None:
        """`cached` sees to tasks that may be answered without a run; None where nothing is cached."""
        self._pool = pool
        self._window = window
        self._intake = intake
        self._roster = roster
        self._routers = routers
        self._rates = rates
        self._leases = leases
        self._settlement = settlement
        self._resting = resting
        self._republisher = republisher
        self._wake = wake
        self._clock = clock
        self._metrics = metrics
        self._cached = cached
        self._sorting = (
            Sorting(pool, window, cached, self._begin, wake, clock) if cached is not None else None
        )
        self._beside: asyncio.TaskGroup | None = None
        """Where what no round waits for is done, while `run` runs."""
        self._batch = batch
        self._lease_ms = lease_ms
        self._expire_early = DEFAULT_POLICY.expire_early

    def follow(self, policy: Policy) -> None:
        """Go by another policy from now on."""
        self._expire_early = policy.expire_early

    async def run(self) -> None:
        """Assign for ever, a batch at a time; sleeps while there is no work or no credit."""
        async with asyncio.TaskGroup() as self._beside:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while await self._round(self._beside):
                    pass

    async def _round(self, beside: asyncio.TaskGroup) -> bool:
        now_s = self._clock.monotonic()
        credits: Mapping[str, int] = self._roster.credits(self._pool, now_s)
        reserves: Mapping[str, int] = self._roster.reserves(self._pool, now_s)
        if self._sorting is not None:
            credits, reserves = self._sorting.unspoken(credits, reserves)
        tasks = self._window.take(credits, self._batch, reserves, now_ms=self._clock.now_ms())
        if not tasks:
            return False
        # By identity first: hashing a lane for each task takes longer than the rest of the round.
        lanes: set[Lane] = set({id(task.lane): task.lane for task in tasks}.values())
        starting = tasks if self._sorting is None else self._sorting.sort_out(tasks, beside)
        self._intake.made_room(lanes)
        async with asyncio.TaskGroup() as group:
            started = self._start(group, starting, now_s)
        return started or len(starting) < len(tasks)

    def _begin(self, tasks: Sequence[Waiting]) -> None:
        """Begin to lease tasks that were looked for in the cache; no round waits for that."""
        assert self._beside is not None, "tasks are looked for while it runs"
        self._start(self._beside, tasks, self._clock.monotonic())

    def _start(self, group: asyncio.TaskGroup, tasks: Sequence[Waiting], now_s: float) -> bool:
        """Begin to lease tasks for the runners that they go to; False when there is none for any of them."""
        if not tasks:
            return False
        shares, left = share_out(self._roster, self._routers, self._pool, tasks, now_s)
        if left:
            self._window.uncharge(left)
            self._over(left)
            # In the places that they had.
            self._window.set_aside(left)
            self._window.rejoin(left)
        for stream, share in shares.items():
            group.create_task(self._lease(stream, share))
        return bool(shares)

    async def _lease(self, stream: RunnerStream, tasks: Sequence[Waiting]) -> None:
        """Lease a batch for one runner and send it what was granted."""
        early = self._expire_early
        wanted = [
            # How long before its deadline it must start to have a chance; 0 where nobody can say.
            Wanted(
                task.id,
                task.publication,
                int(task.expected.least_ms) if early and task.deadline_ms else 0,
            )
            for task in tasks
        ]
        ids = [task.id for task in tasks]
        called_back: set[str] = set()
        stream.leasing.update(ids)
        leasing_ns = self._clock.now_ms() * 1_000_000
        began_s = self._clock.monotonic()
        try:
            replies = await self._leases.lease(wanted, stream.id, self._lease_ms)
        except RecordsUnavailable:
            # Unknown which were leased: looking again later tells (such a lease runs out by itself).
            log.warning("leasing failed: the record store does not answer", extra={"tasks": len(tasks)})
            stream.credits += len(tasks)
            self._window.uncharge(tasks)
            self._over(tasks)
            self._resting.rest(tasks)
            await self._clock.sleep(BACKOFF_S)
            self._wake.set()
            return
        finally:
            stream.leasing.difference_update(ids)
            if stream.called_back:
                called_back = stream.called_back.intersection(ids)
                stream.called_back -= called_back
        granted: list[tuple[Waiting, LeaseReply]] = []
        stale: list[Waiting] = []
        expired: list[Waiting] = []
        held: list[Waiting] = []
        for task, reply in zip(tasks, replies, strict=True):
            verdict = reply.verdict
            if verdict is GRANTED:
                granted.append((task, reply))
            elif verdict is Lease.HELD:
                held.append(task)
            elif verdict is Lease.EXPIRED:
                expired.append(task)
            else:
                stale.append(task)
        stream.credits += len(tasks) - len(granted)
        if len(granted) < len(tasks):
            # No round waits for what was looked for in the cache, and now there is credit again.
            self._wake.set()
        for not_started in (stale, expired, held):
            self._window.uncharge(not_started)
            self._over(not_started)
        self._settlement.settle(stale)
        self._settlement.settle(expired)
        self._resting.rest(held)
        for level, count in Counter(task.lane.level for task in expired).items():
            self._metrics.finished("expired", level.label, count)
        if granted:
            lease_ns = int((self._clock.monotonic() - began_s) * 1e9)
            await self._assign(stream, granted, leasing_ns, leasing_ns + lease_ns)
            if called_back:
                stream.send(AttachResponse(cancelled=called_back))

    async def _assign(
        self,
        stream: RunnerStream,
        granted: Sequence[tuple[Waiting, LeaseReply]],
        leasing_ns: int,
        leased_ns: int,
    ) -> None:
        if stream.leaving or not stream.attached:
            await self._take_back(granted)
            return
        # Another scheduler's sweeper may have ended the attempt before this one: its message is stale now.
        lost = self._roster.lost([task.id for task, reply in granted if reply.attempt > 1])
        self._over([running.task for running in lost])
        self._settlement.settle(running.task for running in lost)
        if self._cached is not None:
            self._cached.leased(stream, granted)
        waits_s: dict[Level, list[float]] = {}
        for task, reply in granted:
            stream.hold(task, reply.attempt)
            waited_ms = reply.time_ms - task.create_time_ms
            waits_s.setdefault(task.lane.level, []).append(waited_ms / 1000 if waited_ms > 0 else 0.0)
        stream.send(assigned(granted, stream.id, leasing_ns, leased_ns))
        self._metrics.batch(names.HOP_LEASE, len(granted))
        for level, waits in waits_s.items():
            self._rates.started(self._pool, level, stream.model, len(waits))
            self._metrics.started(level.label, waits)

    async def _take_back(self, granted: Sequence[tuple[Waiting, LeaseReply]]) -> None:
        """Undo leases whose runner left before it could be told."""
        self._window.uncharge(task for task, _ in granted)
        self._over([task for task, _ in granted])
        holds = [Hold(task.id, reply.attempt) for task, reply in granted]
        try:
            await self._republisher.give_back(holds)
        except ServerUnavailable:
            self._resting.rest([task for task, _ in granted])
            return
        self._settlement.settle(task for task, _ in granted)

    def _over(self, tasks: Sequence[Waiting]) -> None:
        """Tell those who wait for the run of a task that there is none."""
        if self._cached is not None:
            self._cached.over(tasks)
