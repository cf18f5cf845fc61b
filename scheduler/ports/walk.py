"""Going through every task that has not ended: to put all of it on the log again, and to copy it. For repairs and
backups, never for the ordinary way: it reads every record. Guarantees as in ports/records.py.
"""

from typing import NamedTuple, Protocol

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
