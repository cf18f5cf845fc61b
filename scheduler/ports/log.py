"""The message log: lanes of opaque bundles, at least once.

Delivery guarantees an adapter gives: a payload whose `publish` returned is delivered to the lane's consumer until
it is acknowledged, across the death of either side; it may be delivered more than once; order within a lane is
kept between first deliveries only. Who consumes a lane is the log's decision (a Failover subscription).
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from scheduler.lanes import Lane


@dataclass(slots=True, eq=False)
class Delivery:
    """One message as it was delivered; `token` is the adapter's own handle for the acknowledgement."""

    lane: Lane
    payload: bytes
    properties: Mapping[str, str]
    token: object
    publish_time_ms: int = 0
    """When it was put on the log, milliseconds since the Unix epoch by its publisher's clock: the same at every
    delivery. 0 when not known."""


class LogPublisher(Protocol):
    """Puts bundles on lanes. Owned by the process that made it."""

    async def publish(self, lane: Lane, payload: bytes, properties: Mapping[str, str]) -> None:
        """Return once the log has acknowledged the payload.

        Raises LogUnavailable when it did not within the publisher's deadline: the outcome is unknown then, and
        publishing the same again must be harmless. Cancelling it leaves the outcome unknown too.
        """
        ...

    async def set_aside(self, lane: Lane, payload: bytes, fault: str) -> None:
        """Keep a payload that cannot be read, with the reason, on the pool's `unreadable.<pool>` topic. Raises as
        `publish` does.
        """
        ...

    async def park(self, pool: str, payload: bytes) -> None:
        """Keep a bundle of tasks that wait for something on the pool's `parked.<pool>` topic: nobody consumes it,
        recovery reads it. Raises as `publish` does.
        """
        ...

    async def journal(self, payload: bytes) -> None:
        """Keep a serialised `Endings` on the topic `results`, for recovery. Raises as `publish` does."""
        ...

    async def close(self) -> None:
        """Settle what is in flight and let go of the connection. Idempotent."""
        ...


class LogConsumer(Protocol):
    """Receives the lanes that the log gives to this process, each through a bounded buffer."""

    async def receive(self, lane: Lane) -> Delivery:
        """Return the lane's next delivery; waits for ever. Cancelling it loses nothing."""
        ...

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the log that nothing needs these any more. A failure is harmless: they come again."""
        ...

    async def close(self) -> None:
        """Stop receiving; what is not acknowledged goes to the next consumer. Idempotent."""
        ...


class Kept(NamedTuple):
    """One message that a topic still keeps, acknowledged or not."""

    payload: bytes
    properties: Mapping[str, str]


class LogReader(Protocol):
    """Reads what topics still keep, from the earliest message to the end that it meets; for recovery.

    At least once, in bounded memory, without any effect on who consumes the lanes. Iterating raises LogUnavailable
    when the log does not answer within the reader's deadline; a reading may be left at any time with `aclose`.
    """

    def lane(self, lane: Lane) -> AsyncGenerator[Kept, None]:
        """Read a lane."""
        ...

    def parked(self, pool: str) -> AsyncGenerator[Kept, None]:
        """Read the bundles of a pool that were parked."""
        ...

    def journal(self) -> AsyncGenerator[Kept, None]:
        """Read the serialised `Endings` that were journaled."""
        ...

    async def close(self) -> None:
        """Let go of the connection. Idempotent."""
        ...
