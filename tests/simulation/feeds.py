"""What processes hear of changes: late, with gaps, and told of each gap by an empty list."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from scheduler.ports.events import EventFeed, TaskChange
from tests.simulation.network import RECORDS, Network
from tests.simulation.processes import Process

T = TypeVar("T")


class FeedClient:
    """An EventFeed in a process."""

    def __init__(self, network: Network, process: Process, events: EventFeed) -> None:
        self._network = network
        self._process = process
        self._events = events

    def changes(self) -> AsyncIterator[list[TaskChange]]:
        return self._follow(self._events.changes())

    def cancellations(self) -> AsyncIterator[list[str]]:
        return self._follow(self._events.cancellations())

    def wakes(self) -> AsyncIterator[list[int]]:
        return self._follow(self._events.wakes())

    async def _follow(self, batches: AsyncIterator[list[T]]) -> AsyncIterator[list[T]]:
        network = self._network
        async for batch in batches:
            if cut_s := network.cut_for(self._process, RECORDS):
                await asyncio.sleep(cut_s)
                yield []
            elif network.weather.lost_event and network.rng.random() < network.weather.lost_event:
                yield []
            else:
                await asyncio.sleep(network.delay_s())
                yield batch
