"""Repairs what a death interrupted: leases that ran out, publications that never reached the log.

Sweepers share the partitions in groups through a membership duty. The actions are idempotent scripts, so two owners
of a group for a moment do no harm.
"""

import logging
from collections.abc import Callable, Sequence

from scheduler.errors import ServerUnavailable
from scheduler.ids import PARTITIONS
from scheduler.ports.clock import Clock
from scheduler.ports.membership import Membership
from scheduler.ports.records import SweepStore
from scheduler.service.republisher import Republisher

log = logging.getLogger(__name__)

GROUPS = 4
DUTY_MARGIN_MS = 200
"""A duty stands for two sweeps and this: a dead sweeper's successor is at work after that time at the latest."""
LIMIT = 500
"""Most leases, or tickets, of one partition that one sweep takes on."""


class Sweeper:
    """Sweeps the groups of partitions that this scheduler holds the duty for."""

    def __init__(
        self,
        member: str,
        store: SweepStore,
        membership: Membership,
        republisher: Republisher,
        clock: Clock,
        lost: Callable[[Sequence[str]], None],
        *,
        interval_s: float,
        republish_after_ms: int,
        lost_error: bytes,
    ) -> None:
        """`lost` is told of tasks whose leases ran out: what their runners still say of them means nothing."""
        self._member = member
        self._store = store
        self._membership = membership
        self._republisher = republisher
        self._clock = clock
        self._lost = lost
        self._interval_s = interval_s
        self._republish_after_ms = republish_after_ms
        self._lost_error = lost_error

    async def run(self) -> None:
        """Sweep for ever; a server that does not answer is met again at the next sweep."""
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                for group in range(GROUPS):
                    if await self._membership.hold(
                        f"sweep-{group}", self._member, int(self._interval_s * 2000) + DUTY_MARGIN_MS
                    ):
                        await self._sweep(range(group, PARTITIONS, GROUPS))
            except ServerUnavailable as error:
                log.warning("sweep interrupted: %s", error)

    async def _sweep(self, partitions: range) -> None:
        requeued, failed, tickets = await self._store.expire_leases(partitions, LIMIT, self._lost_error)
        if requeued or failed:
            log.warning(
                "leases ran out: %d tasks queued again, %d failed without attempts left",
                len(requeued),
                len(failed),
            )
            self._lost([*(task.id for task in requeued), *failed])
            await self._republisher.publish(requeued, tickets)
        for ticket, tasks in await self._store.unpublished(partitions, self._republish_after_ms, LIMIT):
            if tasks:
                log.warning("publication without acknowledgement made again", extra={"tasks": len(tasks)})
            await self._republisher.publish(tasks, [ticket])
