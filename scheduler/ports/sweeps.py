"""What the sweeper asks of the record store: to repair what a death interrupted, and to do what is due.

Everything is found by its time in sorted sets, never by reading records, so the cost does not grow with the number of
healthy tasks. Every method is an idempotent step per partition; guarantees as in ports/records.py.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from scheduler.ports.records import PublishTicket, Republication

LARGEST_READ_BYTES: Final = 1 << 20
"""Envelopes of one partition in one answer of `unpublished`, in bytes, unless its first ticket names more: after an
outage of the log there may be more of them than the store can answer with in time.
"""

MOST_SPARED: Final = 32
"""Attempts of a task that are not charged from which on it is charged for a death that it is suspected of: more than
twice of what dividing the largest crowd takes. Without an end to it, one that ends its runner outside of the engine,
where nobody is ever alone, would do so for ever.
"""


class Due(NamedTuple):
    """Which partitions have something to do, by what it is; and when the next timer, deadline or schedule comes."""

    leases: list[int]
    timers: list[int]
    deadlines: list[int]
    unpublished: list[int]
    follow_ups: list[int]
    schedules: list[int]
    next_in_ms: int
    """Milliseconds until the next known timer, deadline or schedule; -1 for none."""


class Death(NamedTuple):
    """A task that a runner held when it died."""

    id: str
    attempt: int
    charged: bool
    """Whether the attempt counts: the task ran alone when the runner died."""
    isolation: str = ""
    """The group of suspects that it belongs to from now on; empty for none."""


class SweepStore(Protocol):
    """Used by the sweeper."""

    async def due(self, partitions: Sequence[int], republish_after_ms: int) -> Due:
        """Look at all partitions in one round trip of a few microseconds each."""
        ...

    async def expire_leases(
        self, partitions: Sequence[int], limit: int, error: bytes
    ) -> tuple[list[Republication], list[str], list[PublishTicket]]:
        """End leases that ran out, at most `limit` in each partition: QUEUED again under a new publication, or
        FAILED with `error` (reason RUNNER_LOST) and a dead letter when no attempt is left. Returns what must be
        published, ids that failed, and tickets. All partitions travel in one round trip.
        """
        ...

    async def wake(
        self, partitions: Sequence[int], limit: int
    ) -> tuple[list[Republication], list[PublishTicket]]:
        """Make SCHEDULED and RETRYING tasks whose time has come QUEUED under a new publication."""
        ...

    async def expire_deadlines(self, partitions: Sequence[int], limit: int) -> list[str]:
        """Make tasks whose deadline has passed EXPIRED, whatever their state; the reason of the last step of the
        history is `WHILE_<STATE>`. Runners of those that ran are told as of cancellations. Returns their ids.
        """
        ...

    async def unpublished(
        self, partitions: Sequence[int], older_than_ms: int, limit: int
    ) -> list[tuple[PublishTicket, list[Republication]]]:
        """Return tickets at least that old, at most `limit` in each partition, with those of their tasks that
        are still QUEUED under that number; number 0 stands for those that wait and must be parked. There are fewer
        when the envelopes come to LARGEST_READ_BYTES.
        """
        ...

    async def promote(
        self, partitions: Sequence[int], slack_ms: int, needs: Mapping[str, int], limit: int
    ) -> tuple[list[Republication], list[PublishTicket]]:
        """Put QUEUED tasks under a new publication, for the express lane, that have a deadline to come and less than
        `slack_ms` until the last moment at which they can begin; `needs` is what they take by model, in milliseconds,
        0 for others. Their place in line stays. At most `limit` of a model in each partition, the most urgent first,
        and each at most once until it is QUEUED anew for another reason. The cost grows with those that are due.
        """
        ...

    async def runner_died(self, deaths: Sequence[Death], reason: str, error: bytes) -> int:
        """End the attempts that a dead runner held, if they are still the present ones: QUEUED again under a new
        publication and in their isolation, or FAILED with `error` and a dead letter when a charged one was the last. A
        suspect, one with an isolation, is charged in any case once MOST_SPARED attempts were not.
        The tickets are due at once, so the next sweep publishes. Returns how many attempts it ended.
        """
        ...
