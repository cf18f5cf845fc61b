"""Does what is due, and repairs what a death interrupted: leases that ran out, timers, deadlines, publications that
never reached the log, follow-ups, schedules.

One call asks about all partitions that this scheduler holds the duty for; the steps themselves are called only for
those that have something. Nothing here waits for the log.
"""

import logging
from collections.abc import Callable, Sequence

from scheduler.errors import ServerUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.sweeps import Due, SweepStore
from scheduler.service.children import Children
from scheduler.service.duties import Duties
from scheduler.service.firing import LIMIT as FIRING_LIMIT
from scheduler.service.firing import Firing
from scheduler.service.follow_ups import FollowUps
from scheduler.service.outgoing import Outgoing

log = logging.getLogger(__name__)

LIMIT = 100
"""Most leases, timers, deadlines or tickets of one partition that one step takes on; the next one follows at once."""
RENEWAL_S = 2.5
"""After the record store was away no lease is ended for so long, in seconds: those who hold them could not renew them,
and do it, or write how their attempts ended, within that time.
"""
LEAST_S = 0.005
"""Shortest time between two sweeps, in seconds, unless there is more to do than one could take on."""


class Sweeper:
    """Sweeps the partitions that this scheduler holds the duty for."""

    def __init__(
        self,
        store: SweepStore,
        duties: Duties,
        outgoing: Outgoing,
        children: Children,
        follow_ups: FollowUps,
        firing: Firing,
        clock: Clock,
        lost: Callable[[Sequence[str]], None],
        *,
        interval_s: float,
        republish_after_ms: int,
        lost_error: bytes,
    ) -> None:
        """`lost` is told of tasks whose leases ran out: what their runners still say of them means nothing."""
        self._store = store
        self._duties = duties
        self._outgoing = outgoing
        self._children = children
        self._follow_ups = follow_ups
        self._firing = firing
        self._clock = clock
        self._lost = lost
        self._interval_s = interval_s
        self._republish_after_ms = republish_after_ms
        self._lost_error = lost_error
        self._spared_until_s = 0.0

    async def run(self) -> None:
        """Sweep for ever; a server that does not answer is met again at the next sweep."""
        while True:
            try:
                pause_s = await self._sweep()
            except ServerUnavailable as error:
                log.warning("sweep interrupted: %s", error)
                pause_s = self._interval_s
            await self._clock.sleep(pause_s)

    async def _sweep(self) -> float:
        """Sweep once; returns the seconds until the next sweep."""
        began_s = self._clock.monotonic()
        try:
            partitions = await self._duties.keep()
            if not partitions:
                return self._interval_s
            due = await self._store.due(partitions, self._republish_after_ms)
        except ServerUnavailable:
            self._spared_until_s = self._clock.monotonic() + RENEWAL_S
            raise
        if due.follow_ups:
            self._follow_ups.wake(due.follow_ups)
        more = [
            await self._expire_leases(due.leases),
            await self._expire_deadlines(due.deadlines),
            await self._fire(due.schedules),
        ]
        # While the log is away there is no use in having more for it.
        if self._outgoing.has_room:
            more += [await self._wake(due.timers), await self._republish(due.unpublished)]
        if any(more):
            return 0.0
        return self._pause_s(due, self._clock.monotonic() - began_s)

    def _pause_s(self, due: Due, took_s: float) -> float:
        """Return how long to sleep: until something is due, but not so little that sweeping is all that is done."""
        if due.next_in_ms < 0 or not self._outgoing.has_room:
            return self._interval_s
        return min(self._interval_s, max(due.next_in_ms / 1000, LEAST_S, 4 * took_s))

    async def _expire_leases(self, partitions: Sequence[int]) -> bool:
        if not partitions or self._clock.monotonic() < self._spared_until_s:
            return False
        requeued, failed, tickets = await self._store.expire_leases(partitions, LIMIT, self._lost_error)
        if not (requeued or failed):
            return False
        log.warning(
            "leases ran out: %d tasks queued again, %d failed without attempts left",
            len(requeued),
            len(failed),
        )
        self._lost([*(task.id for task in requeued), *failed])
        self._outgoing.offer(requeued, tickets)
        return len(requeued) + len(failed) >= LIMIT

    async def _expire_deadlines(self, partitions: Sequence[int]) -> bool:
        if not partitions:
            return False
        return len(await self._store.expire_deadlines(partitions, LIMIT)) >= LIMIT

    async def _wake(self, partitions: Sequence[int]) -> bool:
        if not partitions:
            return False
        tasks, tickets = await self._store.wake(partitions, LIMIT)
        self._outgoing.offer(tasks, tickets)
        return len(tasks) >= LIMIT

    async def _republish(self, partitions: Sequence[int]) -> bool:
        """Complete what others began: publish or park, and tell parents of children that they do not know."""
        if not partitions:
            return False
        again = 0
        for ticket, tasks in await self._store.unpublished(partitions, self._republish_after_ms, LIMIT):
            await self._children.link([task for task in tasks if not task.publication])
            if self._outgoing.offer(tasks, [ticket]):
                again += len(tasks)
        if again:
            # One ticket is one partition's part of a submit: a broker's death leaves hundreds of them.
            log.warning("publications without acknowledgement made again", extra={"tasks": again})
        # What is left of them comes with the next sweep: these stay until they are on the log.
        return False

    async def _fire(self, partitions: Sequence[int]) -> bool:
        return bool(partitions) and await self._firing.fire(partitions) >= FIRING_LIMIT
