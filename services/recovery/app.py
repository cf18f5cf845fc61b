"""The composition root of repairs: ports meet adapters here and nowhere else in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from scheduler.adapters.pulsar import PulsarPublisher, PulsarReader, ensure_topics
from scheduler.adapters.redis import RedisAdmission, RedisFollowUps, RedisQueries, RedisWalk, connect
from scheduler.lanes import queue_lanes
from scheduler.states import Level
from services.bundling import Bundler
from services.connections import BrokerSettings, QueueSettings, RedisSettings, RetentionSettings
from services.recovery.examine import examine
from services.recovery.reading import LogContents
from services.recovery.replay import Replay, Replayed
from services.recovery.republish import Republished, republish


@dataclass(frozen=True, slots=True)
class Servers:
    """Where everything is, and how it is laid out."""

    redis: RedisSettings
    broker: BrokerSettings
    queues: QueueSettings
    retention: RetentionSettings


class Repairs:
    """The repairs on real servers."""

    def __init__(
        self, servers: Servers, client: Redis, reader: PulsarReader, publisher: PulsarPublisher
    ) -> None:
        self._lanes = [
            lane
            for pool in servers.queues.pools
            for level in Level
            for lane in queue_lanes(pool, level, servers.queues.lanes)
        ]
        self._limits = servers.retention.limits()
        self._client = client
        self._reader = reader
        self._contents = LogContents(reader, self._lanes)
        self._bundler = Bundler(publisher, servers.queues.lanes)

    async def replay(self, *, dry_run: bool) -> Replayed:
        """Make the records again that are missing; see `Replay.run`."""
        return await Replay(
            self._contents,
            admissions=RedisAdmission(self._client, self._limits),
            queries=RedisQueries(self._client),
            follow_ups=RedisFollowUps(self._client, self._limits),
            bundler=self._bundler,
            dry_run=dry_run,
        ).run()

    async def republish(self, *, dry_run: bool) -> Republished:
        """Put everything that has not ended on the log again; see `republish`."""
        return await republish(RedisWalk(self._client), self._bundler, dry_run=dry_run)

    async def examine(self) -> int:
        """See whether the log delivers what it keeps; see `examine`."""
        return await examine(self._reader, self._lanes)


@asynccontextmanager
async def records(servers: Servers) -> AsyncIterator[Redis]:
    """Open the record store while the block lasts."""
    client = connect(servers.redis.url, timeout_s=servers.redis.timeout_s)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def repairs(servers: Servers) -> AsyncIterator[Repairs]:
    """Open record store and log while the block lasts. Raises LogUnavailable, StartupRefused."""
    broker, queues = servers.broker, servers.queues
    async with records(servers) as client:
        if broker.admin_url:
            await ensure_topics(broker.admin_url, broker.namespace, queues.every(), queues.lanes)
        reader = PulsarReader(
            broker.url,
            broker.namespace,
            # An admin API tells Apache Pulsar from the embedded broker.
            readers=bool(broker.admin_url),
            timeout_s=broker.send_timeout_s,
        )
        publisher = PulsarPublisher(broker.url, broker.namespace, timeout_s=broker.send_timeout_s)
        try:
            yield Repairs(servers, client, reader, publisher)
        finally:
            await publisher.close()
            await reader.close()
