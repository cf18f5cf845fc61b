"""Entry point: `python -m scheduler.service`."""

import asyncio
import os
import sys

from observability import logs
from scheduler.service.app import build
from scheduler.service.caching import TaskCacheSettings
from scheduler.service.settings import SchedulerSettings
from services import settings
from services.collecting import collect_seldom
from services.connections import (
    BrokerSettings,
    QueueSettings,
    RedisSettings,
    RetentionSettings,
    TelemetrySettings,
)
from services.lifecycle import run_service
from services.policy_settings import PolicySettings


async def main(stop: asyncio.Event) -> None:
    """Read the settings, serve until `stop`, drain."""
    environ = os.environ
    telemetry = settings.load(TelemetrySettings, section="telemetry", file=None, environ=environ)
    logs.configure("scheduler", level=telemetry.log_level)
    queues = settings.load(QueueSettings, section="queues", file=None, environ=environ)
    policy = settings.load(PolicySettings, section="policy", file=None, environ=environ)
    async with build(
        settings.load(SchedulerSettings, section="scheduler", file=None, environ=environ),
        redis=settings.load(RedisSettings, section="redis", file=None, environ=environ),
        broker=settings.load(BrokerSettings, section="broker", file=None, environ=environ),
        queues=queues,
        retention=settings.load(RetentionSettings, section="retention", file=None, environ=environ),
        telemetry=telemetry,
        policy=policy.to_policy(queues.weights),
        cache=settings.load(TaskCacheSettings, section="cache", file=None, environ=environ),
    ):
        collect_seldom()
        await stop.wait()


if __name__ == "__main__":
    sys.exit(run_service("scheduler", main))
