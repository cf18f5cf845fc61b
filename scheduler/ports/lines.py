"""Who waits in line: how many tasks of each queue, tenant and model, and how many of them before a given moment.

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
    before: int = 0
    """Of the queued ones, those that were queued before the moment that was asked for."""


class LineStore(Protocol):
    """Used by the gateway to explain, to list and to limit."""

    async def lines(self) -> Sequence[Line]:
        """Count everything, by (pool, level, tenant, model); cheap enough for four times a second with thousands of
        lines. `before` is 0.
        """
        ...

    async def place(self, pool: str, level: Level, tenant: str, model: str, queue_time_ms: int) -> int:
        """Count those of one line that were queued before a moment; the same for a backlog of any length."""
        ...

    async def lines_before(self, pool: str, queue_time_ms: int) -> Sequence[Line]:
        """Count the lines of a pool, with `before` by the time at which tasks last entered their queue.

        A backlog of any length takes it the same, but hundreds of lines tens of milliseconds of the store: whoever has
        one line in mind asks for its `place`.
        """
        ...
