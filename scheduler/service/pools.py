"""What a scheduler has for each of its pools: a window, the intakes that fill it, a dispatcher that empties it, and
what its tasks cost.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any, Final

from observability.metrics import SchedulerMetrics
from scheduler.lanes import Lane, queue_lanes
from scheduler.policies.policy import Policy
from scheduler.prediction import LearnedCost
from scheduler.routing.routers import Routers
from scheduler.service.caching import Answers, CachedTasks
from scheduler.service.dispatcher import Dispatcher
from scheduler.service.entry import PoolWindow, Waiting
from scheduler.service.intake import Intake
from scheduler.service.learning import Learning
from scheduler.service.ports import Ports
from scheduler.service.rates import Rates
from scheduler.service.republisher import Republisher
from scheduler.service.resting import Resting
from scheduler.service.runners import Roster
from scheduler.service.settings import SchedulerSettings
from scheduler.service.settlement import Settlement
from scheduler.service.unreadable import Graveyard
from scheduler.states import Level

MOST_NEEDS: Final = 256
"""Models of a pool whose expected time of execution the record store is told of."""


class Pools:
    """All pools of one scheduler."""

    def __init__(
        self,
        names: Sequence[str],
        lanes: int,
        ports: Ports,
        settings: SchedulerSettings,
        policy: Policy,
        roster: Roster,
        routers: Routers,
        rates: Rates,
        settlement: Settlement,
        resting: Resting,
        republisher: Republisher,
        graveyard: Graveyard,
        wake: asyncio.Event,
        metrics: SchedulerMetrics,
        answers: Answers | None,
    ) -> None:
        """`lanes` is how many lanes of a queue tenants share; `wake` is set when something may start; `answers` is None
        where nothing is cached.
        """
        self._wake = wake
        self.lanes: Final = [
            lane for pool in names for level in Level for lane in queue_lanes(pool, level, lanes)
        ]
        """Those that are read."""
        self.costs: Final = {pool: LearnedCost() for pool in names}
        self.learning: Final = Learning(self.costs, rates, metrics)
        self.windows: Final = {pool: PoolWindow(settings.window_per_lane, policy) for pool in names}
        self.intakes: Final = {
            pool: Intake(
                ports.consumer, graveyard, settlement, window, wake, ports.clock, self.learning, rates, lanes
            )
            for pool, window in self.windows.items()
        }
        self.cached: Final = (
            CachedTasks(
                *(answers, ports.answers, self.windows, self.intakes, roster, settlement, resting, wake),
                ports.clock,
                metrics,
            )
            if answers is not None
            else None
        )
        """Sees to tasks that may be answered without a run; None where nothing is cached."""
        self._dispatchers = [
            Dispatcher(
                pool,
                window,
                self.intakes[pool],
                roster,
                routers,
                rates,
                ports.leases,
                settlement,
                resting,
                republisher,
                wake,
                ports.clock,
                metrics,
                self.cached,
                batch=settings.assign_batch,
                lease_ms=settings.lease_ms,
            )
            for pool, window in self.windows.items()
        ]
        for dispatcher in self._dispatchers:
            dispatcher.follow(policy)

    def follow(self, policy: Policy) -> None:
        """Go by another policy from now on."""
        for window in self.windows.values():
            window.follow(policy)
        for dispatcher in self._dispatchers:
            dispatcher.follow(policy)

    def dispatching(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what empties the windows, each until it is cancelled."""
        return (dispatcher.run() for dispatcher in self._dispatchers)

    def caching(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what sees to tasks that are answered without a run, until it is cancelled."""
        return iter(()) if self.cached is None else iter((self.cached.run(),))

    def feeding(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what fills them, each until it is cancelled."""
        return (self._drain(lane) for lane in self.lanes)

    def put_back(self, task: Waiting) -> None:
        """Let a task wait again that had left its window."""
        self.windows[task.lane.pool].add(task)
        self._wake.set()

    def correct(self, pool: str, level: Level, tenant: str, model: str, delta_work_ms: float) -> None:
        """Charge what a task took beyond what was expected of it; see Window.correct."""
        self.windows[pool].correct(level, tenant, model, delta_work_ms)

    def needs_ms(self) -> Mapping[str, int]:
        """Return how long a task of each model is expected to take, in milliseconds."""
        return {
            usual.model: int(usual.expected.execute_ms)
            for costs in self.costs.values()
            for usual in costs.usual(MOST_NEEDS)
            if not usual.tenant and not usual.level
        }

    def _drain(self, lane: Lane) -> Coroutine[Any, Any, None]:
        return self.intakes[lane.pool].drain(lane)
