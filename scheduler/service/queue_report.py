"""Tells where this scheduler and its metrics are, how old the oldest waiting tasks are, how fast queues move, and
which of them are paused.
"""

import logging
from collections.abc import Mapping

from forebay.queues.v1.queue_service_pb2 import ListQueuesResponse
from forebay.tasks.v1.task_pb2 import Priority
from scheduler.errors import RecordsUnavailable
from scheduler.policies.levels import WeightedLevels
from scheduler.ports.clock import Clock
from scheduler.ports.membership import METRICS_ROLE, QUEUES_ROLE, SCHEDULER_ROLE, Membership
from scheduler.service.entry import PoolWindow
from scheduler.service.pauses import Pauses
from scheduler.service.rates import Rates
from scheduler.states import Level

log = logging.getLogger(__name__)

INTERVAL_S = 0.5
TTL_MS = 2_000


class QueueReport:
    """Announces this scheduler's address and its view of the queues every half second."""

    def __init__(
        self,
        member: str,
        address: str,
        membership: Membership,
        windows: Mapping[str, PoolWindow],
        levels: Mapping[str, WeightedLevels],
        rates: Rates,
        pauses: Pauses,
        clock: Clock,
        metrics_address: str,
    ) -> None:
        self._member = member
        self._address = address
        self._membership = membership
        self._windows = windows
        self._levels = levels
        self._rates = rates
        self._pauses = pauses
        self._clock = clock
        self._metrics_address = metrics_address

    async def run(self) -> None:
        """Announce for ever."""
        while True:
            try:
                await self.announce()
            except RecordsUnavailable as error:
                log.warning("announcement failed: %s", error)
            await self._clock.sleep(INTERVAL_S)

    async def announce(self) -> None:
        """Announce once. Raises RecordsUnavailable."""
        await self._membership.announce(SCHEDULER_ROLE, self._member, self._address.encode(), TTL_MS)
        await self._membership.announce(QUEUES_ROLE, self._member, self._view().SerializeToString(), TTL_MS)
        if self._metrics_address:
            await self._membership.announce(
                METRICS_ROLE, self._member, self._metrics_address.encode(), TTL_MS
            )

    async def withdraw(self) -> None:
        """Leave at once, so that runners look for another. Raises RecordsUnavailable."""
        for role in (SCHEDULER_ROLE, QUEUES_ROLE, METRICS_ROLE):
            await self._membership.withdraw(role, self._member)

    def _view(self) -> ListQueuesResponse:
        view = ListQueuesResponse()
        now_ms = self._clock.now_ms()
        for pool, window in self._windows.items():
            oldest = window.oldest_ms()
            for level in Level:
                rate = self._rates.per_second(pool, level)
                queue = view.queues.add(
                    pool=pool,
                    priority=Priority.ValueType(level),
                    finished_per_second=rate,
                    share=self._levels[pool].share(level),
                    paused=self._pauses.of(pool).whole_queue(level),
                )
                if level in oldest:
                    queue.oldest_age.FromMilliseconds(max(0, now_ms - oldest[level]))
        return view
