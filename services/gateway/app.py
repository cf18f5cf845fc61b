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
from scheduler.adapters.redis import RedisAdmission, RedisEvents, RedisMembership, RedisQueries, connect
from scheduler.errors import LogUnavailable
from scheduler.lanes import Lane, tenant_lanes
from scheduler.ports.clock import Clock
from scheduler.ports.events import EventFeed
from scheduler.ports.log import LogPublisher
from scheduler.ports.membership import Membership
from scheduler.ports.records import AdmissionStore, QueryStore
from scheduler.states import Level
from services.connections import BrokerSettings, QueueSettings, RedisSettings, TelemetrySettings
from services.gateway.caller import single_tenant
from services.gateway.cancel import CancelTasks
from services.gateway.drafting import Drafter
from services.gateway.event_hub import event_hub
from services.gateway.fingerprint import Fingerprints
from services.gateway.fleet_metrics import FleetMetrics
from services.gateway.http import application, http_server
from services.gateway.lanes import LaneChooser
from services.gateway.limits import InFlight
from services.gateway.listing import ListTasks
from services.gateway.model_service import ModelServicer, model_service
from services.gateway.page_token import PageTokens
from services.gateway.publisher import bundle_publisher
from services.gateway.queue_service import QueueServicer, queue_service
from services.gateway.settings import GatewaySettings
from services.gateway.stream_output import StreamOutput
from services.gateway.submit import Submit
from services.gateway.task_service import TaskServicer, TaskUseCases, task_service
from services.gateway.tickets import ticket_marker
from services.gateway.watch import Watch
from services.lifecycle import RunningServer, grpc_server

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ports:
    """What a gateway works with. It owns none of them."""

    admissions: AdmissionStore
    queries: QueryStore
    events: EventFeed
    membership: Membership
    log: LogPublisher
    clock: Clock


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
    telemetry: TelemetrySettings,
) -> AsyncIterator[Gateway]:
    """Run a gateway on real servers while the block lasts.

    Raises StartupRefused when it cannot start, LogUnavailable when the broker's admin API does not answer.
    """
    settings.check()
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
            admissions=RedisAdmission(store),
            queries=RedisQueries(store),
            events=RedisEvents(store),
            membership=RedisMembership(store),
            log=log,
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
    fingerprints = Fingerprints(settings.secret.encode())
    limits = InFlight(settings.max_calls_in_flight, settings.max_bytes_in_flight)
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(
            bundle_publisher(ports.log, lambda tasks: metrics.batch(names.HOP_PUBLISH, tasks))
        )
        stack.callback(_LOG.info, "waiting for what is on its way to the log")
        marker = await stack.enter_async_context(ticket_marker(ports.admissions, ports.clock))
        hub = await stack.enter_async_context(event_hub(ports.events, ports.queries, ports.clock))
        submit = Submit(
            ports.admissions,
            publisher,
            marker.arrived,
            drafter=Drafter(queues.pools, fingerprints),
            lanes=LaneChooser(queues.lanes, ports.clock),
            limits=limits,
            clock=ports.clock,
            observer=metrics,
        )
        use_cases = TaskUseCases(
            submit=submit,
            store=ports.queries,
            listing=ListTasks(ports.queries, PageTokens(fingerprints)),
            watch=Watch(hub),
            stream_output=StreamOutput(hub, ports.queries),
            cancel=CancelTasks(ports.queries, metrics.finished),
        )
        services = [
            task_service(TaskServicer(use_cases, single_tenant(settings.tenant))),
            queue_service(QueueServicer(ports.queries, ports.membership)),
            model_service(ModelServicer(ports.membership)),
        ]
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
