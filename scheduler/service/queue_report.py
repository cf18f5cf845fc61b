"""Tells where this scheduler and its metrics are, what it knows of the fleet (`view.py`), and of each queue how old the
oldest waiting task is, how fast it moves, what it got of the work, and whether it is paused.
"""

import logging
from collections.abc import Mapping

from forebay.queues.v1.queue_service_pb2 import ListQueuesResponse
from forebay.tasks.v1.task_pb2 import Priority
from scheduler.errors import RecordsUnavailable
from scheduler.policies.level_modes import level_share
from scheduler.policies.policy import Policy
from scheduler.ports.clock import Clock
from scheduler.ports.membership import (
    METRICS_ROLE,
    QUEUES_ROLE,
    SCHEDULER_ROLE,
    VIEW_ROLE,
    Membership,
)
from scheduler.service.entry import PoolWindow
from scheduler.service.pauses import Pauses
from scheduler.service.rates import Rates
from scheduler.service.view import Views
from scheduler.states import Level

log = logging.getLogger(__name__)

INTERVAL_S = 0.5
TTL_MS = 2_000


class QueueReport:
    """Announces this scheduler's address, its view of the fleet and of the queues every half second."""

    def __init__(
        self,
        member: str,
        address: str,
        membership: Membership,
        windows: Mapping[str, PoolWindow],
        rates: Rates,
        pauses: Pauses,
        views: Views,
        policy: Policy,
        clock: Clock,
        metrics_address: str,
    ) -> None:
        """`policy` is the one with version 0."""
        self._member = member
        self._address = address
        self._membership = membership
        self._windows = windows
        self._rates = rates
        self._pauses = pauses
        self._views = views
        self._policy = policy
        self._version = 0
        self._clock = clock
        self._metrics_address = metrics_address

    def follow(self, policy: Policy, version: int) -> None:
        """Tell the shares of another policy from now on."""
        self._policy, self._version = policy, version

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
        cards = [
            (SCHEDULER_ROLE, self._address.encode()),
            (VIEW_ROLE, self._views.view(self._version).SerializeToString()),
            (QUEUES_ROLE, self._queues().SerializeToString()),
        ]
        if self._metrics_address:
            cards.append((METRICS_ROLE, self._metrics_address.encode()))
        for role, card in cards:
            await self._membership.announce(role, self._member, card, TTL_MS)

    async def withdraw(self) -> None:
        """Leave at once, so that runners look for another. Raises RecordsUnavailable."""
        for role in (SCHEDULER_ROLE, QUEUES_ROLE, VIEW_ROLE, METRICS_ROLE):
            await self._membership.withdraw(role, self._member)

    def _queues(self) -> ListQueuesResponse:
        found = ListQueuesResponse()
        now_ms = self._clock.now_ms()
        rates = self._rates
        for pool, window in self._windows.items():
            oldest: dict[Level, int] = {}
            waits_ms = dict.fromkeys(Level, 0.0)
            for part in window.contents():
                oldest[part.level] = min(part.oldest_ms, oldest.get(part.level, part.oldest_ms))
                waits_ms[part.level] += part.work_ms
            works = {level: rates.work_per_second(pool, level) for level in Level}
            worked = sum(works.values())
            for level in Level:
                queue = found.queues.add(
                    pool=pool,
                    priority=Priority.ValueType(level),
                    finished_per_second=rates.per_second(pool, level),
                    arrived_per_second=rates.arrived_per_second(pool, level),
                    started_per_second=rates.started_per_second(pool, level),
                    share=level_share(self._policy, level),
                    share_got=works[level] / worked if worked else 0.0,
                    paused=self._pauses.of(pool).whole_queue(level),
                )
                queue.queued_work.FromMilliseconds(round(waits_ms[level]))
                if level in oldest:
                    queue.oldest_age.FromMilliseconds(max(0, now_ms - oldest[level]))
        return found
