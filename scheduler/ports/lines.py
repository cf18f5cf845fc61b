"""Who waits in line: how many tasks of each queue, tenant and model, and how many of one line before a given moment.

Counted from the records, over all partitions; a moment later it may be another number. Every method raises
RecordsUnavailable when the store does not answer in time.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from scheduler.states import Level


class Line(NamedTuple):
    """The tasks of one pool, level, tenant and model."""

    pool: str
    level: Level
    tenant: str
    model: str
    queued: int
    running: int
    waiting: int
    """SCHEDULED, BLOCKED and RETRYING ones."""


class LineStore(Protocol):
    """Used by the gateway to explain, to list and to limit."""

    async def lines(self) -> Sequence[Line]:
        """Count everything, by (pool, level, tenant, model); cheap enough for four times a second with thousands of
        lines.
        """
        ...

    async def place(self, pool: str, level: Level, tenant: str, model: str, queue_time_ms: int) -> int:
        """Count those of one line that were queued before a moment; the same for a backlog of any length."""
        ...
