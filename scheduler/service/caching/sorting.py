"""Finds out of one pool's tasks beside the dispatcher's rounds whether they must run: no round waits for the cache.

At any time one look is under way; what comes meanwhile goes with the next. Tasks that are being looked for keep the
credit that they were taken for, so that what is led does start. While the cache is slow that would keep runners idle
and others waiting: then the credit is everybody's, and tasks with a question are set aside, to be taken again in their
places when the look is over. One that then finds no credit left waits again, too.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from scheduler.ports.clock import Clock
from scheduler.service.caching.flights import Flight
from scheduler.service.caching.tasks import CachedTasks
from scheduler.service.entry import PoolWindow, Waiting

PATIENCE_S: Final = 0.005
"""How long a look may take before the cache is slow."""
MOST_AT_ONCE: Final = 512
"""Tasks of one look; credit bounds how many there are in all."""


class Sorting:
    """The tasks of one pool that may be answered without a run. Its looks are tasks of the dispatcher's group."""

    def __init__(
        self,
        pool: str,
        window: PoolWindow,
        cached: CachedTasks,
        start: Callable[[Sequence[Waiting]], object],
        wake: asyncio.Event,
        clock: Clock,
    ) -> None:
        """`start` leases tasks, or lets them wait again in their places; `wake` is set when a round may find more."""
        self._pool = pool
        self._window = window
        self._cached = cached
        self._start = start
        self._wake = wake
        self._clock = clock
        self._flights: deque[Flight] = deque()
        self._only: deque[Waiting] = deque()
        self._kept: Counter[str] = Counter()
        """By model: the credit of tasks that are being looked for."""
        self._looking = False
        self._slow = False
        self._parked: list[Waiting] = []
        """Set aside while the cache is slow."""

    def unspoken(
        self, credits: Mapping[str, int], reserves: Mapping[str, int]
    ) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Return the credit, and that for CRITICAL tasks beyond it, that a round may use."""
        if self._slow or not self._kept:
            return credits, reserves
        kept = self._kept
        return (
            {model: max(0, credit - kept[model]) for model, credit in credits.items()},
            {
                model: max(0, credit - max(0, kept[model] - credits.get(model, 0)))
                for model, credit in reserves.items()
            },
        )

    def sort_out(self, tasks: Sequence[Waiting], group: asyncio.TaskGroup) -> Sequence[Waiting]:
        """Return those tasks, just taken from the window, that start now, and see to the others in `group`."""
        asking = [task for task in tasks if asks(task)]
        if not asking:
            return tasks
        if self._slow:
            self._window.uncharge(asking)
            self._window.set_aside(asking)
            self._parked += asking
            return [task for task in tasks if not asks(task)]
        found = self._cached.sort_out(self._pool, tasks)
        looked = [flight.leader for flight in found.flights if flight.leader is not None] + found.only
        self._kept.update([task.model for task in looked])
        self._flights += found.flights
        self._only += found.only
        self._window.uncharge(set(asking).difference(looked, found.starting))
        if looked and not self._looking:
            self._looking = True
            group.create_task(self._look(group))
        return found.starting

    async def _look(self, group: asyncio.TaskGroup) -> None:
        """Look until nothing is left to be looked for. Cancelled, it leaves tasks to their messages."""
        while self._flights or self._only:
            flights = [self._flights.popleft() for _ in range(min(MOST_AT_ONCE, len(self._flights)))]
            only = [self._only.popleft() for _ in range(min(MOST_AT_ONCE, len(self._only)))]
            looked = [flight.leader for flight in flights if flight.leader is not None] + only
            patience = group.create_task(self._lose_patience())
            try:
                starting = await self._cached.ask(flights, only)
            finally:
                patience.cancel()
            self._kept.subtract([task.model for task in looked])
            # Also drops the models of which nothing is looked for.
            self._kept = +self._kept
            self._window.uncharge(set(looked).difference(starting))
            self._start(starting)
            if self._slow:
                self._slow = False
                parked, self._parked = self._parked, []
                self._window.rejoin(parked)
            self._wake.set()
        self._looking = False

    async def _lose_patience(self) -> None:
        """After a while let everything with a question wait apart, so that rounds meet what they can start."""
        await self._clock.sleep(PATIENCE_S)
        self._slow = True
        self._parked += self._window.set_apart(asks)
        self._wake.set()


def asks(task: Waiting) -> bool:
    """Whether a task has a question."""
    return task.envelope.HasField("cached_as")
