"""The gateway's composition root: ports meet adapters here and nowhere else in this process."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry

from observability import names, tracing
from observability.metrics import GatewayMetrics, new_registry
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.pulsar import PulsarPublisher, ensure_topics
from scheduler.adapters.redis import (
    RedisAdmission,
    RedisDeadLetters,
    RedisEvents,
    RedisFollowUps,
    RedisMembership,
    RedisPauses,
    RedisQueries,
    RedisSchedules,
    RedisStoreTime,
    connect,
)
from scheduler.errors import LogUnavailable
from scheduler.lanes import Lane, tenant_lanes
from scheduler.states import Level
from services.connections import (
    BrokerSettings,
    QueueSettings,
    RedisSettings,
    RetentionSettings,
    TelemetrySettings,
)
from services.gateway.assembly import Parts, Ports, grpc_services
from services.gateway.event_hub import event_hub
from services.gateway.fleet_metrics import FleetMetrics
from services.gateway.http import application, http_server
from services.gateway.limits import InFlight
from services.gateway.publisher import bundle_publisher
from services.gateway.settings import GatewaySettings
from services.gateway.tickets import ticket_marker
from services.lifecycle import RunningServer, grpc_server

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that takes calls."""

    grpc: RunningServer
    http_address: str
    """host:port with the real port."""


@asynccontextmanager
async def build(
    settings: GatewaySettings,
    *,
    redis: RedisSettings,
    broker: BrokerSettings,
    queues: QueueSettings,
    retention: RetentionSettings,
    telemetry: TelemetrySettings,
) -> AsyncIterator[Gateway]:
    """Run a gateway on real servers while the block lasts.

    Raises StartupRefused when it cannot start, LogUnavailable when the broker's admin API does not answer.
    """
    settings.check()
    limits = retention.limits()
    async with AsyncExitStack() as stack:
        stack.callback(
            tracing.configure(
                names.SERVICE_GATEWAY, telemetry.otlp_endpoint, sample_ratio=telemetry.sample_ratio
            )
        )
        store = connect(redis.url, timeout_s=redis.timeout_s)
        stack.push_async_callback(store.aclose)
        stack.callback(_LOG.info, "closing records")
        if broker.admin_url:
            topics = [(pool, level) for pool in queues.pools for level in Level]
            await ensure_topics(broker.admin_url, broker.namespace, topics, queues.lanes)
        log = PulsarPublisher(broker.url, broker.namespace, timeout_s=broker.send_timeout_s)
        stack.push_async_callback(log.close)
        stack.callback(_LOG.info, "closing log")
        await _open_producers(log, settings, queues)
        ports = Ports(
            admissions=RedisAdmission(store, limits),
            queries=RedisQueries(store, limits),
            follow_ups=RedisFollowUps(store, limits),
            dead_letters=RedisDeadLetters(store, limits),
            schedules=RedisSchedules(store),
            pauses=RedisPauses(store),
            events=RedisEvents(store),
            membership=RedisMembership(store),
            log=log,
            time=RedisStoreTime(store),
            clock=SystemClock(),
        )
        gateway = await stack.enter_async_context(serve(settings, queues, ports, new_registry()))
        yield gateway


@asynccontextmanager
async def serve(
    settings: GatewaySettings, queues: QueueSettings, ports: Ports, registry: CollectorRegistry
) -> AsyncIterator[Gateway]:
    """Run a gateway on these ports while the block lasts.

    Leaving it says NOT_SERVING, ends watches, lets calls in flight end within the grace period, and waits for what
    is on its way to the log. Raises StartupRefused when an address cannot be had, or a secret is needed.
    """
    settings.check()
    metrics = GatewayMetrics(registry)
    limits = InFlight(settings.max_calls_in_flight, settings.max_bytes_in_flight)
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(
            bundle_publisher(ports.log, lambda tasks: metrics.batch(names.HOP_PUBLISH, tasks))
        )
        stack.callback(_LOG.info, "waiting for what is on its way to the log")
        marker = await stack.enter_async_context(ticket_marker(ports.admissions, ports.clock))
        hub = await stack.enter_async_context(event_hub(ports.events, ports.queries, ports.clock))
        services = grpc_services(settings, queues, ports, Parts(publisher, marker, hub, limits, metrics))
        server = await stack.enter_async_context(
            grpc_server(
                settings.listen,
                services,
                grace_s=settings.grace_s,
                default_deadline_s=settings.default_deadline_s,
                observe=metrics.call,
            )
        )
        fleet = FleetMetrics(ports.queries, ports.membership, metrics)
        app = application(registry, lambda: server.serving, fleet)
        http_address = await stack.enter_async_context(http_server(settings.http_listen, app, grace_s=1.0))
        stack.callback(_LOG.info, "stopping http")
        # First of all on the way out, and in this order: it would otherwise wait for watches that never end.
        stack.callback(hub.close)
        stack.callback(limits.close)
        stack.callback(server.set_serving, False)
        server.set_serving(True)
        _LOG.info("gateway serves", extra={"grpc": server.address, "http": http_address})
        yield Gateway(server, http_address)


async def _open_producers(log: PulsarPublisher, settings: GatewaySettings, queues: QueueSettings) -> None:
    """Open what the tenant's tasks will need. A broker that is away is no reason not to start: reading works."""
    lanes = [
        Lane(pool, level, index)
        for pool in queues.pools
        for level in Level
        for index in tenant_lanes(settings.tenant, queues.lanes)
    ]
    try:
        await log.open(lanes)
    except LogUnavailable as error:
        _LOG.warning("producers not open yet", extra={"reason": error.reason})
