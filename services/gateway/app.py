"""The gateway's composition root: ports meet adapters here and nowhere else in this process."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from random import Random
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
    RedisKeys,
    RedisLines,
    RedisMembership,
    RedisPauses,
    RedisPolicies,
    RedisQueries,
    RedisSchedules,
    RedisStoreTime,
    RedisWantedModels,
    connect,
)
from scheduler.lanes import Lane, tenant_lanes
from scheduler.policies.policy import DEFAULT_POLICY, Policy
from scheduler.states import Level
from services.connections import (
    BrokerSettings,
    QueueSettings,
    RedisSettings,
    RetentionSettings,
    TelemetrySettings,
)
from services.gateway.assembly import END_THEMSELVES, Parts, Ports, doors
from services.gateway.cache_service import use_cases
from services.gateway.caching import CacheSettings, UncachedCalls, cached_calls, open_cache
from services.gateway.caching.tasks import CachedTasks
from services.gateway.caching.worth import worth_known
from services.gateway.caller import Caller, authorization, by_key, single_tenant
from services.gateway.direct import Calls, DirectBounds, direct_way
from services.gateway.drafting import Drafter
from services.gateway.event_hub import event_hub
from services.gateway.expected_work import ExpectedWork
from services.gateway.fingerprint import Fingerprints
from services.gateway.fleet_metrics import FleetMetrics
from services.gateway.http import application, http_server
from services.gateway.key_file import key_file_followed
from services.gateway.lanes import LaneChooser, lanes_counted
from services.gateway.limits import InFlight
from services.gateway.log_opening import log_opening
from services.gateway.publisher import bundle_publisher
from services.gateway.quotas import Quotas, quotas_kept
from services.gateway.settings import GatewaySettings
from services.gateway.task_looks import TaskCache, UncachedTasks
from services.gateway.tickets import ticket_marker
from services.lifecycle import RunningServer, grpc_server
from services.policy_following import PolicyFollower

_POLICY_S: Final = 2.0
"""Longest wait for the stored policy at the start."""
_HTTP_GRACE_S: Final = 3.0
"""Longest that calls over HTTP may go on after a request to stop. Those over gRPC have theirs after that, and who asked
insists four seconds after it should be over.
"""

_NO_CACHE: Final = CacheSettings()

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
    policy: Policy = DEFAULT_POLICY,
    cache: CacheSettings = _NO_CACHE,
) -> AsyncIterator[Gateway]:
    """Run a gateway on real servers while the block lasts.

    A log that is away only makes submits fail. Raises StartupRefused, also in an ExceptionGroup, when it cannot start.
    """
    settings.check()
    cache.check(redis.url)
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
        made = asyncio.Event()
        log = PulsarPublisher(broker.url, broker.namespace, timeout_s=broker.send_timeout_s, topics_made=made)
        stack.push_async_callback(log.close)
        stack.callback(_LOG.info, "closing log")
        clock = SystemClock()
        await stack.enter_async_context(
            log_opening(
                partial(_make_topics, broker, queues, made),
                partial(log.open, _first_lanes(settings, queues)),
                clock,
            )
        )
        ports = Ports(
            admissions=RedisAdmission(store, limits),
            queries=RedisQueries(store, limits),
            follow_ups=RedisFollowUps(store, limits),
            dead_letters=RedisDeadLetters(store, limits),
            schedules=RedisSchedules(store),
            pauses=RedisPauses(store),
            policies=RedisPolicies(store),
            wanted_models=RedisWantedModels(store),
            lines=RedisLines(store),
            keys=RedisKeys(store),
            events=RedisEvents(store),
            membership=RedisMembership(store),
            log=log,
            time=RedisStoreTime(store),
            clock=clock,
        )
        gateway = await stack.enter_async_context(
            serve(settings, queues, ports, new_registry(), policy, cache)
        )
        yield gateway


@asynccontextmanager
async def serve(
    settings: GatewaySettings,
    queues: QueueSettings,
    ports: Ports,
    registry: CollectorRegistry,
    policy: Policy = DEFAULT_POLICY,
    cache: CacheSettings = _NO_CACHE,
) -> AsyncIterator[Gateway]:
    """Run a gateway on these ports while the block lasts. `policy` is the one that the platform is started with.

    Leaving it says NOT_SERVING, ends watches, lets calls in flight end within the grace period, and waits for what
    is on its way to the log. Raises StartupRefused when an address cannot be had, or a secret is needed.
    """
    settings.check()
    if settings.open_to_strangers:
        _LOG.warning(
            "nobody is asked for a key",
            extra={"listen": settings.listen, "http_listen": settings.http_listen},
        )
    metrics = GatewayMetrics(registry)
    limits = InFlight(settings.max_calls_in_flight, settings.max_bytes_in_flight)
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(
            bundle_publisher(ports.log, lambda tasks: metrics.batch(names.HOP_PUBLISH, tasks))
        )
        stack.callback(_LOG.info, "waiting for what is on its way to the log")
        marker = await stack.enter_async_context(ticket_marker(ports.admissions, ports.clock))
        hub = await stack.enter_async_context(event_hub(ports.events, ports.queries, ports.clock))
        expected = ExpectedWork(ports.membership)
        quotas = Quotas(ports.lines, ports.keys, ports.clock, expected)
        quotas.follow(policy)
        await stack.enter_async_context(quotas_kept(quotas))
        drafter = Drafter(queues.pools, Fingerprints(settings.secret.encode()))
        drafter.cost_label = policy.cost_label

        bounds = DirectBounds(settings.max_direct_calls, settings.max_direct_bytes, settings.direct_timeout_s)
        direct = await stack.enter_async_context(
            direct_way(
                *(ports.membership, ports.clock, quotas, metrics, policy, bounds),
                chance=Random(),
                zone=settings.zone,
            )
        )

        calls: Calls = UncachedCalls(direct.calls)
        tasks: TaskCache = UncachedTasks()
        operated = None
        if cache.enabled:
            opened = await stack.enter_async_context(
                open_cache(cache, settings.secret, ports.clock, Random())
            )
            kept = opened.cache
            metrics.cache.suffers(opened.troubles)
            calls = await stack.enter_async_context(
                cached_calls(direct.calls, kept, metrics, settings.direct_timeout_s)
            )
            worth = await stack.enter_async_context(
                worth_known(expected, ports.clock, cache.least_task_work_ms)
            )
            budget = cache.budget(ports.clock)
            tasks = CachedTasks(direct.calls, kept, worth, budget, metrics.cache)
            operated = use_cases(calls, kept, opened.control, queues.pools)

        def follow(followed: Policy, version: int) -> None:
            quotas.follow(followed)
            direct.follow(followed)
            drafter.cost_label = followed.cost_label

        follower = PolicyFollower(ports.policies, policy, follow, ports.clock)
        await stack.enter_async_context(_policy_followed(follower))
        caller_of = single_tenant(settings.tenant)
        if settings.api_keys_file is not None:
            digest = settings.starter_key_sha256
            starter = {digest: Caller(settings.tenant, operator=True)} if digest else {}
            heard = operated.tenants_are if operated is not None else None
            keys = key_file_followed(settings.api_keys_file, ports.clock, starter, heard)
            caller_of = by_key(await stack.enter_async_context(keys))
        lanes = await stack.enter_async_context(
            lanes_counted(LaneChooser(queues.lanes, ports.clock), ports.lines, ports.clock)
        )
        parts = Parts(
            *(publisher, marker, hub, limits, metrics, quotas, drafter, lanes, follower, caller_of),
            direct=direct.calls,
            calls=calls,
            tasks=tasks,
            cache=operated,
        )
        served = doors(settings, queues, ports, parts)
        server = await stack.enter_async_context(
            grpc_server(
                settings.listen,
                served.grpc,
                grace_s=settings.grace_s,
                default_deadline_s=settings.default_deadline_s,
                end_themselves=END_THEMSELVES,
                observe=metrics.call,
                authorize=authorization(caller_of),
            )
        )
        fleet = FleetMetrics(ports.lines, ports.membership, metrics)
        app = application(registry, lambda: server.serving, fleet, served.http)
        http_address = await stack.enter_async_context(
            http_server(settings.http_listen, app, grace_s=min(settings.grace_s, _HTTP_GRACE_S))
        )
        stack.callback(_LOG.info, "stopping http")
        # First of all on the way out, and in this order: it would otherwise wait for watches that never end.
        stack.callback(hub.close)
        stack.callback(limits.close)
        stack.callback(direct.calls.refuse)
        stack.callback(server.set_serving, False)
        server.set_serving(True)
        _LOG.info("gateway serves", extra={"grpc": server.address, "http": http_address})
        yield Gateway(server, http_address)


@asynccontextmanager
async def _policy_followed(follower: PolicyFollower) -> AsyncIterator[None]:
    """Follow the stored policy while the block lasts, and begin with it, unless the store does not answer in time."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(follower.run())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLICY_S):
                    await follower.known.wait()
            yield
        finally:
            running.cancel()


async def _make_topics(broker: BrokerSettings, queues: QueueSettings, made: asyncio.Event) -> None:
    """Make the topics where they must be made, and say that they are there. Raises as `ensure_topics` does."""
    if broker.admin_url:
        await ensure_topics(broker.admin_url, broker.namespace, queues.every(), queues.lanes)
    made.set()


def _first_lanes(settings: GatewaySettings, queues: QueueSettings) -> list[Lane]:
    """Return the lanes that the tenant's tasks will need."""
    return [
        Lane(pool, level, index)
        for pool in queues.pools
        for level in Level
        for index in tenant_lanes(settings.tenant, queues.lanes)
    ]
