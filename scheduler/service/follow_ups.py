"""Follows up on tasks that ended: first those that depend on them, then the journal.

The end of a task that others depend on wakes it at once, so a chain of tasks goes on link by link without waiting for
a sweep; all other ends are found by the sweep and journalled together. The log is waited for in a line of its own:
while it is away, children still begin and end in their records.
"""

import asyncio
import logging
from collections.abc import Iterable

from scheduler.errors import ServerUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.events import EventFeed
from scheduler.ports.follow_ups import FollowUp, FollowUpStore
from scheduler.service.children import Children
from scheduler.service.duties import Duties
from scheduler.service.journal import Journal
from scheduler.states import TaskState

log = logging.getLogger(__name__)

LIMIT = 1024
"""Most follow-ups of one partition that are read at a time."""
AGAIN_S = 0.2
"""Pause after the record store failed to answer, in seconds."""


class FollowUps:
    """Deals with the follow-ups of the partitions that this scheduler holds the duty for."""

    def __init__(
        self,
        store: FollowUpStore,
        events: EventFeed,
        duties: Duties,
        children: Children,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._store = store
        self._events = events
        self._duties = duties
        self._children = children
        self._journal = journal
        self._clock = clock
        self._woken: set[int] = set()
        self._work = asyncio.Event()

    def wake(self, partitions: Iterable[int]) -> None:
        """Let it look at partitions soon."""
        self._woken.update(partitions)
        if self._woken:
            self._work.set()

    async def listen(self) -> None:
        """Wake for ever at the end of tasks that others depend on; others hold the rest of the partitions."""
        async for partitions in self._events.wakes():
            held = self._duties.partitions
            self.wake(set(held).intersection(partitions) if partitions else held)

    async def run(self) -> None:
        """Follow up for ever. Cancelling it leaves the rest to the store, which keeps it."""
        while True:
            await self._work.wait()
            self._work.clear()
            partitions = sorted(self._woken)
            self._woken.clear()
            try:
                await self._follow_up(partitions)
            except ServerUnavailable as error:
                log.warning("follow-ups interrupted: %s", error)
                await self._clock.sleep(AGAIN_S)
                self.wake(partitions)

    async def _follow_up(self, partitions: list[int]) -> None:
        while partitions:
            found = await self._store.follow_ups(partitions, LIMIT)
            fresh = [one for one in found if not self._journal.holds(one)]
            ended = _parents(fresh)
            if ended:
                await self._children.parents_ended(ended)
            self._journal.take(fresh)
            # The rest of a full partition comes once the journal has taken its first; the sweep tells of it.
            if not fresh:
                return
            counts: dict[int, int] = {}
            for one in found:
                counts[one.partition] = counts.get(one.partition, 0) + 1
            partitions = [partition for partition, count in counts.items() if count >= LIMIT]


def _parents(follow_ups: Iterable[FollowUp]) -> dict[str, TaskState]:
    """Return those that others depend on, with the states in which they ended."""
    ended: dict[str, TaskState] = {}
    for one in follow_ups:
        if one.parents:
            states = {task_id: state for state, ids in one.endings for task_id in ids}
            ended.update({parent: states[parent] for parent in one.parents if parent in states})
    return ended
