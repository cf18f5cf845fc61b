"""The message log in memory, for tests: the guarantees of the real one without its process.

`MemoryLog` is the broker; `publisher()` and `consumer(lanes)` are its clients. A lane has one active consumer at a
time, chosen as a Failover subscription does, and what that one has not acknowledged goes to the next.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field

from scheduler.errors import LogUnavailable
from scheduler.lanes import Lane
from scheduler.ports.log import Delivery, Kept


@dataclass(frozen=True, slots=True)
class Message:
    """What was published, and its place in the lane."""

    number: int
    payload: bytes
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SetAside:
    """A payload that nobody could read."""

    lane: Lane
    payload: bytes
    fault: str


@dataclass(slots=True)
class _Partition:
    """One lane: what waits, and what was delivered and is not acknowledged."""

    kept: list[Message] = field(default_factory=list)
    """Everything that was ever published."""
    waiting: deque[Message] = field(default_factory=deque)
    unacknowledged: dict[int, Message] = field(default_factory=dict)
    active: "MemoryConsumer | None" = None
    arrival: asyncio.Event = field(default_factory=asyncio.Event)

    def hand_to(self, consumer: "MemoryConsumer | None") -> None:
        """Make another consumer the active one: everything unacknowledged is delivered again, in order."""
        if consumer is not self.active:
            self.active = consumer
            again = sorted(self.unacknowledged.values(), key=lambda message: message.number)
            self.unacknowledged.clear()
            self.waiting.extendleft(reversed(again))
        # Whoever waits looks again: it may have become the active one.
        self.arrival.set()


class MemoryLog:
    """The broker. `available = False` makes every publish fail, as a broker that is away does."""

    def __init__(self) -> None:
        self.available = True
        self.set_aside: list[SetAside] = []
        self.parked: dict[str, list[bytes]] = {}
        self.journal: list[bytes] = []
        self._partitions: dict[Lane, _Partition] = {}
        self._consumers: list[MemoryConsumer] = []
        self._acknowledged = asyncio.Event()

    def publisher(self) -> "MemoryPublisher":
        """Connect a publisher."""
        return MemoryPublisher(self)

    def consumer(self, lanes: Sequence[Lane]) -> "MemoryConsumer":
        """Connect a consumer of these lanes; the lanes are divided anew between all consumers."""
        consumer = MemoryConsumer(self, lanes)
        self._consumers.append(consumer)
        self._divide()
        return consumer

    def reader(self) -> "MemoryReader":
        """Connect a reader."""
        return MemoryReader(self)

    def unacknowledged(self, lane: Lane) -> int:
        """Count what the lane still keeps, delivered or not."""
        partition = self.partition(lane)
        return len(partition.waiting) + len(partition.unacknowledged)

    async def emptied(self, lanes: Sequence[Lane]) -> None:
        """Return when nothing is kept on any of these lanes: everything published is acknowledged."""
        while any(self.unacknowledged(lane) for lane in lanes):
            self._acknowledged.clear()
            await self._acknowledged.wait()

    def acknowledge(self, delivery: Delivery) -> None:
        """Forget a delivered message."""
        if isinstance(delivery.token, int):
            self.partition(delivery.lane).unacknowledged.pop(delivery.token, None)
        self._acknowledged.set()

    def partition(self, lane: Lane) -> _Partition:
        """Return a lane's messages."""
        if lane not in self._partitions:
            self._partitions[lane] = _Partition()
            self._divide()
        return self._partitions[lane]

    def disconnect(self, consumer: "MemoryConsumer") -> None:
        """Let go of a consumer: others get its lanes and what it has not acknowledged."""
        self._consumers.remove(consumer)
        self._divide()

    def _divide(self) -> None:
        for lane, partition in self._partitions.items():
            takers = [consumer for consumer in self._consumers if lane in consumer.lanes]
            partition.hand_to(takers[lane.index % len(takers)] if takers else None)


class MemoryPublisher:
    """A LogPublisher on a MemoryLog."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._closed = False

    async def publish(self, lane: Lane, payload: bytes, properties: Mapping[str, str]) -> None:
        """See LogPublisher."""
        self._check()
        partition = self._log.partition(lane)
        message = Message(len(partition.kept) + 1, payload, dict(properties))
        partition.kept.append(message)
        partition.waiting.append(message)
        partition.arrival.set()

    async def set_aside(self, lane: Lane, payload: bytes, fault: str) -> None:
        """See LogPublisher."""
        self._check()
        self._log.set_aside.append(SetAside(lane, payload, fault))

    async def park(self, pool: str, payload: bytes) -> None:
        """See LogPublisher."""
        self._check()
        self._log.parked.setdefault(pool, []).append(payload)

    async def journal(self, payload: bytes) -> None:
        """See LogPublisher."""
        self._check()
        self._log.journal.append(payload)

    async def close(self) -> None:
        """See LogPublisher."""
        self._closed = True

    def _check(self) -> None:
        if self._closed:
            raise LogUnavailable("the log's publisher is closed")
        if not self._log.available:
            raise LogUnavailable("the log is away")


class MemoryConsumer:
    """A LogConsumer on a MemoryLog."""

    def __init__(self, log: MemoryLog, lanes: Sequence[Lane]) -> None:
        self.lanes = frozenset(lanes)
        self._log = log
        self._closed = False

    async def open(self) -> None:
        """Do what the real consumer does when it subscribes: nothing is left to do here."""

    async def receive(self, lane: Lane) -> Delivery:
        """See LogConsumer."""
        partition = self._log.partition(lane)
        while partition.active is not self or not partition.waiting:
            partition.arrival.clear()
            await partition.arrival.wait()
        message = partition.waiting.popleft()
        partition.unacknowledged[message.number] = message
        return Delivery(lane, message.payload, message.properties, token=message.number)

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """See LogConsumer."""
        for delivery in deliveries:
            if not self._closed and self._log.partition(delivery.lane).active is self:
                self._log.acknowledge(delivery)

    async def close(self) -> None:
        """See LogConsumer. A `receive` that waits goes on waiting: its caller cancels it."""
        if not self._closed:
            self._closed = True
            self._log.disconnect(self)


class MemoryReader:
    """A LogReader on a MemoryLog."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def lane(self, lane: Lane) -> AsyncGenerator[Kept, None]:
        """See LogReader."""
        self._check()
        for message in tuple(self._log.partition(lane).kept):
            yield Kept(message.payload, message.properties)

    async def parked(self, pool: str) -> AsyncGenerator[Kept, None]:
        """See LogReader."""
        self._check()
        for payload in tuple(self._log.parked.get(pool, ())):
            yield Kept(payload, {})

    async def journal(self) -> AsyncGenerator[Kept, None]:
        """See LogReader."""
        self._check()
        for payload in tuple(self._log.journal):
            yield Kept(payload, {})

    async def close(self) -> None:
        """See LogReader."""

    def _check(self) -> None:
        if not self._log.available:
            raise LogUnavailable("the log is away")
