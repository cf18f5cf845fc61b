"""What the record store tells of changes, in order per partition.

A follower misses nothing without being told: an empty list says that it must read again what it follows. Nothing is
kept for those that do not follow. A call that fails with RecordsUnavailable may have been told of all the same.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from scheduler.states import TaskState


class TaskChange(NamedTuple):
    """A task entered a state, or, with `output`, its stream grew."""

    id: str
    state: TaskState
    attempt: int
    output: bool = False


class EventFeed(Protocol):
    """Follows event streams. Each iterator has its own position; closing it (aclose, or cancelling) lets go."""

    def changes(self) -> AsyncIterator[list[TaskChange]]:
        """Yield batches of changes of all partitions from now on.

        The first item is an empty list: from that moment on nothing is missed. An empty list later means that the
        store was away and may have lost events: read again what you follow.
        """
        ...

    def cancellations(self) -> AsyncIterator[list[str]]:
        """Yield batches of ids that were cancelled or expired while RUNNING, from now on; the first item is an empty
        list.
        """
        ...

    def wakes(self) -> AsyncIterator[list[int]]:
        """Yield partitions in which a task ended that others depend on, from now on: its follow-ups should not wait
        for the next sweep. The first item is an empty list; a later one says that some may have been missed.
        """
        ...
