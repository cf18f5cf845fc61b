"""Entry point: `python -m services.gateway`."""

import asyncio
import os
import sys

from services.grpc_core import read_on_the_polling_thread


async def serve(stop: asyncio.Event) -> None:
    """Read the settings, serve until `stop`, drain."""
    from observability import logs
    from services import settings
    from services.collecting import collect_seldom
    from services.connections import (
        BrokerSettings,
        QueueSettings,
        RedisSettings,
        RetentionSettings,
        TelemetrySettings,
    )
    from services.gateway.app import build
    from services.gateway.caching import CacheSettings
    from services.gateway.settings import GatewaySettings
    from services.policy_settings import PolicySettings

    environ = os.environ
    queues = settings.load(QueueSettings, section="queues", file=None, environ=environ)
    policy = settings.load(PolicySettings, section="policy", file=None, environ=environ)
    telemetry = settings.load(TelemetrySettings, section="telemetry", file=None, environ=environ)
    logs.configure("gateway", level=telemetry.log_level)
    async with build(
        settings.load(GatewaySettings, section="gateway", file=None, environ=environ),
        redis=settings.load(RedisSettings, section="redis", file=None, environ=environ),
        broker=settings.load(BrokerSettings, section="broker", file=None, environ=environ),
        queues=queues,
        retention=settings.load(RetentionSettings, section="retention", file=None, environ=environ),
        telemetry=telemetry,
        policy=policy.to_policy(queues.weights),
        cache=settings.load(CacheSettings, section="cache", file=None, environ=environ),
    ):
        collect_seldom()
        await stop.wait()


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    read_on_the_polling_thread()
    from services.lifecycle import run_service

    return run_service("gateway", serve)


if __name__ == "__main__":
    sys.exit(main())
