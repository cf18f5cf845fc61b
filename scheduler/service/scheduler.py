"""One scheduler over any adapters: makes the parts, runs them together, ends them in order."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Final

from observability.metrics import SchedulerMetrics
from scheduler.errors import ServerUnavailable
from scheduler.policies.policy import Policy
from scheduler.routing.routers import Routers
from scheduler.service.caching import Answers
from scheduler.service.cancellations import forward_cancellations
from scheduler.service.dispatch_service import DispatchServicer
from scheduler.service.entry import Waiting
from scheduler.service.pauses import Pauses
from scheduler.service.pools import Pools
from scheduler.service.ports import Ports
from scheduler.service.probing import wake_for_probes
from scheduler.service.queue_report import QueueReport
from scheduler.service.rates import Rates
from scheduler.service.repair import Repair
from scheduler.service.republisher import Republisher
from scheduler.service.resting import Resting
from scheduler.service.runners import Roster
from scheduler.service.settings import SchedulerSettings
from scheduler.service.settlement import Settlement
from scheduler.service.shelving import Shelving
from scheduler.service.unreadable import Graveyard, Losses
from scheduler.service.upkeep import Upkeep
from scheduler.service.view import Views
from services.policy_following import PolicyFollower

log = logging.getLogger(__name__)

POLICY_S: Final = 2.0
"""Longest wait for the stored policy at the start, in seconds."""

__all__ = ["Ports", "Scheduler"]


class Scheduler:
    """The parts of one scheduler. Use `running` for its life; `servicer` is its door."""

    def __init__(
        self,
        member: str,
        ports: Ports,
        settings: SchedulerSettings,
        pools: Sequence[str],
        policy: Policy,
        lanes: int,
        lost_error: bytes,
        metrics: SchedulerMetrics,
        chance: Random,
        answers: Answers | None = None,
    ) -> None:
        """`policy` is the one that the platform is started with; `chance` is what routing draws from; `answers` is what
        is known of answers, None where nothing is cached.
        """
        self._ports = ports
        self._settings = settings
        self._policy = policy
        self._member = member
        self._metrics = metrics
        clock = ports.clock
        self._wake = asyncio.Event()
        self._settlement = Settlement(ports.consumer)
        self._republisher = Republisher(ports.publisher, ports.admissions, ports.leases, lanes)
        self._resting = Resting(settings.recheck_s, clock, self._back_to_window)
        self._roster = Roster()
        self._routers = Routers(chance, settings.zone, policy)
        self._rates = Rates(clock)
        losses = Losses(self._settlement)
        graveyard = Graveyard(ports.publisher, ports.dead_letters, self._settlement, losses, clock)
        self._repair = Repair(ports.walk, self._republisher, losses, clock)
        self._pools = Pools(
            pools,
            lanes,
            ports,
            settings,
            policy,
            self._roster,
            self._routers,
            self._rates,
            self._settlement,
            self._resting,
            self._republisher,
            graveyard,
            self._wake,
            metrics,
            answers,
        )
        windows = self._pools.windows
        self._pauses = Pauses(ports.pauses, windows, self._wake, clock)
        self._shelving = Shelving(
            ports.shelves,
            windows,
            self._pools.intakes,
            self._roster,
            self._pauses,
            self._settlement,
            self._resting,
            self._republisher,
            clock,
        )
        self._upkeep = Upkeep(
            member, ports, self._republisher, settings, self._leases_lost, lost_error, self._pools.needs_ms
        )
        self._upkeep.promotion.follow(policy)
        self._follower = PolicyFollower(ports.policies, policy, self._follow, clock)
        self._report: QueueReport | None = None
        self.servicer = DispatchServicer(
            self._roster,
            self._settlement,
            self._resting,
            self._republisher,
            self._rates,
            self._pools.learning,
            self._wake,
            clock,
            self._pools.cached,
            lease_ms=settings.lease_ms,
            correct=self._pools.correct,
        )

    @asynccontextmanager
    async def running(
        self, address: str, serving: Callable[[bool], None], metrics_address: str = ""
    ) -> AsyncIterator[None]:
        """Work until the block is left; `serving` is told when runners may come and when no more.

        `address` and `metrics_address` are announced; an empty one of metrics is not.

        Leaving refuses new work, lets running tasks end within the grace period, and acknowledges what is settled.
        A part that fails ends the block with its error.
        """
        clock = self._ports.clock
        pools = self._pools
        views = Views(self._member, pools.windows, self._roster, self._rates, pools.costs, clock)
        report = self._report = QueueReport(
            self._member,
            address,
            self._ports.membership,
            pools.windows,
            self._rates,
            self._pauses,
            views,
            self._policy,
            clock,
            metrics_address,
        )
        listening = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            start = group.create_task
            background = [
                start(self._settlement.run()),
                start(self._resting.run()),
                start(self._pauses.run()),
                start(self._repair.run()),
                start(self._follower.run()),
                start(wake_for_probes(self._roster, self._wake, clock)),
                *map(start, self._upkeep.loops()),
                start(forward_cancellations(self._ports.events, self._roster, listening, self._over)),
                *map(start, pools.caching()),
                *map(start, pools.dispatching()),
            ]
            # What is paused must not start because nobody had looked yet.
            await self._pauses.known.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(POLICY_S):
                    await self._follower.known.wait()
            feeding = [*map(start, pools.feeding())]
            await listening.wait()
            feeding += [start(self._shelving.run()), start(report.run())]
            serving(True)
            log.info("scheduler serves", extra={"address": address, "lanes": len(pools.lanes)})
            try:
                yield
            finally:
                serving(False)
                for task in feeding:
                    task.cancel()
                with suppress(ServerUnavailable):
                    await report.withdraw()
                await self._drain()
                if pools.cached is not None:
                    await pools.cached.abandon()
                self.servicer.closing.set()
                for task in background:
                    task.cancel()
                await self._settlement.flush()

    async def _drain(self) -> None:
        """Wait until attached runners hold nothing, at most for the grace period."""
        clock = self._ports.clock
        end = clock.monotonic() + self._settings.grace_s
        while self._roster.running() and clock.monotonic() < end:
            await clock.sleep(0.05)
        if left := self._roster.running():
            log.warning("grace period over; the rest ends without this scheduler", extra={"tasks": left})

    def _follow(self, policy: Policy, version: int) -> None:
        """Go by another policy from now on."""
        self._pools.follow(policy)
        self._routers.follow(policy)
        self._upkeep.promotion.follow(policy)
        if self._report is not None:
            self._report.follow(policy, version)
        self._wake.set()

    def _back_to_window(self, task: Waiting) -> None:
        self._pools.put_back(task)

    def _leases_lost(self, ids: Sequence[str]) -> None:
        lost = [running.task for running in self._roster.lost(ids)]
        self._over(lost)
        self._settlement.settle(lost)

    def _over(self, tasks: Iterable[Waiting]) -> None:
        """Tell those who wait for the runs of tasks that they are over."""
        if self._pools.cached is not None:
            self._pools.cached.over(tasks)
