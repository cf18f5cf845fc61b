"""The scheduler's composition root: ports meet adapters here and nowhere else in this process."""

import random
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from forebay.dispatch.v1.dispatch_service_pb2_grpc import add_DispatchServiceServicer_to_server
from observability import names, tracing
from observability.metrics import SchedulerMetrics, new_registry, serve_metrics
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.pulsar import PulsarConsumer, PulsarPublisher
from scheduler.adapters.pulsar.topics import ensure_topics
from scheduler.adapters.redis import (
    RedisAdmission,
    RedisAnswers,
    RedisDeadLetters,
    RedisEvents,
    RedisFollowUps,
    RedisLeases,
    RedisMembership,
    RedisPauses,
    RedisPolicies,
    RedisQueries,
    RedisSchedules,
    RedisShelves,
    RedisStoreTime,
    RedisSweeps,
    RedisWalk,
    connect,
)
from scheduler.errors import RunnerLost
from scheduler.lanes import queue_lanes
from scheduler.policies.policy import DEFAULT_POLICY, Policy
from scheduler.service.caching import TaskCacheSettings, open_answers
from scheduler.service.scheduler import Ports, Scheduler
from scheduler.service.settings import SchedulerSettings
from scheduler.states import Level
from services.connections import (
    BrokerSettings,
    QueueSettings,
    RedisSettings,
    RetentionSettings,
    TelemetrySettings,
)
from services.lifecycle import Service, grpc_server
from services.log_waiting import until_log_answers
from services.status import to_status

SERVICE_NAME = "forebay.dispatch.v1.DispatchService"
_NO_CACHE: Final = TaskCacheSettings()


@asynccontextmanager
async def build(
    settings: SchedulerSettings,
    *,
    redis: RedisSettings,
    broker: BrokerSettings,
    queues: QueueSettings,
    retention: RetentionSettings,
    telemetry: TelemetrySettings,
    policy: Policy = DEFAULT_POLICY,
    cache: TaskCacheSettings = _NO_CACHE,
) -> AsyncIterator[str]:
    """Run a scheduler while the context is open; yields the address of its gRPC server.

    Leaving it refuses new runners, lets running tasks end within the grace period, acknowledges what is settled,
    and closes everything in reverse order. Waits for a broker that is away. Raises StartupRefused, RecordsUnavailable,
    or LogUnavailable when the broker does not open the lanes.
    """
    cache.check(redis.url)
    kept = retention.limits()
    registry = new_registry()
    member = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        endpoint = telemetry.otlp_endpoint
        stack.callback(
            tracing.configure(names.SERVICE_SCHEDULER, endpoint, sample_ratio=telemetry.sample_ratio)
        )
        store = connect(redis.url, timeout_s=redis.timeout_s)
        stack.push_async_callback(store.aclose)
        if broker.admin_url:
            await until_log_answers(
                partial(ensure_topics, broker.admin_url, broker.namespace, queues.every(), queues.lanes),
                clock,
            )
        publisher = PulsarPublisher(broker.url, broker.namespace, timeout_s=broker.send_timeout_s)
        stack.push_async_callback(publisher.close)
        lanes = [
            lane
            for pool in queues.pools
            for level in Level
            for lane in queue_lanes(pool, level, queues.lanes)
        ]
        consumer = PulsarConsumer(broker.url, broker.namespace, lanes, broker.subscription, name=member)
        stack.push_async_callback(consumer.close)
        await consumer.open()
        metrics_address = ""
        if settings.metrics_listen:
            metrics_address = await stack.enter_async_context(
                serve_metrics(registry, settings.metrics_listen)
            )
        answers = None
        if cache.enabled:
            answers = await stack.enter_async_context(open_answers(cache, clock, random.Random()))
        scheduler = Scheduler(
            member,
            Ports(
                consumer=consumer,
                publisher=publisher,
                admissions=RedisAdmission(store, kept),
                leases=RedisLeases(store, kept),
                answers=RedisAnswers(store, kept),
                queries=RedisQueries(store, kept),
                sweeps=RedisSweeps(store, kept),
                follow_ups=RedisFollowUps(store, kept),
                dead_letters=RedisDeadLetters(store, kept),
                schedules=RedisSchedules(store),
                pauses=RedisPauses(store),
                policies=RedisPolicies(store),
                shelves=RedisShelves(store),
                walk=RedisWalk(store),
                events=RedisEvents(store),
                membership=RedisMembership(store),
                time=RedisStoreTime(store),
                clock=clock,
            ),
            settings,
            queues.pools,
            policy,
            queues.lanes,
            to_status(
                RunnerLost("every attempt ended with the death of its runner or the loss of its lease")
            ).SerializeToString(),
            SchedulerMetrics(registry),
            random.Random(),
            answers,
        )
        service = Service(
            SERVICE_NAME, lambda server: add_DispatchServiceServicer_to_server(scheduler.servicer, server)
        )
        server = await stack.enter_async_context(grpc_server(settings.listen, [service], grace_s=1.0))
        async with scheduler.running(
            settings.advertise or server.address, server.set_serving, metrics_address
        ):
            yield server.address
