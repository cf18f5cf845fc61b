"""Recurring tasks, kept beside the records. Guarantees as in ports/records.py.

A schedule lives in the partition of its tenant and name. Firing is two steps: the task is created under an
idempotency key made of the schedule and the due time, then the schedule goes on to the next one if it still has that
due time. So a due time makes one task, whoever fires it and however often.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class StoredSchedule(NamedTuple):
    """A schedule as the store has it."""

    tenant: str
    name: str
    definition: bytes
    """Serialised `forebay.tasks.v1.Schedule` as it was created; opaque here."""
    envelope: bytes
    """Serialised `forebay.tasks.v1.Envelope` of its tasks without id, times and key; opaque here."""
    create_time_ms: int
    due_ms: int
    """The next due time; 0 while it is paused."""
    last_ms: int = 0
    last_task: str = ""
    missed: int = 0
    last_fault: str = ""

    @property
    def paused(self) -> bool:
        """Whether it makes no tasks."""
        return self.due_ms == 0


class ScheduleStore(Protocol):
    """Used by the gateway to keep schedules, and by the scheduler to fire them."""

    async def create(self, schedule: StoredSchedule) -> StoredSchedule | None:
        """Keep a new schedule; returns the one that has the name already, and changes nothing then."""
        ...

    async def get(self, tenant: str, name: str) -> StoredSchedule | None:
        """Return a schedule."""
        ...

    async def delete(self, tenant: str, name: str) -> bool:
        """Forget a schedule; False when there is none."""
        ...

    async def due(self, partitions: Sequence[int], limit: int) -> list[StoredSchedule]:
        """Return schedules whose due time has come, at most `limit` of each partition."""
        ...

    async def change(self, before: StoredSchedule, after: StoredSchedule) -> bool:
        """Replace a schedule; False when it is not the one of `before` any more (by creation and due time)."""
        ...

    async def list(self, tenant: str, after: str, limit: int) -> list[StoredSchedule]:
        """Return a tenant's schedules whose names sort after `after`, by name."""
        ...
