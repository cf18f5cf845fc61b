"""Tells followers of changes, each through a bounded queue of its own."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Generic, TypeVar

from scheduler.ports.events import TaskChange

T = TypeVar("T")

BATCHES_KEPT: Final = 1024
"""Most batches that wait for one follower. One that falls further behind is told so by an empty list."""


class _Topic(Generic[T]):
    def __init__(self) -> None:
        self._followers: set[asyncio.Queue[list[T]]] = set()

    def publish(self, batch: list[T]) -> None:
        for queue in self._followers:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait([])
            queue.put_nowait(batch)

    async def follow(self) -> AsyncIterator[list[T]]:
        queue: asyncio.Queue[list[T]] = asyncio.Queue(BATCHES_KEPT)
        self._followers.add(queue)
        try:
            yield []
            while True:
                yield await queue.get()
        finally:
            self._followers.discard(queue)


class MemoryEvents:
    """EventFeed in memory; the records put into it what changes."""

    def __init__(self) -> None:
        self._changes = _Topic[TaskChange]()
        self._cancellations = _Topic[str]()
        self._wakes = _Topic[int]()

    def changes(self) -> AsyncIterator[list[TaskChange]]:
        """Follow changes; see EventFeed."""
        return self._changes.follow()

    def cancellations(self) -> AsyncIterator[list[str]]:
        """Follow ids that were cancelled or expired while RUNNING; see EventFeed."""
        return self._cancellations.follow()

    def wakes(self) -> AsyncIterator[list[int]]:
        """Follow partitions in which a task ended that others depend on; see EventFeed."""
        return self._wakes.follow()

    def publish(self, changes: list[TaskChange]) -> None:
        """Tell of changes. Never waits."""
        if changes:
            self._changes.publish(changes)

    def publish_cancellations(self, ids: list[str]) -> None:
        """Tell of tasks that were cancelled or expired while RUNNING. Never waits."""
        if ids:
            self._cancellations.publish(ids)

    def publish_wakes(self, partitions: list[int]) -> None:
        """Tell of partitions in which a task ended that others depend on. Never waits."""
        if partitions:
            self._wakes.publish(partitions)
