"""Composes a runner from its settings and the real stores."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from inference.loading import load_engine
from inference.runner.runner import Runner, Stores
from inference.runner.settings import RunnerSettings
from inference.settings import EngineSettings
from observability import names, tracing
from observability.metrics import RunnerMetrics, new_registry, serve_metrics
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.redis import RedisLeases, RedisMembership, RedisOutcomes, RedisPolicies, connect
from services.connections import QueueSettings, RedisSettings, RetentionSettings, TelemetrySettings
from services.policy_settings import PolicySettings


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a runner process is told, one class per section."""

    runner: RunnerSettings
    engine: EngineSettings
    redis: RedisSettings
    queues: QueueSettings
    telemetry: TelemetrySettings
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[Runner]:
    """Connect what a runner needs and let go of it afterwards; spans are sent last.

    Raises StartupRefused when a setting cannot be used.
    """
    policy = settings.policy.to_policy(settings.queues.weights)
    retention = settings.retention.limits()
    async with AsyncExitStack() as stack:
        end_tracing = tracing.configure(
            names.SERVICE_RUNNER,
            settings.telemetry.otlp_endpoint or None,
            sample_ratio=settings.telemetry.sample_ratio,
        )
        stack.push_async_callback(asyncio.to_thread, end_tracing)
        client = connect(settings.redis.url, timeout_s=settings.redis.timeout_s)
        stack.push_async_callback(client.aclose)
        registry = new_registry()
        metrics_address = ""
        if settings.runner.metrics_listen:
            metrics_address = await stack.enter_async_context(
                serve_metrics(registry, settings.runner.metrics_listen)
            )
        yield Runner(
            settings.runner,
            Stores(
                RedisLeases(client, retention),
                RedisOutcomes(client, retention),
                RedisMembership(client),
                RedisPolicies(client),
            ),
            SystemClock(),
            policy,
            RunnerMetrics(registry, settings.runner.model),
            lambda report: load_engine(
                settings.runner.path, settings.engine, report, settings.runner.version
            ),
            metrics_address,
            settings.engine.watchdog_s,
        )
