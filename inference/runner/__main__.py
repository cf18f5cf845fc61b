"""`python -m inference.runner`: one runner process. Its agent starts it; all settings come from the environment."""

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import Final

from inference.presence import EXIT_MODEL_UNUSABLE
from inference.runner.app import Settings, build
from inference.runner.settings import RunnerSettings
from inference.settings import EngineSettings
from observability import logs
from services.connections import QueueSettings, RedisSettings, TelemetrySettings
from services.lifecycle import run_service
from services.settings import load

SERVICE: Final = "runner"


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read all sections from the environment. Raises StartupRefused."""
    return Settings(
        runner=load(RunnerSettings, section="runner", file=None, environ=environ),
        engine=load(EngineSettings, section="engine", file=None, environ=environ),
        redis=load(RedisSettings, section="redis", file=None, environ=environ),
        queues=load(QueueSettings, section="queues", file=None, environ=environ),
        telemetry=load(TelemetrySettings, section="telemetry", file=None, environ=environ),
    )


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    usable = True

    async def serve(stop: asyncio.Event) -> None:
        nonlocal usable
        settings = read_settings(os.environ)
        logs.configure(SERVICE, level=settings.telemetry.log_level)
        async with build(settings) as runner:
            usable = await runner.run(stop)

    code = run_service(SERVICE, serve)
    return code or (0 if usable else EXIT_MODEL_UNUSABLE)


if __name__ == "__main__":
    sys.exit(main())
