"""`python -m inference.agent`: the agent process of one host. All settings come from the environment."""

import asyncio
import os
import sys
from typing import Final

from services.grpc_core import read_on_the_polling_thread

SERVICE: Final = "agent"


async def serve(stop: asyncio.Event) -> None:
    """Run an agent until `stop`."""
    from inference.agent.app import Settings, build
    from inference.agent.settings import AgentSettings
    from observability import logs
    from services.connections import RedisSettings, RetentionSettings, TelemetrySettings
    from services.settings import load

    telemetry = load(TelemetrySettings, section="telemetry", file=None, environ=os.environ)
    logs.configure(SERVICE, level=telemetry.log_level)
    settings = Settings(
        agent=load(AgentSettings, section="agent", file=None, environ=os.environ),
        redis=load(RedisSettings, section="redis", file=None, environ=os.environ),
        retention=load(RetentionSettings, section="retention", file=None, environ=os.environ),
    )
    async with build(settings, os.environ) as agent:
        await agent.run(stop)


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    # gRPC's handlers around a fork are of no use before an exec, and complain on standard error. It reads this when
    # it is imported: so everything that imports it comes after.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    # Runners inherit it.
    read_on_the_polling_thread()
    from services.lifecycle import run_service

    return run_service(SERVICE, serve)


if __name__ == "__main__":
    sys.exit(main())
