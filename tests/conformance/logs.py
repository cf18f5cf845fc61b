"""The logs that the suite runs against, behind one face. Each test gets a pool that nobody else uses."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

import pulsar
import pulsar.asyncio

from scheduler.adapters.memory.log import MemoryLog
from scheduler.adapters.pulsar import (
    PulsarConsumer,
    PulsarPublisher,
    PulsarReader,
    ensure_topics,
    unreadable_topic,
)
from scheduler.adapters.pulsar.client import close_client, open_client
from scheduler.lanes import Lane, queue_lanes
from scheduler.ports.log import LogConsumer, LogPublisher, LogReader
from scheduler.states import Level
from tests.fixtures.pulsar import ApachePulsar, PulsarLite

NAMESPACE = "public/default"
LANES = 8


def new_pool() -> str:
    """Name a pool that no other test uses."""
    return f"pool-{uuid4().hex[:8]}"


class Log(Protocol):
    """A log under test. What it opens it closes at the end of the test."""

    lanes: list[Lane]

    async def publisher(self) -> LogPublisher: ...

    async def consumer(self, lanes: Sequence[Lane] | None = None) -> LogConsumer: ...

    async def reader(self) -> LogReader: ...

    async def first_set_aside(self) -> tuple[bytes, str]:
        """Return the payload and the fault of what was set aside first."""
        ...


@dataclass
class InMemory:
    lanes: list[Lane] = field(default_factory=lambda: queue_lanes(new_pool(), Level.NORMAL, LANES))
    log: MemoryLog = field(default_factory=MemoryLog)

    async def publisher(self) -> LogPublisher:
        return self.log.publisher()

    async def consumer(self, lanes: Sequence[Lane] | None = None) -> LogConsumer:
        return self.log.consumer(self.lanes if lanes is None else lanes)

    async def reader(self) -> LogReader:
        return self.log.reader()

    async def first_set_aside(self) -> tuple[bytes, str]:
        first = self.log.set_aside[0]
        return first.payload, first.fault


@dataclass
class OnPulsar:
    url: str
    subscription_type: str
    stack: AsyncExitStack
    lanes: list[Lane] = field(default_factory=lambda: queue_lanes(new_pool(), Level.NORMAL, LANES))

    async def publisher(self) -> LogPublisher:
        publisher = PulsarPublisher(self.url, NAMESPACE)
        self.stack.push_async_callback(publisher.close)
        return publisher

    async def consumer(self, lanes: Sequence[Lane] | None = None) -> LogConsumer:
        consumer = PulsarConsumer(
            self.url, NAMESPACE, self.lanes if lanes is None else lanes, self.subscription_type
        )
        self.stack.push_async_callback(consumer.close)
        await consumer.open()
        return consumer

    async def reader(self) -> LogReader:
        reader = PulsarReader(self.url, NAMESPACE, readers=self.subscription_type == "failover")
        self.stack.push_async_callback(reader.close)
        return reader

    async def first_set_aside(self) -> tuple[bytes, str]:
        client = open_client(self.url, timeout_s=10)
        self.stack.push_async_callback(close_client, client)
        consumer = await client.subscribe(
            unreadable_topic(NAMESPACE, self.lanes[0].pool),
            "test",
            initial_position=pulsar.InitialPosition.Earliest,
        )
        message = await consumer.receive()
        return message.data(), message.properties()["fault"]


async def connect(broker: PulsarLite | ApachePulsar | None, stack: AsyncExitStack) -> Log:
    """Return a log on that broker, or in memory when there is none."""
    if broker is None:
        return InMemory()
    if isinstance(broker, PulsarLite):
        return OnPulsar(broker.url, "shared", stack)
    log = OnPulsar(broker.url, "failover", stack)
    await ensure_topics(broker.admin_url, NAMESPACE, [(log.lanes[0].pool, Level.NORMAL)], LANES)
    return log


async def payloads(consumer: LogConsumer, lane: Lane, count: int) -> list[bytes]:
    """Receive and acknowledge that many."""
    received = []
    for _ in range(count):
        delivery = await consumer.receive(lane)
        received.append(delivery.payload)
        await consumer.acknowledge([delivery])
    return received
