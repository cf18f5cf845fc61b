"""Going through every task that has not ended: to put all of it on the log again, and to copy it. For repairs and
backups, never for the ordinary way: it reads every record. Guarantees as in ports/records.py.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from scheduler.ids import PARTITIONS
from scheduler.ports.records import Republication
from scheduler.states import TaskState


class OpenTask(NamedTuple):
    """A task that has not ended."""

    state: TaskState
    publication: Republication
    """Its present number and envelope; number 0 when it never was QUEUED."""


class WalkStore(Protocol):
    """Used by repairs."""

    async def open_tasks(self, partition: int, after: str, limit: int) -> tuple[list[OpenTask], str]:
        """Look at up to `limit` records of a partition after a cursor (empty for the first); returns those that have
        not ended and the next cursor, empty at the end. Tasks that exist during the whole walk are met at least once.
        """
        ...


async def open_pages(store: WalkStore, limit: int) -> AsyncIterator[list[OpenTask]]:
    """Go through all partitions; yields what was found in each look at up to `limit` records. Raises as the store."""
    for partition in range(PARTITIONS):
        after = ""
        while True:
            tasks, after = await store.open_tasks(partition, after, limit)
            yield tasks
            if not after:
                break
